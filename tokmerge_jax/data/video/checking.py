"""Checks once, before long work, that every video of a data set exists and can be decoded."""

import errno
import itertools
import json
import operator
import os
import pathlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tokmerge_jax import disk, hosts
from tokmerge_jax.data.sampling.frames import sample_indices
from tokmerge_jax.data.video import frame_folder
from tokmerge_jax.data.video.decode import open_video, read_chosen
from tokmerge_jax.data.video.workers import Fault, attempt, in_order
from tokmerge_jax.progress import Progress

MISSING = "missing"
"""The fault of a video whose file does not exist."""

_SAMPLED = 12  # number of frames that evaluation reads
_TRIED = [0, _SAMPLED // 2, -1]  # the first, the middle and the last of them
_AHEAD = 64  # results that wait in a worker's queue, so that a long video delays few others
_SLICE = 100_000  # number of files that are looked up, then checked, in one go
_LOOK_UPS = 16  # threads that look files up; network disks answer slowly
_UNKNOWN = (-1, 0)  # size and time of a file that cannot be looked up
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


class Check(NamedTuple):
    """The result of checking a video.

    Attributes:
      fault: why it cannot be used; "" if its sampled frames decode.
      unshown: number of its packets without a shown frame (`decode.Video.unshown`).
    """

    fault: str
    unshown: int = 0


_Known = dict[tuple[str, tuple[int, ...]], Check]
"""(path, stamp) -> check."""


def check_video(path: str) -> str:
    """The reason why a video cannot be used; "" if its sampled frames decode."""
    return _check(path, attempt(_unshown, str, path)).fault


def _check(path: str, unshown: int | Fault) -> Check:
    if isinstance(unshown, Fault):
        return Check(unshown.text.removeprefix(f"{path}: "))
    return Check("", unshown)


def _unshown(path: str) -> int:
    """Counts the packets without a shown frame; exact once some frames were read."""
    with open_video(path) as video:
        read_chosen(video, lambda n: sample_indices(n, _SAMPLED)[_TRIED].tolist())
        return video.unshown


def log_path(folder: str, dataset: str) -> pathlib.Path:
    """The file that holds the checks of a data set's videos."""
    return pathlib.Path(folder, f"{dataset}_checks.jsonl")


def check_videos(paths: Sequence[str], log: pathlib.Path, workers: int) -> Mapping[str, Check]:
    """Checks many videos, a share in each process of the run; returns path -> check.

    Each result is appended to `log` at once, as a JSON line with the file's size and modification
    time. So a killed run continues, and only changed or broken files are checked again. Other
    processes than the first append to a log beside it.

    Args:
      paths: the videos.
      log: the file of the checks.
      workers: number of workers of this process that decode.
    """
    distinct = list(dict.fromkeys(paths))
    shares = [distinct[number :: hosts.count()] for number in range(hosts.count())]
    checks = _check_share(shares.pop(hosts.number()), log, workers)
    hosts.wait()
    for others in shares:
        checks |= _checked_elsewhere(others, log)
    return checks


def _check_share(distinct: Sequence[str], log: pathlib.Path, workers: int) -> dict[str, Check]:
    known = _known(log)
    checks: dict[str, Check] = {}
    log.parent.mkdir(parents=True, exist_ok=True)
    own = log.with_suffix(f".{hosts.number()}.jsonl") if hosts.number() else log
    hosts.wait()
    with (
        own.open("a", encoding="utf-8") as lines,
        ThreadPoolExecutor(_LOOK_UPS) as threads,
        Progress("checking videos", len(distinct), "video") as progress,
    ):
        lines.write("\n")  # ends a line that a killed run left unfinished
        for begin in range(0, len(distinct), _SLICE):
            part = distinct[begin : begin + _SLICE]
            stamps = dict(zip(part, threads.map(stamp, part), strict=True))
            checks |= {path: Check(MISSING) for path, seen in stamps.items() if seen is None}
            usable = {p: known.get((p, seen)) for p, seen in stamps.items() if seen}
            checks |= {p: check for p, check in usable.items() if check and not check.fault}
            todo = [path for path in part if path not in checks]
            progress.total -= len(part) - len(todo)
            for path, check in _checked(todo, workers):
                checks[path] = check
                print(json.dumps([path, stamps[path], *check]), file=lines, flush=True)
                progress.update()
    return checks


def _checked_elsewhere(paths: Sequence[str], log: pathlib.Path) -> dict[str, Check]:
    """The checks that another process has just logged."""
    with ThreadPoolExecutor(_LOOK_UPS) as threads:
        stamps = dict(zip(paths, threads.map(stamp, paths), strict=True))
    known: _Known = {}

    def seen() -> bool:
        known.update(_known(log))
        return all((path, found) in known for path, found in stamps.items() if found)

    hosts.wait_until_visible(log.parent, seen)
    return {path: known[path, found] if found else Check(MISSING) for path, found in stamps.items()}


def faults(paths: Sequence[str], log: pathlib.Path, workers: int) -> dict[str, str]:
    """Returns path -> fault of videos that were usable before: missing, or no longer decodable.

    Only files that are empty, or whose size differs from every usable size in `log`, are decoded
    (in `workers` processes). Nothing is written.
    """
    distinct = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_LOOK_UPS) as threads:
        sizes = dict(zip(distinct, threads.map(_size, distinct), strict=True))
    usable: dict[str, set[int]] = {}
    for (path, seen), check in _logged(log):
        if not check.fault and len(seen) > 1:  # a damaged line may hold anything
            usable.setdefault(path, set()).add(seen[frame_folder.is_pattern(path)])
    gone = {path: MISSING for path, size in sizes.items() if size is None}
    changed = [
        path
        for path, size in sizes.items()
        if size is not None and (size == 0 or size not in usable.get(path, {size}))
    ]
    return gone | {path: check.fault for path, check in _checked(changed, workers) if check.fault}


def _size(path: str) -> int | None:
    """Size of a file in bytes, or number of frames in a frame folder; None if it does not exist."""
    seen = stamp(path)
    return seen[frame_folder.is_pattern(path)] if seen else None


def stamp(path: str | pathlib.Path) -> tuple[int, ...] | None:
    """Returns (size, modification time in ns) of a file, or `frame_folder.stamp`; None if missing.

    A file that cannot be looked up gets a stamp that no real file has; opening it later reports the
    reason.

    Raises:
      disk.RefusedError: if no more files can be opened.
    """
    try:
        if frame_folder.is_pattern(path):
            return frame_folder.stamp(pathlib.Path(path))
        status = os.stat(path)
    except ValueError:  # not a valid path
        return None
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        disk.raise_shortage(error)
        return _UNKNOWN
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _known(log: pathlib.Path) -> _Known:
    """The checks of all processes; of two, that which found the video usable."""
    return dict(sorted(_logged(log), key=lambda entry: not entry[1].fault))


def _logged(log: pathlib.Path) -> Iterator[tuple[tuple[str, tuple[int, ...]], Check]]:
    """Yields ((path, stamp), check) for each complete line of the log, and of those beside it."""
    logs = sorted(log.parent.glob(f"{log.stem}*{log.suffix}"))
    for line in itertools.chain.from_iterable(part.read_bytes().splitlines() for part in logs):
        try:
            path, seen, fault, unshown = json.loads(line)
            known = os.fspath(path), tuple(map(operator.index, seen))
            yield known, Check(fault, operator.index(unshown))
        except (ValueError, TypeError, RecursionError):
            continue  # empty, cut off, of an older format or damaged: the video is checked again


def _checked(paths: Sequence[str], workers: int) -> Iterator[tuple[str, Check]]:
    """Yields (path, check); a video that crashes its worker process gets a fault too."""
    for path, unshown in zip(paths, in_order(_unshown, paths, workers, ahead=_AHEAD), strict=True):
        yield path, _check(path, unshown)
