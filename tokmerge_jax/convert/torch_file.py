"""Reads tensors from checkpoint files without PyTorch: its zip format, TorchScript, safetensors."""

import sys
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
from etils import epath
from safetensors.numpy import load_file

from tokmerge_jax.convert import pickles
from tokmerge_jax.types import UserError

_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # PyTorch's magic number, pickled
_RESAVE = "torch.save(torch.load(path), path)"
_NESTS = ("model", "module", "state_dict", "model_state_dict")
_DAMAGE = (  # what zipfile raises on bytes that make no sense
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
)
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name
_DDP = "module."


def read(path: epath.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by name; those of a .pth stay on disk until they are used.

    Takes the state dict itself or what training scripts wrap it in ({"model": ...}), and drops the
    `module.` that data-parallel training puts before every name. Of a TorchScript archive, as
    OpenAI publishes CLIP, all modules' tensors.

    Raises:
      UserError: if the file is missing, damaged, hostile or of another format; says how to re-save.
    """
    path = epath.Path(path)
    if not path.exists():
        raise UserError(f"checkpoint {path} does not exist; download it, or correct the path")
    try:
        content = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
        return _state_dict(content)
    except UserError as error:
        raise UserError(f"cannot read checkpoint {path}: {error}") from error


def _safetensors(path: epath.Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise UserError(f"it is no whole .safetensors file ({error}); fetch it again") from error


def _torch(path: epath.Path) -> Any:
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
        if start == _LEGACY:
            raise UserError(
                "it has PyTorch's format from before version 1.6; re-save it in PyTorch with"
                f" {_RESAVE}"
            )
        if not start.startswith(b"PK"):
            raise UserError(
                f"it is no PyTorch checkpoint (it starts with {start!r}); fetch it again, or"
                f" re-save it in PyTorch with {_RESAVE}"
            )
        try:
            with zipfile.ZipFile(file) as archive:
                return _Archive(path, archive).load()
        except _DAMAGE as error:
            raise UserError(
                f"it is truncated or damaged ({error}); fetch it again, or re-save it in PyTorch"
                f" from a whole copy with {_RESAVE}"
            ) from error


class _Archive:
    """The members of a zip checkpoint: `data.pkl`, the storages `data/<key>`, `byteorder`."""

    def __init__(self, path: epath.Path, archive: zipfile.ZipFile):
        self._archive = archive
        self._members = {name.partition("/")[2]: name for name in archive.namelist()}
        self._bytes = np.asarray(np.memmap(path, np.uint8, mode="r"))
        self._storages: dict[tuple[str, np.dtype], np.ndarray] = {}
        order = archive.read(self._members["byteorder"]) if "byteorder" in self._members else b""
        self._swap = (order or b"little") != sys.byteorder.encode()

    def load(self) -> Any:
        if "data.pkl" not in self._members:
            raise UserError(
                "it is a zip archive without data.pkl, no PyTorch checkpoint; re-save it in PyTorch"
                f" with {_RESAVE}"
            )
        content = pickles.load(self._archive.read(self._members["data.pkl"]), self._storage)
        return content.tensors() if isinstance(content, pickles.ScriptModule) else content

    def _storage(self, key: str, dtype: np.dtype) -> np.ndarray:
        if (key, dtype) not in self._storages:
            if f"data/{key}" not in self._members:
                raise UserError(f"its storage {key} is missing; fetch the file again")
            raw = self._raw(self._archive.getinfo(self._members[f"data/{key}"]))
            if raw.size % dtype.itemsize:
                raise UserError(f"its storage {key} is cut off; fetch the file again")
            if self._swap:
                raw = raw.view(f"u{dtype.itemsize}").byteswap().view(np.uint8)
            self._storages[key, dtype] = raw.view(dtype)
        return self._storages[key, dtype]

    def _raw(self, member: zipfile.ZipInfo) -> np.ndarray:
        """The member's bytes, mapped where they are stored plainly (as PyTorch does)."""
        if member.compress_type != zipfile.ZIP_STORED:
            return np.frombuffer(self._archive.read(member), np.uint8)
        header = self._bytes[member.header_offset :][:_LOCAL_HEADER]
        name_and_extra = int(header[26:30].view("<u2").sum())
        start = member.header_offset + _LOCAL_HEADER + name_and_extra
        raw = self._bytes[start : start + member.file_size]
        if raw.size != member.file_size:
            raise UserError("it is truncated; fetch it again")
        return raw


def _state_dict(content: Any) -> dict[str, np.ndarray]:
    for nest in _NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"it holds no tensors by name, but {type(content).__name__}")
    others = [
        str(name)
        for name, value in content.items()
        if not (isinstance(name, str) and isinstance(value, np.ndarray))
    ]
    if others:
        raise UserError(
            f"its state dict holds other things than tensors: {', '.join(others)}; re-save the"
            " tensors alone"
        )
    cut = len(_DDP) if all(name.startswith(_DDP) for name in content) else 0
    return {name[cut:]: value for name, value in content.items()}
