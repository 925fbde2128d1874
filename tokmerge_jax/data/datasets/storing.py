"""Checks the videos of annotated splits; stores the records and a report on the videos."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

from tokmerge_jax import hosts, runtime
from tokmerge_jax.data.datasets import files, video_text
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


def store(
    dataset: str,
    folder: str,
    annotated: Mapping[str, Sequence[AnyRecord]],
    annotation_files: Mapping[str, Sequence[pathlib.Path]],
    workers: int,
    store_names: Callable[[], None],
) -> list[SplitReport]:
    """Checks the videos of annotated splits and stores both; other splits stay.

    Args:
      dataset: the name of the data set.
      folder: the folder of prepared data sets (`config.data.folder`).
      annotated: split -> records.
      annotation_files: split -> the files that the records come from, for the report.
      workers: number of processes that check videos.
      store_names: writes the names of actions, or the answers, beside the data set.

    Returns:
      one report per split, also written to `video_text.report_path`.
    """
    splits = list(annotated)
    with hosts.held(pathlib.Path(folder), f"{dataset}.lock"):
        if not hosts.number():
            store_names()
        _warn_of_one_action(annotated)
        paths = [clip.path for records in annotated.values() for r in records for clip in r.clips]
        checks = check_videos(paths, log_path(folder, dataset), workers)
        checked = {split: _with_faults(records, checks) for split, records in annotated.items()}
        reports = [
            _report(split, annotation_files[split], checked[split], checks) for split in splits
        ]
        if not hosts.number():
            others = set(video_text.splits(folder, dataset)) - set(splits)
            kept = {split: video_text.read(folder, dataset, split) for split in others}
            video_text.write(folder, dataset, kept | checked)
            _write_report(folder, dataset, reports)
    return reports


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


def store_texts(path: pathlib.Path, texts: Sequence[str]) -> None:
    """Writes answers, or names of actions, beside a data set."""
    runtime.write_text(path, json.dumps(texts, indent=0))
