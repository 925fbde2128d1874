"""UMT's recognition checkpoints: their names, and what each kind of checkpoint is a start for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recognition_case
from safetensors.numpy import save_file

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import umt
from tokmerge_jax.layers.positions import space_time
from tokmerge_jax.system import System
from tokmerge_jax.training import export
from tokmerge_jax.types import UserError

TEXT = umt.Text(
    width=32, depth=2, heads=2, mlp_width=64, fusion_layer=1, vocab_size=51, max_positions=16
)


@pytest.fixture(scope="module")
def recognition():
    """The system and its weights."""
    return recognition_case.system_of(recognition_case.config_of())


def texts(kind) -> System:
    """The system with texts whose video side has the same sizes."""
    config = {"retrieval": umt.Retrieval(), "answers": umt.QuestionAnswering()}[kind]
    model = dataclasses.replace(config.model, vision=recognition_case.VISION, text=TEXT)
    data = dataclasses.replace(config.data, max_text_length=16)
    return tokmerge_jax.build(dataclasses.replace(config, model=model, data=data))


def test_names_there_and_back(recognition):
    system, params = recognition
    weights = checkpoints.to_torch(system, params)
    assert weights["patch_embed.proj.weight"].shape == (32, 3, 1, 8, 8)
    assert weights["blocks.2.attn.qkv.weight"].shape == (96, 32)
    assert weights["head.weight"].shape == (5, 32)
    assert {name.partition(".")[0] for name in weights} == {
        "patch_embed", "blocks", "fc_norm", "head"
    }  # fmt: skip
    back = checkpoints.from_torch(system, weights)
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize("dtype", ["float32", "float16", jnp.bfloat16])
def test_positions_of_a_checkpoint_must_be_the_network_s(recognition, dtype):
    """They are computed, never trained; stored ones tell for which frames the weights are."""
    system, params = recognition
    weights = checkpoints.to_torch(system, params)
    sizes = {"model__vision__grid": 2, "model__vision__table_frames": 2}
    resized = tokmerge_jax.build(recognition_case.config_of(**sizes))
    table = space_time(16, 32, 4, 2, grid=2)[None].astype(dtype)
    weights["pos_embed"] = table
    back = checkpoints.from_torch(resized, weights)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    message = r"pos_embed {} is not the position table of config\.model\.vision\.frames"
    with pytest.raises(UserError, match=message.format(r"\[1, 64, 32\]")):
        checkpoints.from_torch(system, weights)
    for wrong in (table[:, :32], table * np.float32(np.nan), table[..., ::-1]):
        with pytest.raises(UserError, match=message.format(r"\[1, \d+, 32\]")):
            checkpoints.from_torch(resized, {**weights, "pos_embed": wrong})


def test_training_starts_at_other_sizes(recognition, tmp_path):
    """Positions are computed for them, as the original's are."""
    system, params = recognition
    weights = checkpoints.to_torch(system, params)
    file = tmp_path / "larger.safetensors"
    save_file({**weights, "pos_embed": np.zeros((1, 100, 32), np.float32)}, file)
    start = checkpoints.load_checkpoint(file, system, to_train=True)
    jax.tree.map(np.testing.assert_array_equal, start, params)
    with pytest.raises(UserError, match=r"pos_embed \[1, 100, 32\] is not the position table"):
        checkpoints.load_checkpoint(file, system)


def test_wrong_number_of_actions_is_named(recognition):
    system, params = recognition
    other = tokmerge_jax.build(recognition_case.config_of(model__classes=7))
    with pytest.raises(UserError, match=r"head\.weight \[5, 32\] becomes \[32, 5\], but head/"):
        checkpoints.from_torch(other, checkpoints.to_torch(system, params))


@pytest.mark.parametrize("names", ["ours", "original", "folder"])
def test_other_actions_start_with_a_new_classifier(recognition, names, tmp_path, capsys):
    """Evaluation refuses these weights (above); training begins the classifier alone anew."""
    system, params = recognition
    target = tokmerge_jax.build(recognition_case.config_of(model__classes=7))
    file = tmp_path / "recognition.safetensors"
    if names == "folder":
        file = tmp_path / "folder"
        checkpoints.save_checkpoint(file, params, system)
    elif names == "ours":
        export.write(file, params)
    else:
        save_file(checkpoints.to_torch(system, params), file)
    start = checkpoints.load_checkpoint(file, target, to_train=True)
    assert f"{file} holds nothing that fits head/; training" in capsys.readouterr().err
    assert start["head"]["kernel"].shape == (32, 7)
    assert abs(start["head"]["kernel"].std() - 32**-0.5) < 0.03
    np.testing.assert_array_equal(start["head"]["bias"], np.zeros(7))
    for part in ("vision", "norm"):
        jax.tree.map(np.testing.assert_array_equal, start[part], params[part])
    same = checkpoints.load_checkpoint(file, system, to_train=True)
    jax.tree.map(np.testing.assert_array_equal, same, params)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["retrieval", "answers"])
@pytest.mark.parametrize("names", ["ours", "original"])
def test_retrieval_and_answers_start_from_recognition(recognition, kind, names, tmp_path, capsys):
    """Its blocks are read; norm and classifier are not, and everything else begins anew."""
    system, params = recognition
    file = tmp_path / "recognition.safetensors"
    if names == "ours":
        export.write(file, params)
    else:
        save_file(checkpoints.to_torch(system, params), file)
    target = texts(kind)
    start = checkpoints.load_checkpoint(file, target, to_train=True)
    own = {**start["vision"]}
    norm = own.pop("norm")
    jax.tree.map(np.testing.assert_array_equal, own, params["vision"])
    np.testing.assert_array_equal(norm["scale"], np.ones(32))
    np.testing.assert_array_equal(norm["bias"], np.zeros(32))
    kernel = rules.flatten(start)["text/layer_0/mlp/hidden/kernel"]
    assert abs(kernel.std() - 32**-0.5) < 0.02
    said = capsys.readouterr().err
    assert said.startswith(f"{file} holds nothing that fits vision/norm/, ")
    assert "text/" in said
    assert said.endswith("training starts from their initial values\n")
    with pytest.raises(UserError, match="only a start for training and hold nothing for vision/n"):
        checkpoints.load_checkpoint(file, target)


@pytest.mark.parametrize("kind", ["retrieval", "answers"])
@pytest.mark.parametrize("names", ["ours", "original"])
def test_recognition_starts_from_retrieval_and_answers(recognition, kind, names, tmp_path, capsys):
    system, _ = recognition
    source = texts(kind)
    params = jax.tree.map(lambda x: np.full(x.shape, 0.5, np.float32), {**source.weights.shapes})
    file = tmp_path / "start.safetensors"
    if names == "ours":
        export.write(file, params)
    else:
        save_file(checkpoints.to_torch(source, params), file)
    start = checkpoints.load_checkpoint(file, system, to_train=True)
    theirs = {name: part for name, part in params["vision"].items() if name != "norm"}
    jax.tree.map(np.testing.assert_array_equal, start["vision"], theirs)
    np.testing.assert_array_equal(start["norm"]["scale"], np.ones(32))
    assert "holds nothing that fits norm/, head/; training" in capsys.readouterr().err
    with pytest.raises(UserError, match="hold nothing for norm/, head/"):
        checkpoints.load_checkpoint(file, system)


def test_recognition_starts_from_pretraining(recognition):
    """UMT's first stage: an encoder with a last norm, and the decoder that imitated the teacher."""
    system, params = recognition
    weights = checkpoints.to_torch(system, params)
    encoder = {f"encoder.{n}": w for n, w in weights.items() if n.startswith(("patch", "blocks"))}
    encoder["encoder.norm.weight"] = encoder["clip_decoder.0.head.weight"] = np.ones(32, np.float32)
    table = checkpoints.table(system, encoder)
    start = rules.load(table, encoder, system.weights.shapes, to_train=True)
    jax.tree.map(np.testing.assert_array_equal, start["vision"], params["vision"])
