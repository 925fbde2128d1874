"""Reads the zip archive that PyTorch writes a checkpoint as, TorchScript's too, without PyTorch.

A hostile file takes no more than four times its size and 64 MB: whatever is read is bounded.
"""

import math
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import ml_dtypes
import numpy as np

from tokmerge_jax.checkpoints import pickles
from tokmerge_jax.types import UserError

RESAVE = "torch.save(torch.load(path), path)"
_STORAGES = {
    "torch.DoubleStorage": np.float64,
    "torch.FloatStorage": np.float32,
    "torch.HalfStorage": np.float16,
    "torch.BFloat16Storage": ml_dtypes.bfloat16,
    "torch.LongStorage": np.int64,
    "torch.IntStorage": np.int32,
    "torch.ShortStorage": np.int16,
    "torch.CharStorage": np.int8,
    "torch.ByteStorage": np.uint8,
    "torch.BoolStorage": np.bool_,
}
_NESTS = ("model", "module", "state_dict", "model_state_dict")
_DAMAGE = (  # what zipfile raises on bytes that make no sense
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
_SHOWN, _LETTERS = 10, 250  # names in a message, and letters of all together
_WEIGHTS = (pickles.Tensor, int, float, np.generic)
_MB = 2**20
_LIST_OF_MEMBERS = 4 * _MB  # for 40,000 storages
_LEAST_VIEW = 2**24  # numbers of a view that may exceed those of its storage
_MOST_AXES = 32


def read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint that PyTorch wrote, under the names that it has.

    Args:
      file: the zip archive.
      size: its number of bytes.

    Raises:
      UserError: if it is damaged or hostile, or holds no tensors by name.
    """
    try:
        guarded = _Guarded(file)
        with zipfile.ZipFile(guarded) as archive:
            guarded.most = sys.maxsize
            content = _Archive(archive, size)
            return {name: content.array(name, x) for name, x in _state_dict(content.load()).items()}
    except UserError:
        raise
    except _DAMAGE as error:
        raise UserError(
            f"it is truncated or damaged ({f'{error}':.150}); fetch it again, or re-save it in"
            f" PyTorch from a whole copy with {RESAVE}"
        ) from error


class _Guarded:
    """A zip file of which no more than `most` bytes are read at once.

    While `zipfile` reads the list of members, `most` bounds their number.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.most = _LIST_OF_MEMBERS
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        """As a file's."""
        if count > self.most:
            raise UserError(f"it lists its members in {count:,} bytes, more than any checkpoint")
        return self._file.read(count)


class _Archive:
    """The members of a zip checkpoint: `data.pkl`, the storages `data/<key>`, `byteorder`.

    Members are read whole, so that their checksums are compared.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int):
        self._archive = archive
        self._members = _members(archive.infolist())
        self._size = size
        self._left = 3 * size + 32 * _MB
        self._storages: dict[tuple[str, str], np.ndarray] = {}
        order = self._read("byteorder") if "byteorder" in self._members else b"little"
        if order not in (b"little", b"big"):
            raise UserError(f"its byteorder is {order[:20]!r}, neither little nor big")
        self._swap = order.decode() != sys.byteorder

    def load(self) -> object:
        """What `data.pkl` describes."""
        most = 8 * _MB + self._size // 2
        return pickles.load(self._read("data.pkl", most), self._size // 32)

    def array(self, name: str, value: object) -> np.ndarray:
        """A tensor's numbers, a read-only view into its storage; or a number, as an array."""
        if not isinstance(value, pickles.Tensor):
            return np.asarray(float(value) if isinstance(value, int) else value)
        storage = self._storage(value.storage)
        sizes, strides = _whole_numbers(value.size), _whole_numbers(value.stride)
        offset = sum(_whole_numbers((value.offset,)))
        if len(sizes) != len(strides):
            raise UserError(
                f"its tensor {name:.100} has {len(sizes)} sizes, but {len(strides)} strides"
            )
        if math.prod(max(1, n) for n in sizes) > max(storage.size, _LEAST_VIEW):
            raise UserError(f"its tensor {name:.100} is larger than its storage of {storage.size}")
        last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if 0 in sizes:
            return storage[:0].reshape(sizes)
        if last >= storage.size:
            raise UserError(
                f"its tensor {name:.100} reaches beyond its storage of {storage.size} numbers"
            )
        steps = tuple(step * storage.itemsize for step in strides)
        return np.lib.stride_tricks.as_strided(storage[offset:], sizes, steps, writeable=False)

    def _storage(self, storage: object) -> np.ndarray:
        if not isinstance(storage, pickles.Storage):
            raise UserError("a tensor of it has no storage of its own, so the file is damaged")
        kind, key = storage.kind, storage.key
        if kind not in _STORAGES:
            raise UserError(f"its storages of class {kind} are not supported")
        if (kind, key) not in self._storages:
            if f"data/{key}" not in self._members:
                raise UserError(f"its storage {key:.100} is missing; fetch the file again")
            raw = np.frombuffer(self._read(f"data/{key}"), np.uint8)
            dtype = np.dtype(_STORAGES[kind])
            if raw.size % dtype.itemsize:
                raise UserError(f"its storage {key:.100} is cut off; fetch the file again")
            if self._swap:
                raw = raw.view(f"u{dtype.itemsize}").byteswap().view(np.uint8)
            self._storages[kind, key] = raw.view(dtype)
        return self._storages[kind, key]

    def _read(self, name: str, most: int | None = None) -> bytes:
        member = self._members[name]
        if member.file_size > min(self._left, most or self._left):
            raise UserError(f"its {name} has {member.file_size:,} bytes, too many for such a file")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"its {name} is packed in a way that PyTorch does not use")
        self._left -= member.file_size
        with self._archive.open(member) as file:
            return file.read(member.file_size)


def _members(members: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """What is in the folder that holds `data.pkl`, by its name there."""
    names = [member.filename for member in members]
    folders = [name.partition("/")[0] for name in names if name.partition("/")[2] == "data.pkl"]
    if not folders:
        raise UserError(
            "it is a zip archive without data.pkl, no PyTorch checkpoint; re-save it in PyTorch"
            f" with {RESAVE}"
        )
    inside = [member for member in members if member.filename.startswith(f"{folders[0]}/")]
    named = {member.filename.partition("/")[2]: member for member in inside}
    if len(named) < len(inside) or len(folders) > 1:
        raise UserError("it holds two members of one name; fetch it again")
    return named


def _whole_numbers(values: object) -> tuple[int, ...]:
    """Sizes, strides or an offset, as far as they can be such."""
    if not isinstance(values, tuple) or len(values) > _MOST_AXES:
        raise UserError("a tensor of it has no sizes and strides; the file is damaged")
    if not all(type(n) is int and 0 <= n < 2**63 for n in values):
        raise UserError("a tensor of it has sizes or strides that cannot be; the file is damaged")
    return values


def _state_dict(content: object) -> Mapping[str, object]:
    """The tensors and numbers by name, out of what training scripts wrap them in."""
    if isinstance(content, pickles.ScriptModule):
        content = content.tensors()
    for nest in _NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
    models = [content.get(nest) for nest in _NESTS] if isinstance(content, Mapping) else [content]
    for model in models:
        if isinstance(model, pickles.Placeholder) and model.network:
            raise UserError(
                f"it is a whole pickled model ({model.name}), whose code would be needed; save its"
                " tensors in PyTorch with torch.save(model.state_dict(), path)"
            )
    if not isinstance(content, Mapping) or not content:
        kind = getattr(content, "name", type(content).__name__)
        raise UserError(f"it holds no tensors by name, but {kind}")
    others = [
        f"{_short(_name(name, name))} ({_short(_name(value, type(value).__name__))})"
        for name, value in content.items()
        if not (isinstance(name, str) and isinstance(value, _WEIGHTS))
    ]
    if others:
        shown = next(n for n in range(_SHOWN, 0, -1) if len(", ".join(others[:n])) <= _LETTERS)
        more = f" and {len(others) - shown} more" if len(others) > shown else ""
        raise UserError(
            f"its state dict holds other things than tensors: {', '.join(others[:shown])}{more};"
            " re-save the tensors alone"
        )
    return content


def _name(value: object, otherwise: object) -> str:
    return f"{getattr(value, 'name', otherwise)}"


def _short(name: str) -> str:
    """A name of at most 63 letters."""
    return name if len(name) <= 63 else f"{name[:60]}..."
