"""Files and folders of a run: clear errors for refusals of the machine, whole files, and locks."""

import contextlib
import datetime
import errno
import fcntl
import os
import pathlib
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from typing import TextIO

import numpy as np
from safetensors.numpy import save_file

from tokmerge_jax import objects
from tokmerge_jax.errors import UserError
from tokmerge_jax.objects import Place

_FULL = "make room, or name another place"
_RIGHTS = "change its permissions, or name another place"
_DISK = "check the disk, or name another place"
_CURES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "allow larger files (ulimit -f), or name another place",
    errno.EROFS: "name a place that can be written",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EAGAIN: "allow more processes (ulimit -u) or memory (ulimit -v)",  # threads need both
    errno.ENOMEM: "allow more memory (ulimit -v), or use a smaller batch_size or fewer workers",
}
_OF_THE_PROCESS = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
"""Errors that are not the fault of the file being accessed."""

_PATHS = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ELOOP)
"""Errors of a path, if the error names one; otherwise a mistake in the program."""

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # file system does not support locks


class RefusedError(UserError):
    """A refusal of the machine, with the message of `explained`."""


@contextlib.contextmanager
def explained(place: os.PathLike[str] | str = "") -> Iterator[None]:
    """Turns refusals of the machine (space, permissions, memory) or of an object store in the block
    into one error.

    Args:
      place: the file or folder, named if the system's error names none.

    Raises:
      RefusedError: the message gives the file or folder, the system's reason, and what to do.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # libraries wrap the system's errors in their own exceptions
        if fault := objects.fault(error):
            raise RefusedError(f"{os.fspath(place)}: {fault}".removeprefix(": ")) from error
        number = refusal(error)
        if number is None:
            raise
        cure = _CURES.get(number, "name another place")
        file = getattr(error, "filename", None) or place
        subject = "" if number in _OF_THE_PROCESS or not file else f"{os.fspath(file)}: "
        raise RefusedError(f"{subject}{os.strerror(number)}; {cure}") from error


def refusal(error: BaseException) -> int | None:
    """The `errno` of a refusal, also if a library wrapped it as text; None for other errors."""
    if isinstance(error, OSError) and error.errno is not None:
        is_refusal = error.errno in _CURES or (error.errno in _PATHS and error.filename)
        return error.errno if is_refusal else None
    text = str(error)
    if isinstance(error, MemoryError) or "Out of memory" in text:
        return errno.ENOMEM
    if "can't start new thread" in text:  # Python omits the errno
        return errno.EAGAIN
    return next((number for number in _CURES if os.strerror(number) in text), None)


def raise_shortage(error: BaseException) -> None:
    """Raises RefusedError if `error`, or its cause, is that no more files can be opened."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            with explained():
                raise cause
        cause = cause.__cause__


def check_room(folder: pathlib.Path, size: int) -> None:
    """Raises UserError unless the disk of the existing `folder` has `size` bytes free.

    For asynchronous writers, which only print their failures from other threads.
    """
    with explained(folder):
        if shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_tensors(
    path: pathlib.Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, str] | None = None
) -> None:
    """Writes a .safetensors file; `about` is its metadata.

    It gets a new file's usual permissions; `save_file` would let its owner alone read it.
    """
    path.touch()
    mode = path.stat().st_mode
    rows = {name: np.asarray(x, order="C") for name, x in tensors.items()}  # as the format reads
    save_file(rows, path, dict(about) if about else None)
    path.chmod(mode)


def make(folder: Place) -> None:
    """Creates a folder; object stores need none."""
    if isinstance(folder, pathlib.Path):
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)


def read(path: Place) -> bytes | None:
    """The content of a file; None if there is none."""
    with explained(path):
        try:
            if isinstance(path, pathlib.Path):
                return path.read_bytes()
            return objects.read(path)
        except FileNotFoundError:
            return None


def remove(folder: Place) -> None:
    """Removes a folder, if there is one, with all that it holds."""
    if not isinstance(folder, pathlib.Path):
        folder.rmtree(missing_ok=True)
    elif folder.exists():
        shutil.rmtree(folder)


def copy(folder: Place, target: Place) -> None:
    """Copies a folder to the new folder `target` at the same kind of place."""
    with explained(target):
        if isinstance(folder, pathlib.Path):
            shutil.copytree(folder, target)
        else:
            objects.copy(folder, target)


@contextlib.contextmanager
def filled(folder: Place) -> Iterator[pathlib.Path]:
    """Yields a local folder to fill: `folder`, or one that is copied to its store at the end, the
    files directly in it last.
    """
    if isinstance(folder, pathlib.Path):
        yield folder
        return
    with tempfile.TemporaryDirectory() as local:
        yield pathlib.Path(local)
        with explained(folder):
            objects.put(pathlib.Path(local), folder)


@contextlib.contextmanager
def replaced(path: Place) -> Iterator[pathlib.Path]:
    """Yields a file to write, which takes the place of `path` as a whole when the block ends.

    Raises:
      UserError: as `explained`.
    """
    with explained(path):
        if isinstance(path, pathlib.Path):
            part = path.with_name(f"{path.name}.part")
            yield part
            os.replace(part, path)
        else:
            with tempfile.TemporaryDirectory() as folder:
                part = pathlib.Path(folder, path.name)
                yield part
                objects.store(path).put_file(os.fspath(part), os.fspath(path))


@contextlib.contextmanager
def held(folder: Place, name: str = "lock") -> Iterator[None]:
    """Creates `folder` and locks it against other processes while the block runs.

    The lock is the kernel's (`flock`) on a file that names its holder. It ends with the process,
    however that ends, and a remaining file locks nobody out. Worker processes do not inherit it. On
    file systems without locks, nothing is locked. On an object store, see `objects.held`.

    Args:
      folder: the folder that the block writes to; `explained` names it.
      name: name of the lock file in it.

    Raises:
      UserError: if another process holds the lock (the message names it); also as `explained`,
        adding that finished work is kept.
    """
    with explained(folder):
        make(folder)
        with _locked(folder, name):
            try:
                with explained(folder):
                    yield
            except RefusedError as error:
                raise UserError(f"{error}; what was finished is kept") from error


def holder(folder: Place, name: str = "lock") -> str:
    """The holder of the folder's lock, in words; "" if there is none."""
    if not isinstance(folder, pathlib.Path):
        return objects.holder(folder, name)
    return (read(folder / name) or b"").decode()


@contextlib.contextmanager
def _locked(folder: Place, name: str) -> Iterator[None]:
    if not isinstance(folder, pathlib.Path):
        with objects.held(folder, name):
            yield
        return
    with (folder / name).open("a+", encoding="utf-8") as file:
        _lock(file, folder)
        yield


def _lock(file: TextIO, folder: pathlib.Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise UserError(
            f"{folder} is being written by {holder}; wait until that has ended, or name another"
            " folder"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    file.truncate(0)
    since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    file.write(f"process {os.getpid()} on {socket.gethostname()} (since {since})")
    file.flush()
    os.fsync(file.fileno())  # other hosts may look who it is
