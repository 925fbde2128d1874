"""Prepares a data set: reads annotations, checks videos, stores the records and a report."""

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

from tokmerge_jax import hosts, runtime
from tokmerge_jax.data.datasets import action_lists, files, specs, umt, video_text
from tokmerge_jax.data.datasets.specs import FAMILIES, SPECS
from tokmerge_jax.data.datasets.video_text import Action, AnyRecord, Choice, Record
from tokmerge_jax.data.video.checking import MISSING, Check, check_videos, log_path
from tokmerge_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """The result of checking a split.

    Attributes:
      split: the split's name.
      annotations: the annotation files, joined by commas.
      texts: number of texts (captions, options or questions), or number of distinct actions.
      videos: number of distinct videos.
      missing: names of videos whose file is missing.
      undecodable: video name -> reason.
      unshown: video name -> number of packets without a shown frame (`decode.Video.unshown`), where
        it is not 0; decord, which the originals use, counts them as frames.
    """

    split: str
    annotations: str
    texts: int
    videos: int
    missing: Sequence[str]
    undecodable: Mapping[str, str]
    unshown: Mapping[str, int]

    @property
    def usable(self) -> int:
        """Number of videos that are neither missing nor undecodable."""
        return self.videos - len(self.missing) - len(self.undecodable)


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
    if not videos.is_dir():
        raise UserError(f"videos={videos}: no such folder")
    sources = {split: _source(dataset, split, source, format) for split in splits}
    if source.is_file() and len(splits) > 1:
        raise UserError(f"annotations={source}: one file holds one split; give its folder")
    annotated = {split: source.read(videos.resolve()) for split, source in sources.items()}
    with hosts.held(pathlib.Path(folder), f"{dataset}.lock"):
        if not hosts.number():
            _store_names(dataset, source, folder)
        _warn_of_one_action(annotated)
        paths = [clip.path for records in annotated.values() for r in records for clip in r.clips]
        checks = check_videos(paths, log_path(folder, dataset), workers)
        checked = {split: _with_faults(records, checks) for split, records in annotated.items()}
        reports = [_report(split, sources[split].files, checked[split], checks) for split in splits]
        if not hosts.number():
            others = set(video_text.splits(folder, dataset)) - set(splits)
            kept = {split: video_text.read(folder, dataset, split) for split in others}
            video_text.write(folder, dataset, kept | checked)
            _write_report(folder, dataset, reports)
    return reports


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
        _store_texts(video_text.answers_path(folder, dataset), umt.read_answers(answers))
    if spec.kind == "actions":
        _store_labels(dataset, source, folder)


def _store_labels(dataset: str, source: pathlib.Path, folder: str) -> None:
    """Stores the action names beside the data set; reports it if there are none."""
    target, lists = video_text.labels_path(folder, dataset), _folder(source)
    if names := action_lists.find_names(lists, action_lists.CLASSES[dataset]):
        _store_texts(target, names)
    elif not target.is_file():
        print(
            f"{lists}: no usable CSV of the actions' names (id,name) there; actions are called by"
            " their numbers, unless config.data.labels names one",
            file=sys.stderr,
        )


def _warn_of_one_action(annotated: Mapping[str, Sequence[AnyRecord]]) -> None:
    """Reports a split with one action only, such as Something-Something's test list (all 0)."""
    for split, records in annotated.items():
        labels = {record.label for record in records if isinstance(record, Action)}
        if len(records) > 1 and len(labels) == 1:
            print(
                f"split {split}: all {len(records)} videos have action {labels.pop()}; if this only"
                " stands for hidden labels, scores on this split mean nothing",
                file=sys.stderr,
            )


def _folder(source: pathlib.Path) -> pathlib.Path:
    return source.parent if source.is_file() else source


def _store_texts(path: pathlib.Path, texts: Sequence[str]) -> None:
    runtime.write_text(path, json.dumps(texts, indent=0))


def _with_faults(records: Sequence[AnyRecord], checks: Mapping[str, Check]) -> list[AnyRecord]:
    def judged(record: AnyRecord) -> AnyRecord:
        clips = (dataclasses.replace(clip, fault=checks[clip.path].fault) for clip in record.clips)
        return dataclasses.replace(record, clips=tuple(clips))

    return [judged(record) for record in records]


def _texts_of(record: AnyRecord) -> int:
    if isinstance(record, Record):
        return len(record.captions)
    return len(record.options) if isinstance(record, Choice) else 1


def _report(
    split: str,
    files: Sequence[pathlib.Path],
    records: Sequence[AnyRecord],
    checks: Mapping[str, Check],
) -> SplitReport:
    check_by_name = {clip.name: checks[clip.path] for record in records for clip in record.clips}
    faults = {name: check.fault for name, check in check_by_name.items()}
    labels = {record.label for record in records if isinstance(record, Action)}
    return SplitReport(
        split=split,
        annotations=", ".join(map(str, files)),
        texts=len(labels) or sum(map(_texts_of, records)),
        videos=len(faults),
        missing=[name for name, fault in faults.items() if fault == MISSING],
        undecodable={name: f for name, f in faults.items() if f not in ("", MISSING)},
        unshown={name: check.unshown for name, check in check_by_name.items() if check.unshown},
    )


def _write_report(folder: str, dataset: str, reports: Sequence[SplitReport]) -> None:
    """Adds the reports to those on other splits; a damaged file is reported and replaced."""
    path = video_text.report_path(folder, dataset)
    try:
        known = files.json_of(path, dict) if path.exists() else {}
    except UserError as error:
        print(f"{error}; it is replaced by a report on these splits only", file=sys.stderr)
        known = {}
    known |= {report.split: dataclasses.asdict(report) for report in reports}
    runtime.write_text(path, json.dumps(known, indent=1, ensure_ascii=False))
