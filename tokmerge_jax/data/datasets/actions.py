"""Reading lists of videos and their actions, and tables of the actions' names.

A list has one video a line, fields separated by blanks or tabs:

`folder frames label`: folders of frames, whose files the folders themselves tell, or video files,
as the first one that is there; the number of frames says only which videos training leaves out.
`video label`: video files. Which of the two a list is, its first line says. Labels count from 0.
Names are a CSV of the columns `id` and `name`.

Source: TDS-CLIP (2024), whose lists are those of TSN's line of work (ECCV 2016).
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
"""Data set -> how many actions it has."""

FORMATS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    dataset: {split: (f"{split}*.txt",) for split in ("train", "val", "test")}
    for dataset in CLASSES
}
"""Data set -> split -> name of its list in a folder; of any other name see `read_list`."""

MIRRORED: Mapping[int, int] = {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}
"""Something-Something's actions that are one another's mirror image (to the left, to the right)."""

_DIGITS = 9  # of a number; more are no number of frames, and no label
_LOOK_UPS = 16  # folders at a time; disks that are far away answer late
_TRIED = 1000  # listed folders of which one must be there


def read(
    dataset: str, split: str, folder: pathlib.Path, videos: pathlib.Path
) -> tuple[Action, ...]:
    """The records of a split, whose list lies in `folder`; see `read_list`.

    Raises:
      UserError: also if there are several lists of it.
    """
    path, *others = files.named(folder, FORMATS[dataset][split])
    if others:
        names = ", but also ".join(file.name for file in (path, *others))
        raise UserError(f"{folder}: holds {names} (split {split}); give --annotations one of them")
    return read_list(path, videos, CLASSES[dataset])


def read_list(path: pathlib.Path, videos: pathlib.Path, classes: int) -> tuple[Action, ...]:
    """The records of a list, in order; a folder's number of frames is compared with the list's.

    How frames are named, the first folder that is there says for all.

    Args:
      path: the list, of any name.
      videos: the folder that its paths lie in.
      classes: labels are below it.

    Raises:
      UserError: naming the file and the line that is of another form, or whose label is too large;
        if none of the first folders is in `videos`, or one holds several kinds of pictures.
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
        _compare([(folders[name], told) for name, told, _ in rows], path)
        return tuple(Action((Clip(n, str(folders[n])),), label, f) for n, f, label in rows)
    return tuple(Action((there.clip(name),), label, frames) for name, frames, label in rows)


def read_names(path: pathlib.Path, classes: int) -> tuple[str, ...]:
    """The actions' names in the order of their numbers, from a CSV of the columns `id` and `name`.

    To a name of several actions each one's number is added, as "up (3)".

    Raises:
      UserError: naming the file, if it is no such table, or does not name each of `classes` actions
        once.
    """
    rows = list(files.cells(path, "id", "name"))
    found = {number.strip(): name.strip() for number, name in rows}
    wanted = [str(number) for number in range(classes)]
    if len(rows) != classes or found.keys() != set(wanted):
        raise UserError(f"{path}: must name the actions 0 to {classes - 1}, each once")
    often = Counter(found.values())
    names = ((number, found[number]) for number in wanted)
    return tuple(f"{name} ({number})" if often[name] > 1 else name for number, name in names)


def find_names(lists: pathlib.Path, classes: int) -> tuple[str, ...]:
    """The names in a CSV beside the lists, or in the folder above; none if none can be taken.

    Why tables are not taken is told: that they do not fit, or that several do, which differ.

    Args:
      lists: the folder of the lists.
      classes: how many actions there are; tables of other numbers are of other data sets.
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
    print("".join(f"{fault}: not taken\n" for fault in faults), end="", file=sys.stderr)
    return ()


def _tables(folder: pathlib.Path, classes: int, faults: list[str]) -> dict[tuple[str, ...], str]:
    """Names -> the first file of a folder that holds them; `faults` takes why others do not."""
    found: dict[tuple[str, ...], str] = {}
    for path in sorted(folder.glob("[!.]*.csv")):
        try:
            found.setdefault(read_names(path, classes), path.name)
        except UserError as error:
            faults.append(str(error))
    return found


def _fields(line: str, counted: bool, where: str) -> tuple[str, int, int]:
    """Name, number of frames (0 if there is none) and label."""
    found = _split(line, 1 + counted)
    if found is None:
        form = "folder frames label" if counted else "video label"
        raise UserError(f"{where}: must be '{form}', separated by blanks, not {files.shown(line)}")
    name, *numbers = found
    return name, int(numbers[0]) if counted else 0, int(numbers[-1])


def _split(line: str, count: int) -> list[str] | None:
    """A name, in which blanks may be, and `count` numbers after it; None of another form."""
    parts = line.rsplit(maxsplit=count)
    fits = all(number.isdecimal() and len(number) <= _DIGITS for number in parts[1:])
    return parts if fits and len(parts) == count + 1 else None


def _pattern(names: Sequence[str], videos: Videos) -> str:
    """How the frames of all these folders are named: as in the first one that is there.

    "" if the first that is there is no folder, but a file.
    """
    tried = names[:_TRIED]
    for path in (spelled(videos.folder, name) for name in tried):
        if os.path.isfile(path):  # also False of names that no file can have
            return ""
        if found := frame_folder.pattern(path):
            return found
    if any(os.path.isfile(videos.clip(name).path) for name in tried):  # of another suffix
        return ""
    raise UserError(
        f"--videos {videos.folder} holds none of the listed folders of frames, the first is"
        f" {files.shown(names[0])}; name the folder that they lie in"
    )


def _compare(listed: Sequence[tuple[pathlib.Path, int]], path: pathlib.Path) -> None:
    """Tells if folders hold other numbers of frames than the list says; those that are, count."""
    with ThreadPoolExecutor(_LOOK_UPS) as threads:
        counts = threads.map(_count, (frames for frames, _ in listed))
        held = [*tracked(counts, "comparing folders", len(listed), "folder")]
    others = [
        (frames.parent.name, told, count)
        for (frames, told), count in zip(listed, held, strict=True)
        if count not in (0, told)
    ]
    if others:
        name, told, count = others[0]
        print(
            f"{path}: {len(others)} of {len(listed)} folders hold other numbers of frames than it"
            f" says, as {name} ({count}, not {told}): those of the folders count",
            file=sys.stderr,
        )


def _count(path: pathlib.Path) -> int:
    """Frames of a folder; 0 if it cannot be used, which the check of the videos tells."""
    try:
        return len(frame_folder.names(path))
    except UserError:
        return 0
