"""Downloads of files, from the Hugging Face Hub and from other addresses, each only once."""

import contextlib
import os
import pathlib
import urllib.request
from collections.abc import Iterator
from types import ModuleType

import filelock

from tokmerge_jax.progress import Progress

_TIMEOUT = 20  # seconds without an answer
_BLOCK = 2**20  # bytes


def cache() -> pathlib.Path:
    """The folder of downloaded weights: `TOKMERGE_WEIGHTS_DIR`, by default in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(
        os.environ.get("TOKMERGE_WEIGHTS_DIR") or pathlib.Path(home, "tokmerge_jax", "weights")
    )


def hub_file(repository: str, name: str) -> pathlib.Path:
    """A file of a Hugging Face repository, from the Hub's cache or downloaded into it.

    Args:
      repository: its name, "OWNER/REPOSITORY".
      name: the path of the file in it.

    Raises:
      OSError, ValueError: if the file is not in the cache and cannot be downloaded.
    """
    if cached := hub_cached(repository, name):
        return cached
    with online() as hub:
        return pathlib.Path(hub.hf_hub_download(repository, name))


def hub_cached(repository: str, name: str) -> pathlib.Path | None:
    """A file of a Hugging Face repository in the Hub's cache, if it is there."""
    import huggingface_hub  # only where a file has to be fetched

    cached = huggingface_hub.try_to_load_from_cache(repository, name)
    return pathlib.Path(cached) if isinstance(cached, str) else None


@contextlib.contextmanager
def online() -> Iterator[ModuleType]:
    """The Hub's client, for a block that uses it; its errors become OSError or ValueError.

    Raises:
      OSError: at once, if the Hub does not answer; the client would try for a minute.
    """
    import huggingface_hub
    from huggingface_hub import constants

    hub = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    with urllib.request.urlopen(hub, timeout=10):
        pass
    try:
        yield huggingface_hub
    except (OSError, ValueError):
        raise
    except Exception as error:  # of its HTTP library, which differs between its versions
        raise OSError(f"{error}") from error


def web_file(address: str, folder: pathlib.Path) -> pathlib.Path:
    """A file of any address, from `folder` or downloaded into it; a stopped download continues.

    Raises:
      OSError, ValueError: if it is not there and cannot be downloaded.
    """
    target = folder / address.rpartition("/")[2]
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{target}.lock"):  # processes of a run share the folder
        if not target.exists():
            part = target.with_name(f"{target.name}.part")
            _download(address, part)
            part.replace(target)
    return target


def _download(address: str, part: pathlib.Path) -> None:
    """Downloads into `part`, after the bytes that it holds."""
    part.touch()
    done = max(part.stat().st_size - 1, 0)  # one byte again: a server refuses an empty rest
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, part.open("r+b") as file:
        done = done if answer.status == 206 else 0  # 206: the server sends the rest only
        rest = answer.headers["Content-Length"]
        if rest is None:
            raise OSError("the server does not say how large the file is")
        size = done + int(rest)
        file.seek(done)
        blocks, name = -(-size // _BLOCK), part.name.removesuffix(".part")
        with Progress(f"downloading {name}", blocks, "MiB", done=done // _BLOCK) as bar:
            while block := answer.read(_BLOCK):
                file.write(block)
                bar.update()
        file.truncate()
    if part.stat().st_size != size:
        raise OSError(f"the connection ended after {part.stat().st_size:,} of {size:,} bytes")
