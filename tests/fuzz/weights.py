"""Checkpoints of every form, of a network of a few thousand numbers."""

import functools
import pathlib
import pickle
import shutil
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from tokmerge_jax import checkpoints, registry
from tokmerge_jax.checkpoints import torch_file
from tokmerge_jax.config import umt
from tokmerge_jax.configs import demo
from tokmerge_jax.system import System
from tokmerge_jax.types import Params

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "convert"
_WRITTEN_BY_PYTORCH = ("training.pth", "types.pth", "views.pth", "torchscript.pt", "clip_jit.pt")


def config() -> umt.Retrieval:
    """The demo's, smaller in every size."""
    sizes = {"width": 16, "depth": 2, "heads": 2}
    model = {
        "vision": {**sizes, "image_size": 32, "frames": 2},
        "text": {**sizes, "mlp_width": 32, "fusion_layer": 1},
        "embed_dim": 16,
        "merger.r": (2, 1),
    }
    return demo.get_config().override({"model": model, "data.workers": 0})


@functools.cache
def system() -> System:
    """Builds the configuration's system."""
    return registry.build(config())


def params() -> Params:
    """Parameters of it."""
    return drawn(system())


def drawn(system: System) -> Params:
    """Random parameters of a system, the same each time, much sooner than by its `init`."""
    rng = np.random.default_rng(0)
    draw = lambda x: rng.normal(0, 0.1, x.shape).astype(x.dtype)  # noqa: E731
    return jax.tree.map(draw, system.weights.shapes)


def make_pth(folder: pathlib.Path) -> None:
    """The system's, plain and as a training script wraps them, and those that PyTorch wrote."""
    tensors = checkpoints.to_torch(system(), params())
    write_pth(_new(folder / "plain") / "a.pth", tensors)
    wrapped = {"model": {f"module.{name}": x for name, x in tensors.items()}, "epoch": 3}
    write_pth(_new(folder / "wrapped") / "a.pth", wrapped)
    for name in _WRITTEN_BY_PYTORCH:
        shutil.copy(FIXTURES / name, _new(folder / name))


def make_safetensors(folder: pathlib.Path) -> None:
    """The system's, under PyTorch's names and under ours."""
    tensors = checkpoints.to_torch(system(), params())
    save_file(tensors, _new(folder / "torch") / "a.safetensors")
    flat, _ = jax.tree.flatten_with_path(params())
    ours = {"/".join(key.key for key in path): x for path, x in flat}
    save_file(ours, _new(folder / "ours") / "a.safetensors")


def make_orbax(folder: pathlib.Path) -> None:
    """The system's, as scripts/convert.py leaves them."""
    checkpoints.save_checkpoint(_new(folder / "saved") / "a", params(), system())


def read(case: pathlib.Path, good: pathlib.Path) -> None:
    """Loads the weights; those that are of no system are only read."""
    del good
    path = next(case.iterdir())
    if path.is_file() and path.name in _WRITTEN_BY_PYTORCH:
        touch(torch_file.read(path))
    else:
        touch(checkpoints.load_checkpoint(path, system()))


def touch(tree: Any) -> None:
    """Reads every number: of arrays that are mapped, the first look may be what fails."""
    for array in jax.tree.leaves(tree):
        np.asarray(array).tobytes()


def write_pth(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a checkpoint in the format of `torch.save`: arrays, texts, numbers and dicts."""
    storages: list[bytes] = []
    stored = b"\x80\x02" + _pickled(content, storages) + b"."
    members = {"data.pkl": stored, "byteorder": b"little", "version": b"3\n"}
    members |= {f"data/{i}": data for i, data in enumerate(storages)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"a/{name}"), data)


def _pickled(value: Any, storages: list[bytes]) -> bytes:
    """Opcodes that leave the value on the stack."""
    if isinstance(value, Mapping):
        items = [_pickled(x, storages) for pair in value.items() for x in pair]
        return b"}(" + b"".join(items) + b"u"
    if not isinstance(value, np.ndarray):
        return pickle.dumps(value, 2)[2:-1]
    storages.append(value.astype("<f4").tobytes())
    key = str(len(storages) - 1)
    strides = [step // value.itemsize for step in np.asarray(value, order="C").strides]
    storage = _tuple(_text("storage"), b"ctorch\nFloatStorage\n", _text(key), _text("cpu"),
                     _number(value.size)) + b"Q"  # fmt: skip
    sizes = _tuple(*map(_number, value.shape)), _tuple(*map(_number, strides))
    hooks = b"ccollections\nOrderedDict\n)R"
    call = _tuple(storage, _number(0), *sizes, b"\x89", hooks)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + call + b"R"


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _number(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _new(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True)
    return folder
