"""Preparing a data set: annotations read, videos checked, the result stored and reported."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

from tokmerge_jax.data.checking import MISSING, check_videos
from tokmerge_jax.data.datasets import annotations, files, specs, video_text
from tokmerge_jax.data.datasets.specs import FAMILIES, SPECS
from tokmerge_jax.data.datasets.video_text import AnyRecord, Choice, Record
from tokmerge_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """What a split's check found.

    Attributes:
      split: its name.
      annotations: the annotation files, joined by commas.
      texts: number of texts (captions, options or questions).
      videos: number of distinct videos.
      missing: names of videos without a file.
      undecodable: name -> reason.
    """

    split: str
    annotations: str
    texts: int
    videos: int
    missing: Sequence[str]
    undecodable: Mapping[str, str]

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
    format: str = "",
) -> list[SplitReport]:
    """Reads annotations, checks videos and stores `splits` of a data set, keeping its other ones.

    Args:
      dataset: a name of `SPECS`.
      source: the folder of the annotation files, or UMT's file if one split is asked for.
      videos: the folder that the annotations' video paths lie in.
      folder: where prepared data sets live (`config.data.folder`).
      splits: names of splits.
      workers: processes that check videos.
      format: of the annotations, a key of `specs.FAMILIES`; "" finds it by the files there are.

    Returns:
      one report a split, also written to `video_text.report_path`.

    Raises:
      UserError: if annotations or the video folder are missing or wrong.
    """
    if not videos.is_dir():
        raise UserError(f"--videos {videos}: no such folder")
    spec, base = SPECS[dataset], videos.resolve()
    sources = {split: _source(dataset, split, source, format) for split in splits}
    if source.is_file() and len(splits) > 1:
        raise UserError(f"--annotations {source}: one file holds one split; give its folder")
    found = {split: source.read(base) for split, source in sources.items()}
    if spec.answers:
        _store_answers(dataset, source, folder)
    paths = [clip.path for records in found.values() for r in records for clip in r.clips]
    faults = check_videos(paths, pathlib.Path(folder, f"{dataset}_checks.jsonl"), workers)
    checked = {split: _with_faults(records, faults) for split, records in found.items()}
    others = set(video_text.splits(folder, dataset)) - set(splits)
    kept = {split: video_text.read(folder, dataset, split) for split in others}
    video_text.write(folder, dataset, kept | checked)
    reports = [_report(split, sources[split].files, checked[split]) for split in splits]
    _write_report(folder, dataset, reports)
    return reports


@dataclasses.dataclass(frozen=True)
class _Source:
    """A split's annotations in one format: the files, and what reads them, given the videos."""

    files: tuple[pathlib.Path, ...]
    read: Callable[[pathlib.Path], Sequence[AnyRecord]]

    def __str__(self) -> str:
        return " and ".join(file.name for file in self.files)


def _source(dataset: str, split: str, path: pathlib.Path, format: str) -> _Source:
    known = specs.splits(dataset)
    if split not in known:
        raise UserError(f"--splits {split}: {dataset} has the splits {', '.join(known)}")
    if path.is_file() and format in ("", *FAMILIES):
        return _one_file(dataset, path, format)
    return _complete(_possible(dataset, split, path, format), split, path)


def _one_file(dataset: str, path: pathlib.Path, format: str) -> _Source:
    """A file of UMT's form, whatever its name, unless other families have one of that name."""
    families = [format] if format else [f for f in FAMILIES if _is_named(path, f, dataset)]
    if families and "umt" not in families:
        titles = " and ".join(f"{FAMILIES[family].title}'s" for family in families)
        raise UserError(
            f"--annotations {path}: {titles} files are found by their names; give their folder (or,"
            " if the file is one of UMT's, --format umt)"
        )
    return _Source((path,), functools.partial(annotations.read, path, kind=SPECS[dataset].kind))


def _is_named(path: pathlib.Path, family: str, dataset: str) -> bool:
    splits = FAMILIES[family].files.get(dataset, {})
    return any(path.match(name) for names in splits.values() for name in names)


def _possible(dataset: str, split: str, folder: pathlib.Path, format: str) -> list[_Source]:
    """Where the files of each family would lie that has the split."""
    possible = []
    for name, family in FAMILIES.items():
        names = family.files.get(dataset, {}).get(split)
        if names and format in ("", name):
            read = functools.partial(family.read, dataset, split, folder)
            possible.append(_Source(files.named(folder, names), read))
    if not possible:
        raise UserError(f"--format {format}: {dataset}, split {split}, does not come in it")
    return possible


def _complete(possible: Sequence[_Source], split: str, folder: pathlib.Path) -> _Source:
    """The one whose files are all there; where one needs all of another's and more, that one."""
    complete = [source for source in possible if all(file.is_file() for file in source.files)]
    complete = [s for s in complete if not any(set(s.files) < set(o.files) for o in complete)]
    if len(complete) > 1:
        all_of_them = ", but also ".join(map(str, complete))
        raise UserError(f"{folder}: holds {all_of_them} (split {split}); choose by --format")
    if not complete:
        either = ", or ".join(map(str, possible))
        raise UserError(
            f"{folder}: no such annotation files (split {split}): {either}; see --annotations"
        )
    return complete[0]


def _store_answers(dataset: str, source: pathlib.Path, folder: str) -> None:
    """Keeps the answer list beside the data set; evaluation says so if there was none."""
    file = (source.parent if source.is_file() else source) / SPECS[dataset].answers
    if file.is_file():
        target = video_text.answers_path(folder, dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(annotations.read_answers(file), indent=0), "utf-8")


def _with_faults(records: Sequence[AnyRecord], faults: Mapping[str, str]) -> list[AnyRecord]:
    def judged(record: AnyRecord) -> AnyRecord:
        clips = (dataclasses.replace(clip, fault=faults[clip.path]) for clip in record.clips)
        return dataclasses.replace(record, clips=tuple(clips))

    return [judged(record) for record in records]


def _texts(record: AnyRecord) -> int:
    if isinstance(record, Record):
        return len(record.captions)
    return len(record.options) if isinstance(record, Choice) else 1


def _report(split: str, files: Sequence[pathlib.Path], records: Sequence[AnyRecord]) -> SplitReport:
    faults = {clip.name: clip.fault for record in records for clip in record.clips}
    return SplitReport(
        split=split,
        annotations=", ".join(map(str, files)),
        texts=sum(map(_texts, records)),
        videos=len(faults),
        missing=[name for name, fault in faults.items() if fault == MISSING],
        undecodable={name: f for name, f in faults.items() if f not in ("", MISSING)},
    )


def _write_report(folder: str, dataset: str, reports: Sequence[SplitReport]) -> None:
    path = video_text.report_path(folder, dataset)
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    known |= {report.split: dataclasses.asdict(report) for report in reports}
    path.write_text(json.dumps(known, indent=1, ensure_ascii=False), "utf-8")
