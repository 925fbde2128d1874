"""Checking once, before long work, that every video of a data set is there and can be decoded."""

import concurrent.futures
import json
import multiprocessing
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import tqdm

from tokmerge_jax.data.frames import sample_indices
from tokmerge_jax.data.video import open_video
from tokmerge_jax.data.workers import end_with_parent
from tokmerge_jax.types import UserError

MISSING = "missing"
"""The fault of a video whose file is not there."""

_SAMPLED = 12  # frames that evaluation looks at; the first, middle and last of them are tried
_AT_ONCE = 4  # videos handed to a worker at a time


def check_video(path: str) -> str:
    """Why a video cannot be used; "" if its sampled frames decode."""
    try:
        with open_video(path) as video:
            sampled = sample_indices(video.length, _SAMPLED)
            video.read(sampled[[0, _SAMPLED // 2, -1]].tolist())
    except UserError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def check_videos(paths: Sequence[str], log: pathlib.Path, workers: int) -> Mapping[str, str]:
    """Faults of many videos by path ("" = none), checked in `workers` processes.

    Results are appended to `log` as they come, one JSON line each with the file's size and time of
    change, so that a run that was killed goes on, and only files that have changed or were broken
    are checked again.
    """
    found = {path: stamp(path) for path in dict.fromkeys(paths)}
    known = dict(_logged(log))
    faults = {path: MISSING for path, seen in found.items() if seen is None}
    faults |= {p: "" for p, seen in found.items() if seen and known.get((p, seen)) == ""}
    todo = [path for path in found if path not in faults]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as lines:
        lines.write("\n")  # ends the line at which an earlier run was killed
        for path, fault in _checked(todo, workers):
            faults[path] = fault
            print(json.dumps([path, found[path], fault]), file=lines, flush=True)
    return faults


def stamp(path: str | pathlib.Path) -> tuple[int, int] | None:
    """Size and time of change (ns) of a file, None if there is none."""
    file = pathlib.Path(path)
    if not file.is_file():
        return None
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _logged(log: pathlib.Path) -> Iterator[tuple[tuple[str, tuple[int, int]], str]]:
    """(path, stamp), fault of each whole line of the log."""
    for line in log.read_text("utf-8").splitlines() if log.exists() else ():
        try:
            path, seen, fault = json.loads(line)
        except ValueError:  # empty, or cut when the run was killed
            continue
        yield (path, tuple(seen)), fault


def _checked(paths: Sequence[str], workers: int) -> Iterator[tuple[str, str]]:
    if not paths:
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, end_with_parent) as pool:
        faults = pool.map(check_video, paths, chunksize=_AT_ONCE)
        progress = tqdm.tqdm(faults, "checking videos", len(paths), unit="video")
        yield from zip(paths, progress, strict=True)
