"""Reads PyTorch's zip checkpoints, TorchScript archives too, without PyTorch.

All reads are bounded: a hostile file takes at most four times its size plus 64 MB of memory.
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
_NESTS = ("model", "module", "state_dict", "model_state_dict", "weights")
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""Errors that zipfile raises at damaged bytes."""

_SHOWN, _LETTERS = 10, 250  # largest number of names in a message, and of letters in all of them
_WEIGHTS = (pickles.Tensor, int, float, np.generic)
_MB = 2**20
_LIST_OF_MEMBERS = 4 * _MB  # for 40,000 storages
_LEAST_VIEW = 2**24  # a view of at most this size may be larger than its storage (strides of 0)
_MOST_AXES = 32


def read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch checkpoint, under the file's own names.

    Args:
      file: the zip archive.
      size: its size in bytes.

    Raises:
      UserError: if it is damaged or hostile, or holds no tensors by name.
    """
    try:
        with opened(file) as archive:
            content = _Archive(archive, size)
            return {name: content.array(name, x) for name, x in _state_dict(content.load()).items()}
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(
            f"it is truncated or damaged ({f'{error}':.150}); fetch it again, or re-save it in"
            f" PyTorch from a whole copy with {RESAVE}"
        ) from error


def opened(file: BinaryIO) -> zipfile.ZipFile:
    """Opens a zip file, whose list of members may not be larger than any checkpoint's.

    Raises:
      UserError: if it is.
    """
    guarded = _Guarded(file)
    archive = zipfile.ZipFile(guarded)
    guarded.most = sys.maxsize
    return archive


class _Guarded:
    """A zip file that reads at most `most` bytes at once.

    While `zipfile` reads the list of members, this bounds their number.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.most = _LIST_OF_MEMBERS
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        """Reads up to `count` bytes."""
        if count > self.most:
            raise UserError(f"its list of members has {count:,} bytes, more than any checkpoint's")
        return self._file.read(count)


class _Archive:
    """The members of a zip checkpoint: `data.pkl`, the storages `data/<key>`, `byteorder`.

    Members are read completely, so that their checksums are checked.
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
        """Builds the object that `data.pkl` describes."""
        most = 8 * _MB + self._size // 2
        return pickles.load(self._read("data.pkl", most), self._size // 32)

    def array(self, name: str, value: object) -> np.ndarray:
        """The array of a tensor, a read-only view of its storage, or of a number."""
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
            raise UserError("one of its tensors has no storage, so the file is damaged")
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
            raise UserError(f"its {name} has {member.file_size:,} bytes, too many for this file")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"its {name} has a compression that PyTorch does not use")
        self._left -= member.file_size
        with self._archive.open(member) as file:
            return file.read(member.file_size)


def _members(members: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Name -> member of the archive's folder that holds `data.pkl`."""
    names = [member.filename for member in members]
    folders = [name.partition("/")[0] for name in names if name.partition("/")[2] == "data.pkl"]
    if not folders:
        raise UserError(
            "it is a zip archive without data.pkl, not a PyTorch checkpoint; re-save it in PyTorch"
            f" with {RESAVE}"
        )
    inside = [member for member in members if member.filename.startswith(f"{folders[0]}/")]
    named = {member.filename.partition("/")[2]: member for member in inside}
    if len(named) < len(inside) or len(folders) > 1:
        raise UserError("it holds two members with the same name; fetch it again")
    return named


def _whole_numbers(values: object) -> tuple[int, ...]:
    """Checks sizes, strides or an offset: whole numbers that are not negative."""
    if not isinstance(values, tuple) or len(values) > _MOST_AXES:
        raise UserError("one of its tensors has no sizes and strides; the file is damaged")
    if not all(type(n) is int and 0 <= n < 2**63 for n in values):
        raise UserError("one of its tensors has impossible sizes or strides; the file is damaged")
    return values


def _state_dict(content: object) -> Mapping[str, object]:
    """Name -> tensor or number, unwrapped from the dictionaries of training scripts."""
    if isinstance(content, pickles.ScriptModule):
        content = content.tensors()
    for nest in _NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
    models = [content.get(nest) for nest in _NESTS] if isinstance(content, Mapping) else [content]
    for model in models:
        if isinstance(model, pickles.Placeholder) and model.network:
            raise UserError(
                f"it is a pickled model ({model.name}), which needs the model's code; save its"
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
            " re-save only the tensors"
        )
    return content


def _name(value: object, otherwise: object) -> str:
    return f"{getattr(value, 'name', otherwise)}"


def _short(name: str) -> str:
    """A name of at most 63 letters."""
    return name if len(name) <= 63 else f"{name[:60]}..."
