"""Checkpoints that PyTorch wrote, read without it; what is hostile or broken is refused."""

import pathlib
import pickle
import shutil
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tokmerge_jax.convert import pickles, torch_file
from tokmerge_jax.types import UserError

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "convert"
WEIGHT = np.array([[0, 1, 2], [3, 4, 5]], np.float32)
BIAS = np.array([0.5, -1.5], np.float32)


def test_training_file_gives_its_model_alone():
    tensors = torch_file.read(FIXTURES / "training.pth")
    assert list(tensors) == ["weight", "bias"]  # without DataParallel's "module."
    np.testing.assert_array_equal(tensors["weight"], WEIGHT, strict=True)
    np.testing.assert_array_equal(tensors["bias"], BIAS, strict=True)


def test_every_type_of_storage():
    tensors = torch_file.read(FIXTURES / "types.pth")
    for name, tensor in tensors.items():
        assert str(tensor.dtype) == name
        numbers = [0, 1, 1] if name == "bool" else [0, 1.5, 100]
        np.testing.assert_array_equal(tensor, np.array(numbers).astype(tensor.dtype))
    assert len(tensors) == 10
    assert tensors["bfloat16"].dtype == ml_dtypes.bfloat16


def test_views_share_one_storage():
    tensors = torch_file.read(FIXTURES / "views.pth")
    base = np.arange(12, dtype=np.float32)
    expected = {
        "base": base,
        "transposed": base.reshape(3, 4).T,
        "tail": base[7:],
        "every_third": base[[1, 4, 7, 10]],
        "repeated": np.full(4, 2, np.float32),
        "scalar": np.float32(5),
        "empty": base[:0],
        "parameter": base[:2],
    }
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], value)
        assert not tensors[name].flags.writeable
    assert np.shares_memory(tensors["base"], tensors["transposed"])


def test_compressed_members_are_read_too(tmp_path):
    copy = tmp_path / "compressed.pth"
    deflated = zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(FIXTURES / "training.pth") as source, deflated as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    np.testing.assert_array_equal(torch_file.read(copy)["weight"], WEIGHT)


def test_big_endian_file(tmp_path):
    copy = tmp_path / "big.pth"
    with zipfile.ZipFile(FIXTURES / "views.pth") as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("/byteorder"):
                content = b"big"
            elif name.endswith("/data/0"):
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            target.writestr(name, content)
    np.testing.assert_array_equal(torch_file.read(copy)["tail"], np.arange(7, 12))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("system.pth", r"posix\.system"),
        ("eval.pth", r"builtins\.eval"),
        ("getattr.pth", r"builtins\.getattr"),
        ("legacy.pth", r"before version 1\.6; .*torch\.save\(torch\.load\(path\), path\)"),
        ("truncated.pth", r"truncated.*torch\.save\(torch\.load\(path\), path\)"),
        ("pickled.pth", r"no PyTorch checkpoint.*torch\.save"),
        ("no_tensors.pth", r"other things than tensors: model"),
        ("mixed.pth", r"other things than tensors: name"),
        ("absent.pth", r"does not exist"),
    ],
)
def test_refused_with_the_reason(file, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as refusal:
        torch_file.read(FIXTURES / file)
    assert file in str(refusal.value)
    assert not (tmp_path / "hostile").exists()  # what system.pth and eval.pth would create


@pytest.mark.parametrize("keep", [0, 10, 100, 1000, 2000, 4000, 4400])
def test_cut_anywhere(keep, tmp_path):
    cut = tmp_path / "cut.pth"
    cut.write_bytes((FIXTURES / "training.pth").read_bytes()[:keep])
    with pytest.raises(UserError, match=r"cut\.pth"):
        torch_file.read(cut)


def test_changed_bytes_are_read_or_refused(tmp_path):
    """Whatever the damage, nothing but UserError comes out."""
    whole = (FIXTURES / "training.pth").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.pth").write_bytes(damaged)
        try:
            torch_file.read(tmp_path / "damaged.pth")
        except UserError:
            refused += 1
    assert refused > 100


def test_missing_storage(tmp_path):
    copy = tmp_path / "copy.pth"
    with zipfile.ZipFile(FIXTURES / "views.pth") as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            if not name.endswith("/data/0"):
                target.writestr(name, source.read(name))
    with pytest.raises(UserError, match="storage 0 is missing"):
        torch_file.read(copy)


def test_safetensors_with_bfloat16(tmp_path):
    saved = {"weight": WEIGHT, "half": BIAS.astype(ml_dtypes.bfloat16)}
    save_file(saved, tmp_path / "a.safetensors")
    tensors = torch_file.read(tmp_path / "a.safetensors")
    for name, value in saved.items():
        np.testing.assert_array_equal(tensors[name], value, strict=True)


def test_torchscript():
    tensors = torch_file.read(FIXTURES / "torchscript.pt")
    np.testing.assert_array_equal(tensors["weight"], WEIGHT, strict=True)
    np.testing.assert_array_equal(tensors["bias"], BIAS, strict=True)


def test_damaged_safetensors(tmp_path):
    shutil.copy(FIXTURES / "training.pth", tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors.*no whole \.safetensors"):
        torch_file.read(tmp_path / "a.safetensors")


def unpickle(content: bytes):
    return pickles.load(content, lambda key, dtype: np.arange(6, dtype=dtype))


def tensor_pickle(*arguments) -> bytes:
    """A pickle of `_rebuild_tensor_v2(storage of 6 numbers, *arguments)`."""
    storage = b"ctorch\nFloatStorage\n"
    pid = b"(X\x07\0\0\0storage" + storage + b"X\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"
    flat = b"".join(pickle.dumps(a, protocol=2)[2:-1] for a in arguments)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + pid + flat + b"tR."


def test_tensor_by_offset_size_and_stride():
    np.testing.assert_array_equal(unpickle(tensor_pickle(1, (2, 2), (3, 1))), [[1, 2], [4, 5]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, (7,), (1,)), "beyond its storage of 6"),
        ((5, (2,), (1,)), "beyond its storage"),
        ((0, (2, 2), (6, 1)), "beyond its storage"),
        ((0, (2,), (-1,)), "cannot be"),
        ((-1, (2,), (1,)), "cannot be"),
        ((0, (2, 2), (1,)), "cannot be"),
    ],
)
def test_tensor_outside_its_storage(arguments, message):
    with pytest.raises(UserError, match=message):
        unpickle(tensor_pickle(*arguments))


def test_foreign_objects_become_placeholders_without_an_import():
    content = b"\x80\x02cno_such_module\nSettings\n)\x81}X\x01\0\0\0aK\x01sb."
    value = unpickle(content)
    assert isinstance(value, pickles.Placeholder)
    assert type(value).__name__ == "no_such_module.Settings"
    assert vars(value) == {}


def test_old_style_instances_are_placeholders():
    content = b"\x80\x02ccopy_reg\n_reconstructor\n(cmodule\nKind\nc__builtin__\nobject\nNtR."
    assert isinstance(unpickle(content), pickles.Placeholder)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cos\nsystem\n(X\x02\0\0\0lstR.", r"os\.system"),  # REDUCE
        (b"(X\x02\0\0\0lsios\nsystem\n.", r"os\.system"),  # INST
        (b"(cos\nsystem\nX\x02\0\0\0lso.", r"os\.system"),  # OBJ
        (b"c__builtin__\neval\n(X\x01\0\0\x001tR.", r"builtins\.eval"),
        (b"csubprocess\nPopen\n(X\x02\0\0\0lstR.", r"subprocess\.Popen"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.", r"os\.system"),  # STACK_GLOBAL
        (b"ctorch\nload\n(X\x01\0\0\0atR.", r"torch\.load"),
    ],
)
def test_calls_are_refused_by_name(content, name):
    with pytest.raises(UserError, match=f"asks to call {name},"):
        unpickle(content)


def test_ordered_dict_with_metadata():
    named = OrderedDict(a=1)
    vars(named)["_metadata"] = OrderedDict(version=1)  # as PyTorch's state dicts have
    assert unpickle(pickle.dumps(named, protocol=2)) == OrderedDict(a=1)


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"\x80\x02K\x01", b"garbage", b"Q."])
def test_garbage(content):
    with pytest.raises(UserError, match="damaged"):
        unpickle(content)


def test_unknown_kind_of_storage():
    content = tensor_pickle(0, (1,), (1,)).replace(b"FloatStorage", b"QInt8Storage")
    with pytest.raises(UserError, match=r"torch\.QInt8Storage are not supported"):
        unpickle(content)
