"""TESTA's tables: checkpoints of every kind fill the same network, and come back bit for bit."""

from typing import Any

import golden
import jax
import numpy as np
import pytest

from tokmerge_jax.checkpoints import checkpoint, rules
from tokmerge_jax.checkpoints.operations import ResizeGrid, ResizeTimes
from tokmerge_jax.checkpoints.tables import testa
from tokmerge_jax.types import UserError

RETRIEVAL, ANSWERING = golden.load("testa-retrieval"), golden.load("testa-vqa")
PRETRAINED, TRAINED = golden.load("testa-pretrain-loss"), golden.load("testa-retrieval-loss")


def dense(inputs, outputs):
    return {"kernel": (inputs, outputs), "bias": (outputs,)}


def norm(width):
    return {"scale": (width,), "bias": (width,)}


def attention(width, context):
    inputs = {"query": width, "key": context, "value": context, "out": width}
    return {name: dense(size, width) for name, size in inputs.items()}


def mlp(width, hidden):
    return {"hidden": dense(width, hidden), "out": dense(hidden, width)}


def vision(case, frames, edge, scale):
    width = case.config["width"]
    block = {
        **{name: norm(width) for name in ("temporal_norm", "attention_norm", "mlp_norm")},
        **{name: attention(width, width) for name in ("temporal_attention", "attention")},
        "temporal_out": dense(width, width),
        "mlp": mlp(width, 4 * width),
    }
    if scale:
        block["temporal_scaling"] = (frames,)
    return {
        "class_embedding": (width,),
        "position_embedding": (1 + edge**2, width),
        "time_embedding": (frames, width),
        "patch_embedding": dense(3 * 16**2, width),
        **{f"block_{i}": block for i in range(case.config["depth"])},
        "norm": norm(width),
    }


def bert(case, context):
    size = case.config
    width = size["hidden"]
    layer = {
        "attention": attention(width, width),
        "cross_attention": attention(width, context),
        "mlp": mlp(width, size["intermediate"]),
        **{f"{part}_norm": norm(width) for part in ("attention", "cross_attention", "mlp")},
    }
    tables = {"word": size["vocab"], "position": size["max_pos"]}
    return {
        "embeddings": {
            **{name: {"embedding": (rows, width)} for name, rows in tables.items()},
            "norm": norm(width),
        },
        **{f"layer_{i}": layer for i in range(size["layers"])},
    }


def abstract(case, answers=False, frames=6, edge=4, scale=False):
    """The parameters of a case's network, or of one of another length or resolution."""
    size = case.config
    width, embed = size["hidden"], size["embed_dim"]
    tree = {"vision": vision(case, frames, edge, scale), "text": bert(case, size["width"])}
    if answers:
        head = {"transform": dense(width, width), "norm": norm(width), "bias": (size["vocab"],)}
        tree["decoder"] = {**bert(case, size["width"]), "word_head": head}
    else:
        tree |= {
            "vision_projection": dense(size["width"], embed),
            "text_projection": dense(width, embed),
            "match_head": dense(width, 2),
            "temperature": (),
        }
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, np.float32),
        tree,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def tables(answers=False, frames=6, edge=4, scale=False):
    make = testa.answering_rules if answers else testa.rules
    return make(testa.Vision(3, edge, frames, scale), 2)


def load(weights, case=RETRIEVAL, **sizes):
    table = rules.choose(tables(**sizes), weights)
    return rules.load(table, weights, abstract(case, **sizes))


def equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def with_second_names(weights, tied):
    return {**weights, **{name: weights[first] for name, first in tied.items()}}


def pretrained():
    """All names of a pretraining file: shared tensors stand under each of theirs."""
    tied = dict(PRETRAINED.spec["tied (name -> the parameter it shares)"])
    return with_second_names(PRETRAINED.weights(), tied)


@pytest.mark.parametrize(("case", "answers"), [(RETRIEVAL, False), (ANSWERING, True)])
def test_there_and_back(case, answers):
    weights = case.weights()
    params = load(weights, case, answers=answers)
    attention = params["vision"]["block_1"]["temporal_attention"]
    width = case.config["width"]
    qkv = weights["visual_encoder.blocks.1.temporal_attn.qkv.weight"]
    np.testing.assert_array_equal(attention["key"]["kernel"], qkv[width : 2 * width].T)
    bias = weights["visual_encoder.blocks.1.temporal_attn.qkv.bias"]
    np.testing.assert_array_equal(attention["value"]["bias"], bias[2 * width :])
    kernel = params["vision"]["patch_embedding"]["kernel"]
    patches = weights["visual_encoder.patch_embed.proj.weight"]
    np.testing.assert_array_equal(kernel[(2 * 16 + 5) * 3 + 1], patches[:, 1, 2, 5])
    fc = params["vision"]["block_2"]["temporal_out"]["kernel"]
    np.testing.assert_array_equal(fc, weights["visual_encoder.blocks.2.temporal_fc.weight"].T)
    back = rules.unload(tables(answers)[0], params)
    assert back.keys() == weights.keys()
    for name, tensor in weights.items():
        assert back[name].shape == tensor.shape
        assert back[name].tobytes() == tensor.tobytes()


def test_what_only_training_reads_is_ignored():
    """Momentum copies and queues, and buffers of Hugging Face."""
    weights = TRAINED.weights()
    plain = {name: w for name, w in weights.items() if "_m." not in name}
    queues = {
        "image_queue": np.zeros((32, 8), np.float32),
        "text_queue": np.zeros((32, 8), np.float32),
        "idx_queue": np.zeros((1, 8), np.int64),
        "ptr_queue": np.zeros(1, np.int64),
        "queue_ptr": np.zeros(1, np.int64),
        "text_encoder.embeddings.position_ids": np.arange(32)[None],
    }
    assert len(plain) < len(weights)
    equal(load({**weights, **queues}, TRAINED), load(plain, TRAINED))


@pytest.mark.parametrize("answers", [False, True])
def test_scales_of_pretraining_are_used_or_missed_aloud(answers):
    weights = pretrained()
    name = "visual_encoder.blocks.0.temporal_scaling"
    scaled = load(weights, PRETRAINED, answers=answers, scale=True)
    scaling = scaled["vision"]["block_0"].pop("temporal_scaling")
    np.testing.assert_array_equal(scaling, weights[name][0, :, 0])
    with pytest.warns(UserWarning, match=r"model\.vision\.learned_scale=True") as warned:
        plain = load(weights, PRETRAINED, answers=answers)
    (warning,) = warned
    assert str(warning.message).startswith(f"the weights: {name} and 2 more left out, for ")
    del scaled["vision"]["block_1"]["temporal_scaling"], scaled["vision"]["block_2"]
    del plain["vision"]["block_2"]
    equal(plain, scaled)
    summary = rules.summary(tables(answers)[0], weights)
    assert len(summary[name.replace("0", "*"), "left out"]) == 3


def test_scales_belong_to_a_number_of_frames():
    with pytest.raises(
        UserError, match=r"temporal_scaling \[1, 6, 1\] becomes \[6\], but .* \[8\]"
    ):
        load(pretrained(), PRETRAINED, frames=8, scale=True)


def test_pretraining_starts_question_answering():
    with pytest.warns(UserWarning, match="left out"):
        params = load(pretrained(), PRETRAINED, answers=True)
    cross = (part["layer_1"]["cross_attention"] for part in (params["text"], params["decoder"]))
    equal(*cross)
    word = params["decoder"]["embeddings"]["word"]["embedding"]
    np.testing.assert_array_equal(word, params["text"]["embeddings"]["word"]["embedding"])
    own = params["decoder"]["layer_1"]["attention"]["key"]["kernel"]
    assert not np.array_equal(own, params["text"]["layer_1"]["attention"]["key"]["kernel"])


def test_output_words_are_the_word_table():
    head = "text_decoder.cls.predictions"
    tied = {
        f"{head}.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
        f"{head}.decoder.bias": f"{head}.bias",
    }
    weights = with_second_names(ANSWERING.weights(), tied)
    equal(
        load(weights, ANSWERING, answers=True), load(ANSWERING.weights(), ANSWERING, answers=True)
    )
    weights[f"{head}.decoder.bias"] = weights[f"{head}.decoder.bias"] + 1
    with pytest.raises(UserError, match=r"decoder\.bias differs from .*predictions\.bias"):
        load(weights, ANSWERING, answers=True)


@pytest.mark.parametrize(("case", "answers"), [(RETRIEVAL, False), (ANSWERING, True)])
@pytest.mark.parametrize("scale", [False, True])
def test_an_image_network_becomes_one_of_videos(case, answers, scale):
    """Time reads like space at first, and what it finds counts nothing."""
    weights = case.weights()
    images = {n: w for n, w in weights.items() if "temporal" not in n and "time_embed" not in n}
    params = load(images, case, answers=answers, frames=9, scale=scale)
    expected = rules.flatten(load(weights, case, answers=answers))
    for name, values in rules.flatten(params).items():
        if name.endswith(("time_embedding", "temporal_scaling")) or "/temporal_out/" in name:
            assert not values.any()
        else:
            source = name.replace("temporal_norm", "attention_norm")
            source = source.replace("temporal_attention", "attention")
            np.testing.assert_array_equal(values, expected[source])


def test_bicubic_and_nearest_tables_of_the_original():
    case = golden.load("testa-ckpt")
    size, weights = case.config, case.weights()
    table = testa.rules(testa.Vision(1, size["new_grid"], size["new_frames"]), 1)[0]
    operations = {rule.source: rule.operation for rule in table.rules}
    for name in ("pos_embed", "time_embed"):
        (changed,) = operations[f"visual_encoder.{name}"].forward(weights[f"visual_encoder.{name}"])
        bound = 3e-6  # the original in float32 is 1.4e-6 away from itself in float64
        np.testing.assert_allclose(changed, case.arrays[name][0], rtol=0, atol=bound)
    positions = weights["visual_encoder.pos_embed"]
    np.testing.assert_array_equal(ResizeGrid(14).forward(positions)[0][0], positions[0, 0])
    rows = np.arange(size["old_frames"], dtype=np.float32)[None, :, None]
    (places,) = ResizeTimes(size["new_frames"]).forward(rows)
    np.testing.assert_array_equal(places[:, 0], case.arrays["time_index"])


@pytest.mark.parametrize("operation", [ResizeGrid(3), ResizeTimes(10)])
def test_tables_of_the_right_size_stay_as_they_are(operation):
    table = np.arange(20, dtype=np.float32).reshape(1, 10, 2)
    (changed,) = operation.forward(table)
    np.testing.assert_array_equal(changed, table[0])
    np.testing.assert_array_equal(operation.backward((changed,)), table)
    (smaller,) = type(operation)(2).forward(table)
    np.testing.assert_array_equal(operation.backward((smaller,)), smaller[None])


@pytest.mark.parametrize("shape", [(1, 12, 2), (1, 1, 2), (2, 10, 2), (10,), ()])
def test_tables_that_are_no_grid(shape):
    with pytest.raises(ValueError, match=r"."):
        ResizeGrid(4).forward(np.zeros(shape, np.float32))


def test_other_lengths_and_resolutions():
    """A checkpoint's tables are resized, under its names and ours, and all else is the same."""
    weights = RETRIEVAL.weights()
    sizes: dict[str, Any] = {"frames": 12, "edge": 2}
    expected = load(weights)
    tables_of = expected["vision"]
    loaded = load(weights, **sizes)
    times = tables_of["time_embedding"]
    np.testing.assert_array_equal(loaded["vision"]["time_embedding"], np.repeat(times, 2, axis=0))
    # halving a grid: every new place lies amid four old ones, whose weights are -3/32 and 19/32
    grid = tables_of["position_embedding"][1:].reshape(4, 4, -1)
    near = np.array([-3, 19, 19, -3]) / 32
    corner = np.clip(np.arange(-1, 3), 0, 3)
    first = np.einsum("r,c,rcd->d", near, near, grid[corner][:, corner])
    np.testing.assert_allclose(loaded["vision"]["position_embedding"][1], first, atol=1e-6)
    flat = rules.flatten(expected)
    table = rules.identity(abstract(RETRIEVAL, **sizes), flat, (), tables(**sizes))
    equal(rules.load(table, flat, abstract(RETRIEVAL, **sizes)), loaded)
    for name in ("time_embedding", "position_embedding"):
        del loaded["vision"][name], expected["vision"][name]
    equal(loaded, expected)


def test_our_own_weights_with_scales(tmp_path):
    """A file and a folder warn once, too."""
    own, wanted = load(pretrained(), PRETRAINED, scale=True), abstract(PRETRAINED)
    checkpoint.save(tmp_path, own, {})

    def table(names):
        return rules.identity(wanted, names, (), tables())

    def from_file():
        names = rules.flatten(own)
        return rules.load(table(names), names, wanted, "the weights of here")

    for read in (from_file, lambda: checkpoint.load(tmp_path, wanted, table)):
        with pytest.warns(UserWarning, match=r"of .*: vision/block_0/temporal_sc.* and 2") as seen:
            params = read()
        assert len(seen) == 1
        assert "temporal_scaling" not in params["vision"]["block_0"]


def test_what_does_not_fit_is_listed():
    weights = RETRIEVAL.weights()
    del weights["visual_encoder.blocks.1.temporal_fc.bias"]
    weights["visual_encoder.blocks.3.norm1.bias"] = np.zeros(64, np.float32)
    weights["visual_encoder.pos_embed"] = np.zeros((1, 13, 64), np.float32)
    with pytest.raises(UserError) as error:
        load(weights)
    assert str(error.value).splitlines()[1:] == [
        "  visual_encoder.pos_embed [1, 13, 64] cannot become vision/position_embedding [17, 64]",
        "  vision/block_1/temporal_out/bias is not filled: no"
        " visual_encoder.blocks.1.temporal_fc.bias",
        "  visual_encoder.blocks.3.norm1.bias [64] has no place",
    ]
