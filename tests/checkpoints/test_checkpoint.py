"""Weights on disk: our folder, our .safetensors, PyTorch's files, and what is wrong with them."""

import copy
import dataclasses
import errno
import json
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import small_system
from safetensors.numpy import save_file

from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import checkpoint, rules
from tokmerge_jax.checkpoints.operations import Transpose
from tokmerge_jax.checkpoints.rules import RuleSet
from tokmerge_jax.system import System, Weights
from tokmerge_jax.types import UserError

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "convert"
WEIGHT = np.array([[0, 1, 2], [3, 4, 5]], np.float32)  # of training.pth
BIAS = np.array([0.5, -1.5], np.float32)
PARAMS = {"layer": {"kernel": WEIGHT.T, "bias": BIAS}}
SHAPES = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), PARAMS)


TABLE = RuleSet(
    (
        rules.Rule("weight", ("layer/kernel",), Transpose()),
        rules.Rule("bias", ("layer/bias",)),
    )
)


def system_of(shapes=SHAPES) -> System:
    """A system of one linear layer, of which only the weights matter."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    return small_system.system_of(Weights(lambda key: zeros, (TABLE,)))


def check(params):
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))


def test_folder_there_and_back(tmp_path):
    system = system_of()
    checkpoints.save_checkpoint(tmp_path / "weights", PARAMS, system, {"source": "a.pth"})
    check(checkpoints.load_checkpoint(tmp_path / "weights", system))
    constants = json.loads((tmp_path / "weights" / "constants.json").read_text())
    assert constants["system"] == "small"
    assert constants["mean"] == [0.5, 0.4, 0.3]
    assert constants["source"] == "a.pth"


def test_device_arrays_are_saved_too(tmp_path):
    checkpoints.save_checkpoint(tmp_path, jax.tree.map(jax.numpy.asarray, PARAMS), system_of())
    check(checkpoints.load_checkpoint(tmp_path, system_of()))


def test_finished_folder_is_not_overwritten(tmp_path):
    checkpoints.save_checkpoint(tmp_path, PARAMS, system_of())
    with pytest.raises(UserError, match="already holds weights; remove it"):
        checkpoints.save_checkpoint(tmp_path, PARAMS, system_of())


def test_interrupted_folder_is_refused_and_written_anew(tmp_path):
    checkpoints.save_checkpoint(tmp_path, PARAMS, system_of())
    (tmp_path / "constants.json").unlink()
    with pytest.raises(UserError, match=r"no constants\.json.*convert the weights again"):
        checkpoints.load_checkpoint(tmp_path, system_of())
    checkpoints.save_checkpoint(tmp_path, PARAMS, system_of())
    check(checkpoints.load_checkpoint(tmp_path, system_of()))


def test_folder_of_another_size(tmp_path):
    checkpoints.save_checkpoint(tmp_path, PARAMS, system_of())
    wanted = {"layer": {"kernel": jax.ShapeDtypeStruct((3, 5), np.float32)}}
    with pytest.raises(UserError) as error:
        checkpoints.load_checkpoint(tmp_path, system_of(wanted))
    assert "layer/kernel [3, 2] becomes [3, 2], but layer/kernel is [3, 5]" in str(error.value)
    assert "layer/bias [2] has no place" in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_folder_for_other_pixels(tmp_path):
    checkpoints.save_checkpoint(tmp_path, PARAMS, system_of())
    pixels = dataclasses.replace(small_system.PIXELS, mean=(0.0, 0.0, 0.0))
    other = dataclasses.replace(system_of(), pixels=pixels)
    with pytest.raises(UserError, match=r"pixels with mean \[0\.5, 0\.4, 0\.3\]"):
        checkpoints.load_checkpoint(tmp_path, other)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"[]", "not a JSON object"),
        (b"\xff", "damaged"),
        (b"[" * 10**5, "damaged"),
        (b'{"mean": "pixels"}', "pixels with mean 'pixels'"),
        (b'{"mean": [1, 2]}', r"pixels with mean \[1, 2\]"),
        (b'{"std": {"a": null}}', "pixels with std"),
        (b'{"mean": null}', "pixels with mean None"),
    ],
)
def test_constants_of_a_stranger(content, message, tmp_path):
    checkpoints.save_checkpoint(tmp_path, PARAMS, system_of())
    (tmp_path / "constants.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        checkpoints.load_checkpoint(tmp_path, system_of())
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EMFILE, "x"), "Too many open files; allow more open files"),
        (PermissionError(errno.EACCES, "x", "a"), "a: Permission denied; change its permissions"),
        (MemoryError(), "Cannot allocate memory; allow more memory"),
        (ValueError("RESOURCE_EXHAUSTED: Too many open files"), "Too many open files; allow"),
        (FileNotFoundError(errno.ENOENT, "lost"), r"is damaged \(\[Errno 2\] lost\); copy it"),
        (ZeroDivisionError(), r"is damaged \(ZeroDivisionError\); copy it again"),
    ],
)
def test_what_the_machine_refuses_is_no_damage(error, message, tmp_path, monkeypatch):
    def refuse(*_):
        raise copy.copy(error)  # the test keeps its own without what was in hand

    checkpoint.save(tmp_path, PARAMS, {})
    monkeypatch.setattr(ocp.StandardCheckpointer, "restore", refuse)
    with pytest.raises(UserError, match=message):
        checkpoints.load_checkpoint(tmp_path, system_of())


def test_constants_that_the_machine_refuses_are_not_damaged(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.EMFILE, "x")

    checkpoint.save(tmp_path, PARAMS, {})
    monkeypatch.setattr(checkpoint.epath.Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"^Too many open files; allow more open files"):
        checkpoint.constants(tmp_path)


# A thread of tensorstore's may report a loop that has ended by then; nothing of ours can catch it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_damaged_folder_is_read_or_refused(tmp_path):
    """Whatever the damage, nothing but UserError comes out, and no wrong number unseen."""
    checkpoints.save_checkpoint(tmp_path / "whole", PARAMS, system_of())
    files = sorted(path for path in (tmp_path / "whole").rglob("*") if path.is_file())
    messages = []
    for file in files:
        whole = file.read_bytes()
        for content in (whole[: len(whole) // 2], b"{}", b"\xff" * len(whole)):
            file.write_bytes(content)
            try:
                check(checkpoints.load_checkpoint(tmp_path / "whole", system_of()))
            except UserError as error:
                messages.append(str(error))
        file.write_bytes(whole)
    assert len(messages) >= 8
    assert "\n" not in "".join(messages)


def test_huge_array_is_refused_before_it_is_read(tmp_path):
    wide = {"layer": {"kernel": WEIGHT.T, "bias": np.zeros(10**6, np.float32)}}
    checkpoint.save(tmp_path, wide, {})
    with pytest.raises(UserError, match=r"layer/bias \[1000000\] becomes \[1000000\]"):
        checkpoints.load_checkpoint(tmp_path, system_of())


def test_folder_of_hugging_face(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file(rules.unload(TABLE, PARAMS), tmp_path / "model.safetensors")
    check(checkpoints.load_checkpoint(tmp_path, system_of()))


def test_pth_of_pytorch():
    check(checkpoints.load_checkpoint(FIXTURES / "training.pth", system_of()))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_safetensors_under_our_names(dtype, tmp_path):
    path = tmp_path / "small.safetensors"
    flat = {name: np.ascontiguousarray(x, dtype) for name, x in rules.flatten(PARAMS).items()}
    save_file(flat, path)
    check(checkpoints.load_checkpoint(path, system_of()))


def test_safetensors_under_pytorch_names(tmp_path):
    path = tmp_path / "small.safetensors"
    save_file(rules.unload(TABLE, PARAMS), path)
    check(checkpoints.load_checkpoint(path, system_of()))


def test_what_does_not_fit_names_the_file():
    wanted = {"other": {"kernel": jax.ShapeDtypeStruct((3, 2), np.float32)}}
    with pytest.raises(UserError, match=r"training\.pth.*do not fit.*\n"):
        checkpoints.load_checkpoint(FIXTURES / "training.pth", system_of(wanted))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", r"config\.checkpoint is empty; name a"),
        ("absent.pth", r"^checkpoint \S*absent\.pth does not exist; download"),
        ("absent", r"absent does not exist"),
    ],
)
def test_nothing_there(path, message):
    with pytest.raises(UserError, match=message):
        checkpoints.load_checkpoint(path, system_of())


def test_constants_are_plain_json(tmp_path):
    checkpoint.save(tmp_path, PARAMS, {"mean": (0.1, 0.2, 0.3), "frames": 12})
    assert checkpoint.constants(tmp_path) == {"mean": [0.1, 0.2, 0.3], "frames": 12}
