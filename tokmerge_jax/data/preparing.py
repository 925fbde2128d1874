"""Preparing a data set: annotations read, videos checked, the result stored and reported."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

from tokmerge_jax.data.checking import MISSING, check_videos
from tokmerge_jax.data.datasets import annotations, video_text
from tokmerge_jax.data.datasets.specs import SPECS
from tokmerge_jax.data.datasets.video_text import AnyRecord, Choice, Record
from tokmerge_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """What a split's check found.

    Attributes:
      split: its name.
      annotations: the annotation file.
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
) -> list[SplitReport]:
    """Reads annotations, checks videos and stores `splits` of a data set, keeping its other ones.

    Args:
      dataset: a name of `SPECS`.
      source: the folder of the annotation files, or the file if one split is asked for.
      videos: the folder that the annotations' video paths lie in.
      folder: where prepared data sets live (`config.data.folder`).
      splits: names of splits.
      workers: processes that check videos.

    Returns:
      one report a split, also written to `video_text.report_path`.

    Raises:
      UserError: if annotations or the video folder are missing or wrong.
    """
    if not videos.is_dir():
        raise UserError(f"--videos {videos}: no such folder")
    spec, base = SPECS[dataset], videos.resolve()
    files = {split: _annotation_file(dataset, split, source, splits) for split in splits}
    found = {split: annotations.read(file, base, spec.kind) for split, file in files.items()}
    if spec.answers:
        _store_answers(dataset, source, folder)
    paths = [clip.path for records in found.values() for r in records for clip in r.clips]
    faults = check_videos(paths, pathlib.Path(folder, f"{dataset}_checks.jsonl"), workers)
    checked = {split: _with_faults(records, faults) for split, records in found.items()}
    others = set(video_text.splits(folder, dataset)) - set(splits)
    kept = {split: video_text.read(folder, dataset, split) for split in others}
    video_text.write(folder, dataset, kept | checked)
    reports = [_report(split, files[split], checked[split]) for split in splits]
    _write_report(folder, dataset, reports)
    return reports


def _annotation_file(
    dataset: str, split: str, source: pathlib.Path, splits: Sequence[str]
) -> pathlib.Path:
    known = SPECS[dataset].annotations
    if split not in known:
        raise UserError(f"--splits {split}: {dataset} has the splits {', '.join(known)}")
    if source.is_file():
        if len(splits) > 1:
            raise UserError(f"--annotations {source}: one file holds one split; give its folder")
        return source
    file = source / known[split]
    if not file.is_file():
        raise UserError(f"{file}: no such annotation file (split {split}); see --annotations")
    return file


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


def _report(split: str, file: pathlib.Path, records: Sequence[AnyRecord]) -> SplitReport:
    faults = {clip.name: clip.fault for record in records for clip in record.clips}
    return SplitReport(
        split=split,
        annotations=str(file),
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
