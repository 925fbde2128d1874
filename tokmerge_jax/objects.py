"""Run folders on object stores (`s3://`, `gs://`): their paths, errors and locks.

Files are reached by etils.epath and fsspec. An object appears at once and as a whole, so a write is
atomic; folders need not be created.
"""

import contextlib
import datetime
import errno
import functools
import logging
import os
import pathlib
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

import fsspec
from etils import epath

from tokmerge_jax.errors import UserError

Place = pathlib.Path | epath.Path
"""A local path, or one on an object store."""

BEAT = 10.0
"""Seconds between two signs of life of the holder of a lock."""

STALE = 60.0
"""Seconds without a sign of life after which the holder of a lock has ended."""

PERIOD = 2.0
"""Seconds that small writes wait for others, since each request takes its time."""

_SCHEMES = {"s3": "s3", "gs": "gcs"}  # names that fsspec has for them
_CLIENTS = {"aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "s3fs"}
_NETWORK = "check the network and the store's address (AWS_ENDPOINT_URL, STORAGE_EMULATOR_HOST)"
_CREDENTIALS = "give credentials that may read, write and list there"
_CURES = {
    "FileNotFoundError": "create the bucket, or name another folder",
    "PermissionError": _CREDENTIALS,
    "NoCredentialsError": f"{_CREDENTIALS} (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)",
    "DefaultCredentialsError": f"{_CREDENTIALS} (GOOGLE_APPLICATION_CREDENTIALS)",
}
"""What to do about an error, by the name of its type; otherwise `_NETWORK`."""


def place(name: str) -> Place:
    """The path of a run's folder.

    Raises:
      UserError: if it is on an object store whose client is not installed, or not the address of a
        folder in a bucket.
    """
    scheme = re.match(r"(s3|gs):/", name)
    if not scheme:
        return pathlib.Path(name)
    if not re.fullmatch(r"\w+://[^/*?[]+/[^*?[]*[^/*?[]/*", name):
        raise UserError(
            f"{name} is not the address of a folder in a bucket: {scheme[1]}://BUCKET/FOLDER,"
            " without *, ? and ["
        )
    _client(scheme[1])
    return epath.Path(name)


def local(place: Place, what: str) -> pathlib.Path:
    """The path of a folder that must not be on an object store.

    Raises:
      UserError: if it is; `what` needs the folder, for the message.
    """
    if isinstance(place, pathlib.Path):
        return place
    raise UserError(f"{place}: {what} need a local folder, or one that all hosts mount; name one")


def store(path: epath.Path) -> fsspec.AbstractFileSystem:
    """The client of the object store that `path` is on."""
    return _client(os.fspath(path).partition(":")[0])


def read(path: epath.Path) -> bytes:
    """The content of an object, by one request (epath's fails while another process writes it)."""
    return store(path).cat_file(str(path))


def put(local: pathlib.Path, folder: epath.Path) -> None:
    """Copies the files of a local folder, those directly in it last."""
    files = [file for file in local.rglob("*") if file.is_file()]
    for direct in (False, True):
        some = [file for file in files if (file.parent == local) == direct]
        targets = [f"{folder}/{file.relative_to(local)}" for file in some]
        store(folder).put([*map(str, some)], targets)


def get(place: epath.Path, local: pathlib.Path) -> None:
    """Copies an object, or all objects of a folder, to a local file or folder.

    Raises:
      FileNotFoundError: if there is none.
    """
    names = _all(place)
    if not names:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(place))
    store(place).get(names, _moved(names, place, local))


def copy(folder: epath.Path, target: epath.Path) -> None:
    """Copies all objects of a folder within the store."""
    names = _all(folder)
    store(folder).copy(names, _moved(names, folder, target))


def _all(place: epath.Path) -> list[str]:
    client = store(place)
    return [client.unstrip_protocol(name) for name in client.find(os.fspath(place))]


def _moved(names: list[str], place: Place, target: Place) -> list[str]:
    return [f"{target}{name.removeprefix(os.fspath(place))}" for name in names]


@functools.cache
def _client(scheme: str) -> fsspec.AbstractFileSystem:
    # Other processes write too, so a listing must not be kept. This holds for epath's clients too.
    fsspec.config.conf.setdefault(_SCHEMES[scheme], {})["use_listings_cache"] = False
    logging.getLogger("gcsfs").disabled = True  # it logs what it raises, with stack traces
    try:
        return fsspec.filesystem(_SCHEMES[scheme])
    except ImportError as error:
        client = f"{_SCHEMES[scheme]}fs"
        raise UserError(f"{scheme}:// needs {client}; install it: pip install {client}") from error


def fault(error: BaseException) -> str | None:
    """An object store's error as a reason and a remedy; None for errors of other origin."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__module__.partition(".")[0] in _CLIENTS:
            reason = " ".join(f"{error}".split()).rstrip(".")
            return f"{reason:.200}; {_CURES.get(type(error).__name__, _NETWORK)}"
        cause = cause.__cause__
    return None


def holder(folder: epath.Path, name: str) -> str:
    """The holder of the folder's lock, in words; "" if there is none."""
    locks = _locks(folder, name)
    return _read(locks[max(locks)]).partition("\n")[0] if locks else ""


@contextlib.contextmanager
def held(folder: epath.Path, name: str) -> Iterator[None]:
    """Locks a folder against other runs while the block runs.

    The lock is an object NAME.N that its holder writes again every `BEAT` seconds. Whoever finds
    one that stays the same for `STALE` seconds creates NAME.N+1, which only one run can: a store
    refuses to create an object that exists. A holder that finds a higher number ends.

    Raises:
      UserError: if another run holds the lock; the message names it.
    """
    locks = _locks(folder, name)
    last = max(locks, default=-1)
    if locks and _lives(folder, locks[last]):
        raise _busy(folder, locks[last])
    own = folder / f"{name}.{last + 1}"
    since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    text = f"process {os.getpid()} on {socket.gethostname()} (since {since})"
    try:
        store(own).pipe_file(os.fspath(own), text.encode(), mode="create")
    except FileExistsError as error:
        raise _busy(folder, own) from error
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=[own, text, ended], daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        for lock in (*locks.values(), own):
            lock.unlink(missing_ok=True)


def _busy(folder: epath.Path, lock: epath.Path) -> UserError:
    return UserError(
        f"{folder} is being written by {_read(lock).partition(chr(10))[0] or 'another process'};"
        " wait until that has ended, or name another folder"
    )


def _locks(folder: epath.Path, name: str) -> dict[int, epath.Path]:
    """The folder's locks by number, of which the last one counts."""
    locks = folder.glob(f"{name}.*")
    return {int(lock.suffix[1:]): lock for lock in locks if lock.suffix[1:].isdecimal()}


def _read(lock: epath.Path) -> str:
    try:
        return read(lock).decode()
    except FileNotFoundError:  # its holder has ended
        return ""


def _lives(folder: epath.Path, lock: epath.Path) -> bool:
    """Whether the lock's holder gives a sign of life within `STALE` seconds."""
    known, until = _read(lock), time.monotonic() + STALE
    print(f"{folder}: waiting for a sign of life of {known.partition(chr(10))[0]}", file=sys.stderr)
    while time.monotonic() < until:
        time.sleep(BEAT / 10)
        if (text := _read(lock)) != known:
            return bool(text)
    return False


def _beat(own: epath.Path, text: str, ended: threading.Event) -> None:
    """Writes signs of life; ends the process if another run has taken the lock."""
    number, beats = int(own.suffix[1:]), 0
    while not ended.wait(BEAT):
        beats += 1
        with contextlib.suppress(Exception):  # the store may answer the next time
            if max(_locks(own.parent, own.stem), default=number) > number:
                print(f"{own.parent}: another run took the lock, since this process gave no sign of"
                      " life; run the same command again", file=sys.stderr)  # fmt: skip
                os.kill(os.getpid(), signal.SIGTERM)
            own.write_text(f"{text}\n{beats}")
