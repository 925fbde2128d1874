"""Reads tensors from checkpoint files without PyTorch: zip, TorchScript, safetensors, NumPy."""

import json
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
import safetensors
from etils import epath
from safetensors.numpy import load_file

from tokmerge_jax import demo_files
from tokmerge_jax.checkpoints import numpy_archive, torch_archive
from tokmerge_jax.types import UserError

_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # PyTorch's magic number, pickled
_PREFIXES = re.compile(r"^(?:(?:module|model)\.)*")  # added by data-parallel training, Lightning
_WRAPPERS = re.compile(  # added by PyTorch at any depth: compilation, sharding, recomputation
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
)
"""Files of weights in Hugging Face's folders, the preferred first."""

INDEX = ".index.json"
_HEADER = 8 * 2**20  # bytes, for 80,000 tensors
_MESSAGE = 400  # letters


def read(path: epath.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a checkpoint, by name.

    Several files joined by commas are read one after the other. Accepts PyTorch's zip format,
    TorchScript archives (OpenAI's CLIP; the tensors of all modules) and safetensors, recognised by
    content; NumPy's .npz; the index of a checkpoint in several files; and a Hugging Face folder
    that holds one of these. The state dict may be wrapped as in training scripts ({"model": ...});
    a number in it becomes an array without axes. Parts of names that training adds are removed:
    `module.` and `model.` if all names begin so, `_orig_mod.` anywhere.

    Raises:
      UserError: if the file is missing, damaged, hostile or of another format; the message says how
        to re-save it.
    """
    if parts := several(path):
        return _together(parts)
    if not epath.Path(path).exists():
        demo_files.check_installed(path)
        raise UserError(f"checkpoint {path} does not exist; download it, or correct the path")
    try:
        tensors = {}
        for file, names in files(path).items():
            content = _content(file)
            if missing := [name for name in names or () if name not in content]:
                raise UserError(
                    f"{file.name} lacks {missing[0]:.100}, which the index assigns to it"
                )
            tensors |= {name: content[name] for name in names or content}
        if not tensors:
            raise UserError("it holds no tensors")
        return _plain_names(tensors)
    except OSError as error:
        raise UserError(f"cannot read checkpoint {path}: {error.strerror or error}") from error
    except UserError as error:
        fault = "".join(c if c.isprintable() else " " for c in str(error)[:_MESSAGE])
        raise UserError(f"cannot read checkpoint {path}: {fault}") from error


def several(path: epath.PathLike) -> list[str]:
    """The files that a list joined by commas names; none if `path` is a single one."""
    name = os.fspath(path)
    return name.split(",") if "," in name and not epath.Path(path).exists() else []


def _together(parts: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads the tensors of several checkpoints that make one.

    Raises:
      UserError: as `read`, or if two of them hold a tensor of the same name.
    """
    tensors = {}
    for part in parts:
        more = read(part)
        if twice := tensors.keys() & more.keys():
            raise UserError(
                f"cannot read checkpoint {','.join(parts)}: {part} holds {min(twice):.100}, and so"
                " does a file before it; name each file once"
            )
        tensors |= more
    return tensors


def files(path: epath.PathLike) -> Mapping[epath.Path, list[str] | None]:
    """The files of a checkpoint -> names of the tensors to read from each (None = all).

    Raises:
      UserError: if one is missing, or the index is damaged.
    """
    if parts := several(path):
        return {file: names for part in parts for file, names in files(part).items()}
    path = epath.Path(path)
    if path.is_dir() and not is_folder(path):
        raise UserError(f"it is a folder without weights, such as {FOLDER[0]}; name a file")
    if path.is_dir():
        path = next(path / name for name in FOLDER if (path / name).exists())
    parts = _indexed(path) if path.name.endswith(INDEX) else {path: None}
    if missing := [part.name for part in parts if not part.exists()]:
        raise UserError(f"{path.name} names {missing[0]}, which is not beside it; download it")
    return parts


def is_folder(path: epath.PathLike) -> bool:
    """Whether `path` is a folder with weights under one of Hugging Face's file names."""
    return any((epath.Path(path) / name).exists() for name in FOLDER)


def _indexed(index: epath.Path) -> dict[epath.Path, list[str] | None]:
    """Reads an index, `{"weight_map": {tensor: file}}`: file -> names of its tensors."""
    try:
        content = json.loads(index.read_bytes()) if index.stat().length < _HEADER else None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{index.name} is not JSON ({error}); fetch it again") from error
    match content:
        case {"weight_map": dict(places)} if places:
            parts = {}
            for name, file in places.items():
                parts.setdefault(index.parent / _beside(file), []).append(name)
            return parts
    raise UserError(f"{index.name} has no weight_map of tensors and files; fetch it again")


def _beside(file: object) -> str:
    """Returns `file` after checking that it is a plain file name, not a path elsewhere."""
    if isinstance(file, str) and file and epath.Path(file).name == file:
        return file
    raise UserError(f"its weight_map names {file!r:.100}, which is not a file beside it")


def _content(path: epath.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of one file, under the file's own names."""
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
        if start.startswith(b"PK"):
            archive = numpy_archive if path.suffix.lower() == ".npz" else torch_archive
            return archive.read(file, path.stat().length)
    if start == _LEGACY:
        raise UserError(
            "it has PyTorch's format from before version 1.6; re-save it in PyTorch with"
            f" {torch_archive.RESAVE}"
        )
    if start[8:9] == b"{" or path.suffix.lower() == ".safetensors":
        return _safetensors(path, int.from_bytes(start[:8], "little"))
    raise UserError(
        f"it is not a PyTorch checkpoint (it starts with {start!r}); fetch it again, or re-save it"
        f" in PyTorch with {torch_archive.RESAVE}"
    )


def _safetensors(path: epath.Path, header: int) -> dict[str, np.ndarray]:
    if header > _HEADER:
        raise UserError(
            f"it is not a complete .safetensors file (header of {header:,} bytes); fetch it again"
        )
    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise UserError(
            f"it is not a complete .safetensors file ({f'{error}':.200}); fetch it again"
        ) from error
    except (AttributeError, KeyError, TypeError) as error:  # from looking up a NumPy dtype
        raise UserError("it has dtypes that NumPy lacks; save it as float32") from error


def _plain_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes the parts of names that training adds."""
    plain = [_WRAPPERS.sub("", name) for name in tensors]
    shared = os.path.commonprefix(plain)  # noqa: RUF071 (names, not paths)
    cut = len(re.findall(_PREFIXES, shared)[0])
    if len(set(plain)) < len(plain):
        raise UserError("two of its tensors get the same name without the parts that training adds")
    return {name[cut:]: tensor for name, tensor in zip(plain, tensors.values(), strict=True)}
