"""Prepares a known data set: finds and reads its annotations, and has its videos checked."""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Sequence

from tokmerge_jax import hosts
from tokmerge_jax.data.datasets import action_lists, files, own, specs, storing, umt, video_text
from tokmerge_jax.data.datasets.locating import Videos
from tokmerge_jax.data.datasets.specs import FAMILIES, OWN, SPECS
from tokmerge_jax.data.datasets.storing import SplitReport
from tokmerge_jax.data.datasets.video_text import AnyRecord
from tokmerge_jax.types import UserError


def prepare(
    dataset: str,
    source: pathlib.Path,
    videos: pathlib.Path,
    folder: str,
    splits: Sequence[str],
    workers: int,
    *,
    format: str = "",
) -> list[SplitReport]:
    """Reads annotations, checks videos and stores `splits` of a data set; other splits stay.

    Args:
      dataset: a key of `SPECS`.
      source: the folder of the annotation files; for one split also a single file of UMT's form or
        a list of actions, of any name.
      videos: the folder that the annotations' video paths start from.
      folder: the folder of prepared data sets (`config.data.folder`).
      splits: names of splits.
      workers: number of processes that check videos.
      format: the format of the annotations, a key of `specs.FAMILIES`; "" chooses by the files.

    Returns:
      one report per split, also written to `video_text.report_path`.

    Raises:
      UserError: if annotations, names of actions or the video folder are missing or wrong.
    """
    _check_folder(videos)
    sources = {split: _source(dataset, split, source, format) for split in splits}
    if source.is_file() and len(splits) > 1:
        raise UserError(f"annotations={source}: one file holds one split; give its folder")
    annotated = {split: source.read(videos.resolve()) for split, source in sources.items()}
    store_names = functools.partial(_store_names, dataset, source, folder)
    named = {split: source.files for split, source in sources.items()}
    return storing.store(dataset, folder, annotated, named, workers, store_names)


def prepare_own(
    source: pathlib.Path,
    videos: pathlib.Path | None,
    folder: str,
    splits: Sequence[str],
    workers: int,
    *,
    format: str = "",
) -> list[SplitReport]:
    """Checks the videos of a data set of one's own, and stores it as `specs.OWN`.

    Args:
      source: a table of videos and texts, or a folder of tables (see `own`).
      videos: the folder that the tables' video names start from, or that videos inside the tables
        are written to; None for the tables' own folder, or a new one in `folder`.
      folder: the folder of prepared data sets (`config.data.folder`).
      splits: names of splits; by default all of the tables.
      workers: number of processes that check videos.
      format: the kind of the texts, a key of `own.COLUMNS`; "" = as the columns say.

    Returns:
      one report per split, also written to `video_text.report_path`.

    Raises:
      UserError: if a table or the video folder is missing or wrong, or if the folder holds a data
        set of another kind.
    """
    if format and format not in own.COLUMNS:
        raise UserError(f"format={format}: {OWN} has the formats {', '.join(own.COLUMNS)}")
    for split in splits:
        if split not in own.SPLITS.values():
            raise UserError(f"splits={split}: must be train, val or test")
    split = splits[0] if len(splits) == 1 else ""
    tables, there = _read_own(source, videos, folder, format, split)
    if missing := [split for split in splits if split not in tables.rows]:
        raise UserError(f"splits={missing[0]}: {source} has the splits {', '.join(tables.rows)}")
    stored = video_text.splits(folder, OWN)
    if stored and (held := video_text.kind(folder, OWN)) != tables.kind:
        raise UserError(
            f"{folder}: the data set {OWN} there holds {held}; put {tables.kind} into another"
            " folder, and name that by config.data.folder"
        )
    splits = splits or [split for split in own.SPLITS if split in tables.rows]
    names, store_names = _own_names(tables, folder, bool({*stored} - {*splits}))
    annotated = {split: tables.records(split, there, names) for split in splits}
    named = dict.fromkeys(splits, tables.files)
    return storing.store(OWN, folder, annotated, named, workers, store_names)


def _read_own(
    source: pathlib.Path, videos: pathlib.Path | None, folder: str, format: str, split: str
) -> tuple[own.Tables, Videos]:
    """Reads the tables; videos inside them are written to files, before any process looks there."""
    if own.holds_videos(source):
        videos = videos or pathlib.Path(folder, f"{OWN}_videos")
        with hosts.held(pathlib.Path(folder), f"{OWN}.lock"):
            return own.read(source, format, split, videos), Videos(videos.resolve())
    if videos is None and source.is_file():
        raise UserError(f"the data set {OWN} needs videos, the folder that names start from")
    videos = videos or source
    _check_folder(videos)
    return own.read(source, format, split), Videos(videos.resolve())


def _check_folder(videos: pathlib.Path) -> None:
    """Raises UserError unless the folder of the videos exists."""
    if not videos.is_dir():
        raise UserError(f"videos={videos}: no such folder; name the folder that holds the videos")


@dataclasses.dataclass(frozen=True)
class _Source:
    """A split's annotations in one format: the files, and `read(videos' folder) -> records`."""

    files: tuple[pathlib.Path, ...]
    read: Callable[[pathlib.Path], Sequence[AnyRecord]]

    def __str__(self) -> str:
        return " and ".join(file.name for file in self.files)


def _source(dataset: str, split: str, path: pathlib.Path, format: str) -> _Source:
    known = specs.splits(dataset)
    if split not in known:
        raise UserError(f"splits={split}: {dataset} has the splits {', '.join(known)}")
    fits = format in FAMILIES and (format == "lists") == (dataset in action_lists.CLASSES)
    if path.is_file() and (fits or not format):
        return _one_file(dataset, path, format)
    return _of_folder(dataset, split, path, format)


def _one_file(dataset: str, path: pathlib.Path, format: str) -> _Source:
    """The source for a single file.

    It is a list of actions, or a file of UMT's form, of any name unless another family uses it.
    """
    if dataset in action_lists.CLASSES:
        read = functools.partial(
            action_lists.read_list, path, classes=action_lists.CLASSES[dataset]
        )
        return _Source((path,), read)
    families = [format] if format else [f for f in FAMILIES if _is_named(path, f, dataset)]
    if families and "umt" not in families:
        titles = " and ".join(f"{FAMILIES[family].title}'s" for family in families)
        raise UserError(
            f"annotations={path}: {titles} files are found by their names; give their folder (or,"
            " if the file is one of UMT's, format=umt)"
        )
    return _Source((path,), functools.partial(umt.read, path, kind=SPECS[dataset].kind))


def _is_named(path: pathlib.Path, family: str, dataset: str) -> bool:
    splits = FAMILIES[family].files.get(dataset, {})
    return any(path.match(name) for names in splits.values() for name in names)


def _of_folder(dataset: str, split: str, folder: pathlib.Path, format: str) -> _Source:
    """The source in a folder, of the one family whose files for the split all exist.

    If a family's files include all of another's, the former is taken.
    """
    possible = []
    for name, family in FAMILIES.items():
        names = family.files.get(dataset, {}).get(split)
        if names and format in ("", name):
            read = functools.partial(family.read, dataset, split, folder)
            possible.append(_Source(files.named(folder, names), read))
    if not possible:
        raise UserError(f"format={format}: {dataset}, split {split}, has no such format")
    complete = [source for source in possible if all(file.is_file() for file in source.files)]
    complete = [s for s in complete if not any(set(s.files) < set(o.files) for o in complete)]
    if len(complete) > 1:
        all_of_them = ", but also ".join(map(str, complete))
        raise UserError(f"{folder}: holds {all_of_them} (split {split}); choose one by format")
    if not complete:
        either = ", or ".join(map(str, possible))
        raise UserError(
            f"{folder}: no such annotation files (split {split}): {either}; name their folder"
        )
    return complete[0]


def _store_names(dataset: str, source: pathlib.Path, folder: str) -> None:
    """Stores the answer list (evaluation reports a missing one), or the action names."""
    spec = SPECS[dataset]
    if spec.answers and (answers := _folder(source) / spec.answers).is_file():
        storing.store_texts(video_text.answers_path(folder, dataset), umt.read_answers(answers))
    if spec.kind == "actions":
        _store_labels(dataset, source, folder)


def _store_labels(dataset: str, source: pathlib.Path, folder: str) -> None:
    """Stores the action names beside the data set; reports it if there are none."""
    target, lists = video_text.labels_path(folder, dataset), _folder(source)
    if names := action_lists.find_names(lists, action_lists.CLASSES[dataset]):
        storing.store_texts(target, names)
    elif not target.is_file():
        print(
            f"{lists}: no usable CSV of the actions' names (id,name) there; actions are called by"
            " their numbers, unless config.data.labels names one",
            file=sys.stderr,
        )


def _folder(source: pathlib.Path) -> pathlib.Path:
    return source.parent if source.is_file() else source


def _own_names(
    tables: own.Tables, folder: str, kept: bool
) -> tuple[tuple[str, ...], Callable[[], None]]:
    """The answers or actions, after those of splits that are kept, and a function that stores them.

    Captions have neither.
    """
    places = {"questions": video_text.answers_path, "actions": video_text.labels_path}
    if tables.kind not in places:
        return (), lambda: None
    path = places[tables.kind](folder, OWN)
    names = tables.names(files.texts(files.json_of(path, list), str(path)) if kept else ())
    return names, functools.partial(storing.store_texts, path, names)
