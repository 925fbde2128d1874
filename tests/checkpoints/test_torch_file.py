"""Checkpoints that PyTorch wrote, read without it; what is hostile or broken is refused."""

import json
import pathlib
import pickle
import shutil
import zipfile
from collections import OrderedDict
from typing import Any

import chex
import hostile
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tokmerge_jax.checkpoints import pickles, torch_file
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
        ("legacy.pth", r"before version 1\.6; .*torch\.save\(torch\.load\(path\), path\)"),
        ("truncated.pth", r"truncated.*torch\.save\(torch\.load\(path\), path\)"),
        ("pickled.pth", r"not a PyTorch checkpoint.*torch\.save"),
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
    """Whatever the damage, what is not refused has the numbers of the whole file."""
    whole = (FIXTURES / "training.pth").read_bytes()
    weights = torch_file.read(FIXTURES / "training.pth")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.pth").write_bytes(damaged)
        try:
            chex.assert_trees_all_equal(torch_file.read(tmp_path / "damaged.pth"), weights)
        except UserError:
            refused += 1
    assert 100 < refused < 300


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


def test_types_that_numpy_lacks(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(hostile.SAFETENSORS["FP8"]())
    with pytest.raises(UserError, match="has dtypes that NumPy lacks; save it as float32"):
        torch_file.read(tmp_path / "a.safetensors")


def test_a_method_beside_the_weights():
    tensors = torch_file.read(FIXTURES / "getattr.pth")
    np.testing.assert_array_equal(tensors["weight"], WEIGHT, strict=True)


def test_damaged_safetensors(tmp_path):
    save_file({"weight": WEIGHT}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"a\.safetensors.*not a complete \.safetensors"):
        torch_file.read(tmp_path / "a.safetensors")


def read(content: bytes, folder: pathlib.Path) -> dict[str, np.ndarray]:
    (folder / "a.pth").write_bytes(content)
    return torch_file.read(folder / "a.pth")


def weight(pushed: bytes, folder: pathlib.Path) -> np.ndarray:
    """Returns the weight that the pickle's instructions `pushed` describe."""
    return read(hostile.archive(hostile.state(weight=pushed)), folder)["weight"]


def test_tensor_by_offset_size_and_stride(tmp_path):
    view = hostile.tensor(offset=1, size=(2, 2), stride=(3, 1))
    np.testing.assert_array_equal(weight(view, tmp_path), [[1, 2], [4, 5]])


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"size": (7,)}, "beyond its storage of 6"),
        ({"offset": 5}, "beyond its storage"),
        ({"size": (2, 2), "stride": (6, 1)}, "beyond its storage"),
        ({"stride": (-1,)}, "impossible"),
        ({"offset": -1}, "impossible"),
        ({"size": (2, 2)}, "2 sizes, but 1 strides"),
        ({"of": hostile.tensor()}, "has no storage"),
        ({"of": hostile.storage(kind="QInt8Storage")}, r"torch\.QInt8Storage are not supported"),
    ],
)
def test_tensor_outside_its_storage(view, message, tmp_path):
    with pytest.raises(UserError, match=message):
        weight(hostile.tensor(**view), tmp_path)


def test_attributes_on_a_tensor_are_left_out(tmp_path):
    """PyTorch writes a tensor with attributes, or of a subclass, as a call of its rebuild."""
    plain = hostile.tensor()  # the call "c<function>\n(<arguments>tR"
    function, arguments = plain[: plain.index(b"\n(") + 1], plain[plain.index(b"\n(") + 1 : -1]
    attributes = b"}" + hostile.value("note") + b"Ns"
    marked = hostile.call(
        "torch._tensor._rebuild_from_type_v2",
        *(function, b"ctorch\nTensor\n", arguments, attributes),
    )
    np.testing.assert_array_equal(weight(marked, tmp_path), [0, 1])


@pytest.mark.parametrize("order", "<>")
def test_numbers_are_arrays_without_axes(order, tmp_path):
    raw = np.array(2.5, f"{order}f4").tobytes().decode("latin-1")
    kind = hostile.call("numpy.dtype", hostile.value("f4"), hostile.value(False))
    kind += hostile.value((3, order, None, None, None, -1, -1, 0)) + b"b"
    encoded = hostile.call("_codecs.encode", hostile.value(raw), hostile.value("latin1"))
    number = weight(hostile.call("numpy.core.multiarray.scalar", kind, encoded), tmp_path)
    np.testing.assert_array_equal(number, np.array(2.5, np.float32), strict=True)
    for plain in (4.5, 4):
        number = weight(hostile.value(plain), tmp_path)
        np.testing.assert_array_equal(number, np.array(plain, np.float64), strict=True)


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model._orig_mod.",
        "model.module.",
    ],
)
def test_prefixes_that_all_names_share_are_dropped(prefix, tmp_path):
    names = ("weight", "block.model.bias")
    named = {prefix + name: hostile.tensor() for name in names}
    assert tuple(read(hostile.archive(hostile.state(**named)), tmp_path)) == names


def test_a_prefix_that_some_names_lack_stays(tmp_path):
    named = {name: hostile.tensor() for name in ("model.a", "b", "c._orig_mod.d", "models.e")}
    tensors = read(hostile.archive(hostile.state(**named)), tmp_path)
    assert list(tensors) == ["model.a", "b", "c.d", "models.e"]


def test_names_that_only_a_prefix_tells_apart(tmp_path):
    named = {name: hostile.tensor() for name in ("a.b", "a._orig_mod.b")}
    with pytest.raises(UserError, match="two of its tensors get the same name"):
        read(hostile.archive(hostile.state(**named)), tmp_path)


def test_kind_is_told_by_content(tmp_path):
    save_file({"weight": WEIGHT}, tmp_path / "weights.bin")
    shutil.copy(FIXTURES / "training.pth", tmp_path / "training.SAFETENSORS")
    np.testing.assert_array_equal(torch_file.read(tmp_path / "weights.bin")["weight"], WEIGHT)
    tensors = torch_file.read(tmp_path / "training.SAFETENSORS")
    np.testing.assert_array_equal(tensors["weight"], WEIGHT)


def shards(folder: pathlib.Path, **changes: str) -> pathlib.Path:
    """Two files that share the weights, and their index."""
    save_file({"weight": WEIGHT, "other": BIAS}, folder / "1.safetensors")
    (folder / "2.bin").write_bytes(hostile.archive(hostile.state(bias=hostile.tensor())))
    places = {"weight": "1.safetensors", "bias": "2.bin", **changes}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


@pytest.mark.parametrize("of_folder", [False, True])
def test_files_that_share_the_weights(of_folder, tmp_path):
    index = shards(tmp_path)
    tensors = torch_file.read(tmp_path if of_folder else index)
    assert list(tensors) == ["weight", "bias"]
    np.testing.assert_array_equal(tensors["weight"], WEIGHT)
    np.testing.assert_array_equal(tensors["bias"], [0, 1])
    assert [file.name for file in torch_file.files(index)] == ["1.safetensors", "2.bin"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("3.bin", "model.safetensors.index.json names 3.bin, which is not beside it"),
        ("../2.bin", "its weight_map names '../2.bin', which is not a file beside it"),
        ("/etc/passwd", "its weight_map names '/etc/passwd', which is not a file beside it"),
        ("1.safetensors", "1.safetensors lacks bias, which the index assigns to it"),
        (7, "its weight_map names 7, which is not a file beside it"),
    ],
)
def test_index_that_leads_elsewhere(place, message, tmp_path):
    index = shards(tmp_path, bias=place)
    with pytest.raises(UserError) as error:
        torch_file.read(index)
    assert str(error.value).startswith(f"cannot read checkpoint {index}: {message}")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b'{"weight_map": {}}', b"[" * 10**5]
)
def test_damaged_index(content, tmp_path):
    (tmp_path / "a.index.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.index\.json (is not JSON|has no weight_map)"):
        torch_file.read(tmp_path / "a.index.json")


def test_folder_without_weights(tmp_path):
    with pytest.raises(UserError, match=r"a folder without weights, such as model\.safetensors"):
        torch_file.read(tmp_path)


@pytest.mark.parametrize(("letters", "shown"), [(5, 10), (20, 7), (60, 3), (1000, 3)])
def test_many_things_that_are_no_tensors_are_counted(letters, shown, tmp_path):
    names = [f"{i:02}{'a' * letters}" for i in range(30)]
    with pytest.raises(UserError) as error:
        read(hostile.archive(hostile.state(**dict.fromkeys(names, b"N"))), tmp_path)
    whole = [name if len(name) <= 63 else f"{name[:60]}..." for name in names[:shown]]
    assert str(error.value).endswith(
        f": its state dict holds other things than tensors: {' (NoneType), '.join(whole)}"
        f" (NoneType) and {30 - shown} more; re-save only the tensors"
    )


def test_files_beside_the_folder_of_the_archive(tmp_path):
    """Whatever was added to the zip without a folder, or in another, is no part of it."""
    whole = hostile.archive(hostile.state(weight=hostile.tensor()))
    (tmp_path / "a.pth").write_bytes(whole)
    with zipfile.ZipFile(tmp_path / "a.pth", "a") as members:
        for name in ("README", "LICENSE", "b/byteorder", "b/data/0"):
            members.writestr(name, "b")
    np.testing.assert_array_equal(torch_file.read(tmp_path / "a.pth")["weight"], [0, 1])


def unpickle(content: bytes) -> Any:
    return pickles.load(content)


def test_foreign_objects_become_placeholders_without_an_import():
    content = b"\x80\x02cno_such_module\nSettings\n)\x81}X\x01\0\0\0aK\x01sb."
    value = unpickle(content)
    assert value.name == "no_such_module.Settings"
    assert not value.network


def test_whole_model_is_known_by_its_modules():
    content = b"\x80\x02cproject\nNet\n)\x81}X\x08\0\0\0_modules}sb."
    value = unpickle(content)
    assert (value.name, value.network) == ("project.Net", True)


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


def test_a_lack_of_memory_is_no_damage(monkeypatch):
    def lack(_):
        raise MemoryError

    monkeypatch.setattr(pickles.pickletools, "genops", lack)
    with pytest.raises(MemoryError):
        unpickle(b".")


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"\x80\x02K\x01", b"garbage", b"Q."])
def test_garbage(content):
    with pytest.raises(UserError, match="damaged"):
        unpickle(content)
