"""The rule engine on a network of two layers: strict, complete, reversible."""

import jax
import ml_dtypes
import numpy as np
import pytest

from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.operations import ResizeGrid, ResizeTimes, Split, Transpose
from tokmerge_jax.checkpoints.rules import Rule, RuleSet, each
from tokmerge_jax.types import UserError

TABLE = RuleSet(
    rules=(
        *each(
            range(2),
            [
                Rule("layer.{i}.weight", ("layer_{i}/kernel",), Transpose()),
                Rule("layer.{i}.bias", ("layer_{i}/bias",)),
            ],
        ),
        Rule("both", ("one/kernel", "two/kernel"), Split(2)),
    ),
    ignored=(r"teacher\.",),
    renames=((r"^wrapped\.", ""),),
)


def state_dict():
    rng = np.random.default_rng(0)
    shapes = {"layer.{}.weight": (2, 3), "layer.{}.bias": (2,)}
    tensors = {
        name.format(i): rng.standard_normal(shape, np.float32)
        for i in range(2)
        for name, shape in shapes.items()
    }
    return {**tensors, "both": rng.standard_normal((4, 2), np.float32)}


def abstract():
    def leaf(*shape):
        return jax.ShapeDtypeStruct(shape, np.float32)

    layers = {f"layer_{i}": {"kernel": leaf(3, 2), "bias": leaf(2)} for i in range(2)}
    return {**layers, "one": {"kernel": leaf(2, 2)}, "two": {"kernel": leaf(2, 2)}}


def test_every_parameter_gets_its_tensor():
    tensors = state_dict()
    params = rules.load(TABLE, tensors, abstract())
    assert jax.tree.structure(params) == jax.tree.structure(abstract())
    np.testing.assert_array_equal(params["layer_1"]["kernel"], tensors["layer.1.weight"].T)
    np.testing.assert_array_equal(params["layer_0"]["bias"], tensors["layer.0.bias"])
    np.testing.assert_array_equal(params["two"]["kernel"], tensors["both"][2:].T)


def test_back_is_bit_for_bit():
    tensors = state_dict()
    back = rules.unload(TABLE, rules.load(TABLE, tensors, abstract()))
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].tobytes() == tensor.tobytes()
        assert back[name].shape == tensor.shape
        assert back[name].flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened_and_restored(dtype):
    tensors = state_dict()
    tensors["layer.0.weight"] = tensors["layer.0.weight"].astype(dtype)
    params = rules.load(TABLE, tensors, abstract())
    assert params["layer_0"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(
        params["layer_0"]["kernel"].T, tensors["layer.0.weight"].astype(np.float32)
    )
    dtypes = rules.dtypes(TABLE, tensors)
    assert dtypes == {"layer.0.weight": np.dtype(dtype).name}
    back = rules.unload(TABLE, params, dtypes)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].tobytes() == tensor.tobytes()


@pytest.mark.parametrize(
    "dtypes", [{"both": "int8"}, {"both": "S100000"}, {"both": ["f4"]}, {"no": 1}, ["both"], "both"]
)
def test_types_of_a_stranger_are_not_restored(dtypes):
    params = rules.load(TABLE, state_dict(), abstract())
    with pytest.raises(UserError, match=r"constants\.json .* are not all of float16, bfloat16,"):
        rules.unload(TABLE, params, dtypes)


def test_other_spellings_and_ignored_tensors():
    plain = state_dict()
    tensors = {f"wrapped.{name}": tensor for name, tensor in plain.items()}
    params = rules.load(TABLE, {**tensors, "teacher.weight": np.ones(3)}, abstract())
    np.testing.assert_array_equal(params["layer_0"]["bias"], plain["layer.0.bias"])


def test_one_error_lists_everything():
    tensors = state_dict()
    del tensors["layer.0.bias"]
    tensors["layer.1.weight"] = np.zeros((2, 4), np.float32)
    tensors["both"] = np.zeros((5, 2), np.float32)
    tensors["layer.1.bias"] = np.zeros(2, np.int64)
    tensors["stranger"] = np.zeros((2, 2), np.float32)
    tensors["wrapped.layer.0.weight"] = tensors["layer.0.weight"]
    wanted = abstract()
    wanted["extra"] = wanted["one"]
    del wanted["layer_0"]["kernel"]
    with pytest.raises(UserError) as error:
        rules.load(TABLE, tensors, wanted)
    assert str(error.value).splitlines()[1:] == [
        "  layer.0.weight is there twice",
        "  layer.0.weight is for layer_0/kernel, which the model lacks",
        "  layer_0/bias is not filled: no layer.0.bias",
        "  layer.1.weight [2, 4] becomes [4, 2], but layer_1/kernel is [3, 2]",
        "  layer.1.bias is int64, which float32 does not hold exactly",
        "  both [5, 2] cannot become one/kernel [2, 2], two/kernel [2, 2]",
        "  extra/kernel is not filled: no rule",
        "  stranger [2, 2] has no place",
    ]
    assert "8 faults" in str(error.value)


def test_error_names_the_groups_that_only_training_initialises():
    """Groups of which all is lacking, and parameters that stand beside others."""
    drawn = ("one/kernel", "layer_0/bias", "layer_1/kernel", "layer_1/bias")
    kept = [rule for rule in TABLE.rules if rule.source == "layer.0.weight"]
    own = RuleSet((*kept, Rule("b", ("two/kernel",))), fresh=dict.fromkeys(drawn, np.ones))
    tensors = {"layer.0.weight": np.zeros((2, 3), np.float32), "b": np.zeros((2, 2), np.float32)}
    with pytest.raises(UserError) as error:
        rules.load(own, tensors, abstract(), "the weights of a.pt")
    assert str(error.value) == (
        "the weights of a.pt are only a start for training and hold nothing for one/, layer_0/bias,"
        " layer_1/; train from them with tokmerge train, or name a checkpoint of the system"
    )
    params = rules.load(own, tensors, abstract(), to_train=True)
    assert params["layer_1"]["kernel"].tolist() == [[1, 1]] * 3
    del tensors["b"]
    with pytest.raises(UserError) as error:
        rules.load(own, tensors, abstract())
    assert str(error.value).splitlines()[1:] == [
        "  two/kernel is not filled: no b",
        "  nothing for one/, layer_0/bias, layer_1/, which only training can initialise",
    ]


def test_float64_is_rounded_and_reported():
    tensors = state_dict()
    double = tensors["both"].astype(np.float64) + 1e-9
    with pytest.warns(UserWarning, match="both rounded from float64 to float32"):
        params = rules.load(TABLE, {**tensors, "both": double}, abstract())
    both = np.concatenate([params["one"]["kernel"].T, params["two"]["kernel"].T])
    np.testing.assert_array_equal(both, double.astype(np.float32), strict=True)


def test_float64_that_float32_cannot_hold():
    tensors = state_dict()
    tensors["both"] = np.array([[1e39, 0], [0, 0], [np.inf, 0], [np.nan, 0]])
    with pytest.raises(UserError, match="both holds numbers beyond float32"):
        rules.load(TABLE, tensors, abstract())


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_number_is_one_number(shape):
    table = RuleSet((Rule("logit_scale", ("scale",)),))
    wanted = {"scale": jax.ShapeDtypeStruct((), np.float32)}
    params = rules.load(table, {"logit_scale": np.full(shape, 4.5, np.float32)}, wanted)
    np.testing.assert_array_equal(params["scale"], np.array(4.5, np.float32), strict=True)


def test_ten_faults_are_listed_and_the_rest_counted():
    strangers = {f"stranger{i}{'x' * 999}": np.zeros(1, np.float32) for i in range(12)}
    with pytest.raises(UserError, match="12 faults") as error:
        rules.load(TABLE, state_dict() | strangers, abstract())
    _, *faults, last = str(error.value).splitlines()
    assert [fault[:12] for fault in faults] == [f"  stranger{i}x"[:12] for i in range(10)]
    assert max(map(len, faults)) < 320
    assert last == "  ... and 2 more"


@pytest.mark.parametrize("shape", [(10**9, 2), (5, 10**9), (0, 2), (), (3,)])
def test_a_table_out_of_proportion_is_not_resized(shape):
    """The array takes no memory; what is made of it would."""
    huge = np.broadcast_to(np.float32(0), shape)
    wanted = {"table": jax.ShapeDtypeStruct((17, 2), np.float32)}
    for operation in (ResizeGrid(4), ResizeTimes(17)):
        with pytest.raises(UserError, match="table"):
            rules.load(RuleSet((Rule("table", ("table",), operation),)), {"table": huge}, wanted)


def test_own_names_need_no_table():
    params = rules.load(TABLE, state_dict(), abstract())
    flat = rules.flatten(params)
    assert sorted(flat)[0] == "layer_0/bias"
    again = rules.load(rules.identity(abstract(), flat), flat, abstract())
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_summary_gathers_layers():
    summary = rules.summary(TABLE, {**state_dict(), "teacher.weight": np.ones(3)})
    assert summary == {
        ("layer.*.weight", "layer_*/kernel"): ["layer.0.weight", "layer.1.weight"],
        ("layer.*.bias", "layer_*/bias"): ["layer.0.bias", "layer.1.bias"],
        ("both", "one/kernel, two/kernel"): ["both"],
        ("teacher.weight", "ignored"): ["teacher.weight"],
    }
