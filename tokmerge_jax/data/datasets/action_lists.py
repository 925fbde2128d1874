"""Reads lists of videos with their actions, and tables of action names.

A list has one video per line, in one of two forms that its first line decides; fields are separated
by commas, blanks or tabs, and labels count from 0:

`folder frames label`: folders of frames, or video files, as for the first path that exists. The
stated number of frames only decides which videos training leaves out; frames are those on disk.
`video label`: video files.

Names are in a CSV file with the columns `id` and `name`.

Source: TDS-CLIP (2024), whose lists have the form of TSN's (ECCV 2016); those of UMT (ICCV 2023)
for Kinetics have commas.
"""

import os
import pathlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tokmerge_jax.data.datasets import files
from tokmerge_jax.data.datasets.locating import Videos, spelled
from tokmerge_jax.data.datasets.video_text import Action, Clip
from tokmerge_jax.data.video import frame_folder
from tokmerge_jax.progress import tracked
from tokmerge_jax.types import UserError

CLASSES: Mapping[str, int] = {"k400": 400, "ssv1": 174, "ssv2": 174}
"""Data set -> number of actions."""

FORMATS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    dataset: {split: (f"{split}*.txt",) for split in ("train", "val", "test")}
    for dataset in CLASSES
}
"""Data set -> split -> file name of its list in a folder; `read_list` takes any name."""

MIRRORED: Mapping[int, int] = {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}
"""Something-Something's actions that are mirror images of each other (left, right)."""

_DIGITS = 9  # of a number; a longer one is neither a number of frames nor a label
_LOOK_UPS = 16  # threads that look folders up; network disks answer slowly
_TRIED = 1000  # number of listed folders of which at least one must exist


def read(
    dataset: str, split: str, folder: pathlib.Path, videos: pathlib.Path
) -> tuple[Action, ...]:
    """Reads the records of a split, whose list lies in `folder`; see `read_list`.

    Raises:
      UserError: also if the folder holds several lists of the split.
    """
    path, *others = files.named(folder, FORMATS[dataset][split])
    if others:
        names = ", but also ".join(file.name for file in (path, *others))
        raise UserError(f"{folder}: holds {names} (split {split}); give one of them as annotations")
    return read_list(path, videos, CLASSES[dataset])


def read_list(path: pathlib.Path, videos: pathlib.Path, classes: int) -> tuple[Action, ...]:
    """Reads the records of a list, in order, and compares frame counts with the folders'.

    The first folder that exists decides how the frame files of all folders are named.

    Args:
      path: the list, of any file name.
      videos: the folder that the list's paths start from.
      classes: number of actions; labels must be below it.

    Raises:
      UserError: if a line has another form or too large a label (the message names file and line),
        if none of the first folders exists in `videos`, or if one holds several kinds of pictures.
    """
    lines = list(files.lines(path))
    counted = _split(lines[0][1], 2) is not None
    rows = [_fields(line, counted, where) for where, line in lines]
    for (where, _), (*_, label) in zip(lines, rows, strict=True):
        if label >= classes:
            raise UserError(
                f"{where}: label {label} must be below {classes}, the number of actions"
            )
    there = Videos(videos)
    if pattern := _pattern([name for name, *_ in rows], there) if counted else "":
        folders = {name: spelled(videos, name) / pattern for name, *_ in rows}
        _compare([(folders[name], listed_frames) for name, listed_frames, _ in rows], path)
        return tuple(Action((Clip(n, str(folders[n])),), label, f) for n, f, label in rows)
    return tuple(Action((there.clip(name),), label, frames) for name, frames, label in rows)


def read_names(path: pathlib.Path, classes: int) -> tuple[str, ...]:
    """Reads action names, in the order of their numbers, from a CSV with columns `id` and `name`.

    If several actions share a name, each gets its number, as in "up (3)".

    Raises:
      UserError: if the file is no such table or does not name each of `classes` actions once; the
        message names it.
    """
    rows = list(files.cells(path, "id", "name"))
    named = {number.strip(): name.strip() for number, name in rows}
    wanted = [str(number) for number in range(classes)]
    if len(rows) != classes or named.keys() != set(wanted):
        raise UserError(f"{path}: must name the actions 0 to {classes - 1}, each once")
    often = Counter(named.values())
    names = ((number, named[number]) for number in wanted)
    return tuple(f"{name} ({number})" if often[name] > 1 else name for number, name in names)


def find_names(lists: pathlib.Path, classes: int) -> tuple[str, ...]:
    """Finds action names in a CSV file beside the lists or in the parent folder; () without one.

    The reason for ignoring a table is reported: it does not fit, or several fit and differ.

    Args:
      lists: the folder of the lists.
      classes: number of actions; a table of another length belongs to another data set.
    """
    faults: list[str] = []
    for folder in (lists, lists.resolve().parent):
        fitting = _tables(folder, classes, faults)
        if len(fitting) == 1:
            return next(iter(fitting))
        if fitting:
            differing = ", but also ".join(fitting.values())
            faults = [f"{folder}: holds {differing}, which name the actions differently"]
            break
    print("".join(f"{fault}: ignored\n" for fault in faults), end="", file=sys.stderr)
    return ()


def _tables(folder: pathlib.Path, classes: int, faults: list[str]) -> dict[tuple[str, ...], str]:
    """Names -> the first file in a folder that holds them; others' errors are added to `faults`."""
    tables: dict[tuple[str, ...], str] = {}
    for path in sorted(folder.glob("[!.]*.csv")):
        try:
            tables.setdefault(read_names(path, classes), path.name)
        except UserError as error:
            faults.append(str(error))
    return tables


def _fields(line: str, counted: bool, where: str) -> tuple[str, int, int]:
    """Splits a line into name, number of frames (0 if the list has none) and label."""
    parts = _split(line, 1 + counted)
    if parts is None:
        form = "folder frames label" if counted else "video label"
        raise UserError(
            f"{where}: must be '{form}', separated by blanks or commas, not {files.shown(line)}"
        )
    name, *numbers = parts
    return name, int(numbers[0]) if counted else 0, int(numbers[-1])


def _split(line: str, count: int) -> list[str] | None:
    """Splits a line into a name (it may contain both marks) and `count` numbers; None if not so."""
    for mark in (",", None):
        parts = [part.strip() for part in line.rsplit(mark, maxsplit=count)]
        fits = all(number.isdecimal() and len(number) <= _DIGITS for number in parts[1:])
        if fits and len(parts) == count + 1:
            return parts
    return None


def _pattern(names: Sequence[str], videos: Videos) -> str:
    """The pattern of frame file names, taken from the first folder that exists.

    "" if the first path that exists is a file.
    """
    tried = names[:_TRIED]
    for path in (spelled(videos.folder, name) for name in tried):
        if os.path.isfile(path):  # also False for names that no file can have
            return ""
        if pattern := frame_folder.pattern(path):
            return pattern
    if any(os.path.isfile(videos.clip(name).path) for name in tried):  # with another suffix
        return ""
    raise UserError(
        f"videos={videos.folder} holds none of the listed folders of frames (the first is"
        f" {files.shown(names[0])}); name the folder that contains them"
    )


def _compare(listed: Sequence[tuple[pathlib.Path, int]], path: pathlib.Path) -> None:
    """Reports folders whose number of frames differs from the list's; the former is used."""
    with ThreadPoolExecutor(_LOOK_UPS) as threads:
        counts = threads.map(_count, (frames for frames, _ in listed))
        held = [*tracked(counts, "comparing folders", len(listed), "folder")]
    others = [
        (frames.parent.name, stated, count)
        for (frames, stated), count in zip(listed, held, strict=True)
        if count not in (0, stated)
    ]
    if others:
        name, stated, count = others[0]
        print(
            f"{path}: {len(others)} of {len(listed)} folders hold other numbers of frames than"
            f" listed, such as {name} ({count}, not {stated}); the folders' numbers are used",
            file=sys.stderr,
        )


def _count(path: pathlib.Path) -> int:
    """Number of frames in a folder; 0 if it is unusable, which the check of the videos reports."""
    try:
        return len(frame_folder.names(path))
    except UserError:
        return 0
