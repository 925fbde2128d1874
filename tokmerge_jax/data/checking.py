"""Checking once, before long work, that every video of a data set is there and can be decoded."""

import errno
import json
import os
import pathlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tokmerge_jax.data import frame_folder
from tokmerge_jax.data.clips import in_order
from tokmerge_jax.data.faults import Fault, attempt
from tokmerge_jax.data.frames import sample_indices
from tokmerge_jax.data.video import open_video, read_chosen
from tokmerge_jax.progress import Progress

MISSING = "missing"
"""The fault of a video whose file is not there."""

_SAMPLED = 12  # frames that evaluation looks at; the first, middle and last of them are tried
_AHEAD = 64  # faults that wait in a worker's queue: a long video holds up few others
_SLICE = 100_000  # files that are looked up, and then checked, before the next ones
_LOOK_UPS = 16  # at a time; files that are far away answer late
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def check_video(path: str) -> str:
    """Why a video cannot be used; "" if its sampled frames decode."""
    fault = attempt(_read_some, str, path)
    return _less_name(path, fault.text) if isinstance(fault, Fault) else ""


def _read_some(path: str) -> None:
    with open_video(path) as video:
        read_chosen(video, _tried)


def _tried(length: int) -> list[int]:
    """The first, middle and last of the frames that evaluation looks at."""
    return sample_indices(length, _SAMPLED)[[0, _SAMPLED // 2, -1]].tolist()


def check_videos(paths: Sequence[str], log: pathlib.Path, workers: int) -> Mapping[str, str]:
    """Faults of many videos by path ("" = none), checked in `workers` processes.

    Results are appended to `log` as they come, one JSON line each with the file's size and time of
    change, so that a run that was killed goes on, and only files that have changed or were broken
    are checked again.
    """
    known, distinct = dict(_logged(log)), list(dict.fromkeys(paths))
    faults: dict[str, str] = {}
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("a", encoding="utf-8") as lines,
        ThreadPoolExecutor(_LOOK_UPS) as threads,
        Progress("checking videos", len(distinct), "video") as progress,
    ):
        lines.write("\n")  # ends the line at which an earlier run was killed
        for begin in range(0, len(distinct), _SLICE):
            part = distinct[begin : begin + _SLICE]
            found = dict(zip(part, threads.map(stamp, part), strict=True))
            faults |= {path: MISSING for path, seen in found.items() if seen is None}
            faults |= {p: "" for p, seen in found.items() if seen and known.get((p, seen)) == ""}
            todo = [path for path in part if path not in faults]
            progress.total -= len(part) - len(todo)
            for path, fault in _checked(todo, workers):
                faults[path] = fault
                print(json.dumps([path, found[path], fault]), file=lines, flush=True)
                progress.update()
    return faults


def stamp(path: str | pathlib.Path) -> tuple[int, ...] | None:
    """Size and time of change (ns) of a file, or `frame_folder.stamp`; None if there is none."""
    try:
        if frame_folder.is_pattern(path):
            return frame_folder.stamp(pathlib.Path(path))
        status = os.stat(path)
    except ValueError:  # no path at all
        return None
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _logged(log: pathlib.Path) -> Iterator[tuple[tuple[str, tuple[int, ...]], str]]:
    """(path, stamp), fault of each whole line of the log."""
    for line in log.read_text("utf-8").splitlines() if log.exists() else ():
        try:
            path, seen, fault = json.loads(line)
        except ValueError:  # empty, or cut when the run was killed
            continue
        yield (path, tuple(seen)), fault


def _checked(paths: Sequence[str], workers: int) -> Iterator[tuple[str, str]]:
    """Paths and faults; one that ends the process that reads it has a fault too."""
    for path, fault in zip(paths, in_order(check_video, paths, workers, ahead=_AHEAD), strict=True):
        yield path, _less_name(path, fault.text) if isinstance(fault, Fault) else fault


def _less_name(path: str, fault: str) -> str:
    return fault.removeprefix(f"{path}: ")
