"""Weights by name: `hub:NAME` of the table of known weights, `hf://OWNER/REPOSITORY[/FILE]`.

They are downloaded once. The file of a known name is verified whenever it is named, by the digest
in the table, or else by the one that it had when it was first downloaded.
"""

import atexit
import contextlib
import difflib
import functools
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Sequence

from etils import epath

from tokmerge_jax import disk, downloads, objects
from tokmerge_jax.checkpoints import torch_file
from tokmerge_jax.checkpoints.known import KNOWN, Known
from tokmerge_jax.types import UserError

_HUB = "hf://"
_NAME = "hub:"
WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".npz")


def local(path: epath.PathLike) -> epath.PathLike:
    """The weights that `path` means: a downloaded file for `hub:NAME` and `hf://...`, a local copy
    for an address on an object store, else `path`. Of files joined by commas, each is looked up.

    Raises:
      UserError: if the name is unknown, or its file cannot be downloaded or is another one; the
        message gives the address and where to put the file.
    """
    name = os.fspath(path)
    if parts := torch_file.several(name):
        return ",".join(os.fspath(local(part)) for part in parts)
    if name.startswith(_NAME):
        return _known(name.removeprefix(_NAME))
    if name.startswith(_HUB):
        return repository(name)
    place = objects.place(name)
    return path if isinstance(place, pathlib.Path) else _copied(place)


@functools.cache
def _copied(place: epath.Path) -> pathlib.Path:
    """A copy of a file or folder of a store; it is removed when this process ends."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    local = pathlib.Path(folder.name, place.name)
    with disk.explained(place):
        objects.get(place, local)
    return local


def repository(address: str) -> pathlib.Path:
    """The file of weights that `hf://OWNER/REPOSITORY[/FILE]` means, downloaded.

    Its folder also holds the other parts of weights in several files and, if no FILE is named, the
    repository's configuration and vocabulary.

    Raises:
      UserError: if it cannot be downloaded, or a repository holds no weights or several.
    """
    owner, _, rest = address.removeprefix(_HUB).partition("/")
    name, _, file = rest.partition("/")
    if not (owner and name):
        raise UserError(f"{address} is no address on the Hub; write hf://OWNER/REPOSITORY[/FILE]")
    try:
        with disk.explained(downloads.cache()):
            if file and not file.endswith(torch_file.INDEX):
                return downloads.hub_file(f"{owner}/{name}", file)
            return _with_others(f"{owner}/{name}", file)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(
            f"{address} cannot be downloaded ({_reason(error)}); check the name, or download its"
            " weights elsewhere and name the file or folder as config.checkpoint"
        ) from None  # the connection's own traceback would hide the sentence


def _known(name: str) -> pathlib.Path:
    """The verified file of a known name."""
    if name not in KNOWN:
        near = difflib.get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean hub:{near[0]}?" if near else "`tokmerge weights` lists the names"
        raise UserError(f"hub:{name} is unknown; {hint}")
    known = KNOWN[name]
    path = downloads.cache() / known.file
    if not path.exists():
        path = _fetched(name, known.address, path.parent)
    _verify(name, known, path, path.with_name(f"{path.name}.sha256"))
    return path


def _fetched(name: str, address: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads the file of a known name; a stopped download continues."""
    if address.startswith(_HUB):
        import huggingface_hub  # its client would begin again after a stop

        owner, place, file = address.removeprefix(_HUB).split("/", 2)
        address = huggingface_hub.hf_hub_url(f"{owner}/{place}", file)
    try:
        with disk.explained(folder):
            return downloads.web_file(address, folder)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(
            f"hub:{name}: {address} cannot be downloaded ({_reason(error)}); run again, or download"
            f" it elsewhere and put it into {folder}, or name the file as config.checkpoint"
        ) from None


def _verify(name: str, known: Known, path: pathlib.Path, pin: pathlib.Path) -> None:
    """Compares a file's digest with the one in the table, or with the one kept in `pin`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    wanted = known.sha256 or (pin.read_text().strip() if pin.exists() else digest)
    if digest != wanted:
        raise UserError(
            f"{path} is not the file of hub:{name}: its SHA-256 is {digest}, not {wanted};"
            f" delete it and download it again (if the authors have changed it, delete {pin} too)"
        )
    if not (known.sha256 or pin.exists()):
        with disk.explained(pin):
            pin.parent.mkdir(parents=True, exist_ok=True)
            pin.write_text(f"{digest}\n")


def _with_others(name: str, file: str) -> pathlib.Path:
    """A repository's weights with the files that belong to them, cached or downloaded."""
    for usual in (file,) if file else torch_file.FOLDER:
        if cached := downloads.hub_cached(name, usual):
            with contextlib.suppress(UserError):  # a part is missing
                torch_file.files(cached)
                return cached
    with downloads.online() as hub:
        file = file or _chosen(name, hub.list_repo_files(name))
        stem, suffix = os.path.splitext(file.removesuffix(torch_file.INDEX))
        wanted = [file, f"{stem}-*{suffix}", "config.json", "*.txt", "*.txt.gz"]
        return pathlib.Path(hub.snapshot_download(name, allow_patterns=wanted), file)


def _chosen(name: str, files: Sequence[str]) -> str:
    """The file of weights among a repository's files: one of a usual name, or the only one."""
    for usual in torch_file.FOLDER:
        if usual in files:
            return usual
    weights = [file for file in files if file.endswith(WEIGHTS)]
    if len(weights) != 1:
        listed = f"several: {', '.join(sorted(weights)[:10])}" if weights else "none"
        raise UserError(
            f"hf://{name} names no file of weights, and the repository has {listed}; write"
            f" hf://{name}/FILE"
        )
    return weights[0]


def _reason(error: BaseException) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__
