"""Checks the videos of a data set and stores it for training and evaluation.

Examples:
  tokmerge prepare --dataset msrvtt --annotations anno --videos videos --folder data
  tokmerge prepare --dataset ssv2 --annotations lists/val.txt --videos frames
  tokmerge prepare --dataset custom --captions captions.csv --videos videos
  tokmerge prepare --dataset demo

Every video is checked once, by several processes; after a stop, the same command resumes.
"""

import argparse
import operator
from collections.abc import Sequence

import rich
import rich.table
from absl import logging

from tokmerge_jax import command_line, commands, hosts
from tokmerge_jax.data.datasets import own, specs, video_text
from tokmerge_jax.data.datasets.storing import SplitReport
from tokmerge_jax.tasks.preparation import drawn, prepare
from tokmerge_jax.types import UserError

_OWN = {"captions": "captions", "questions": "questions", "labels": "actions"}
"""Option that names a table of one's own -> the kind of its texts, a key of `own.COLUMNS`."""


_TABLE = (
    "for custom: a CSV, JSON lines or Parquet file with the columns video, {} and split, or a"
    " folder of a data set of Hugging Face or TFDS; see docs/own_data.md"
)


def run() -> None:
    """Parses the command line, prepares, prints a table; exit code 2 on bad input."""
    args = _parser().parse_args()
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every configuration that is not its own
    with command_line.reported():
        hosts.join(args.distributed)
    with hosts.together(), command_line.reported(), command_line.resumable():
        splits = args.splits.split(",") if args.splits else []
        tables = ((getattr(args, option), kind) for option, kind in _OWN.items())
        table, kind = next(filter(operator.itemgetter(0), tables), ("", ""))
        reports = prepare(
            args.dataset,
            args.folder,
            annotations=args.annotations or table,
            videos=args.videos,
            splits=splits,
            format=args.format or kind,
            workers=args.workers,
        )
        if counts := drawn(args.dataset, splits):
            clips = ", ".join(f"{count} {split}" for split, count in counts.items())
            print(f"The demo's clips are in {args.folder} ({clips})")
        else:
            report(args, reports)


def report(args: argparse.Namespace, reports: Sequence[SplitReport]) -> None:
    """Prints the results of the check of a data set of files.

    Raises:
      UserError: if no video can be used.
    """
    rich.print(_table(args, reports))
    faults = {name: "missing" for report in reports for name in report.missing}
    for report in reports:
        faults |= report.undecodable
    if faults:
        named = "; ".join(f"{name}: {fault}" for name, fault in [*faults.items()][:3])
        print(
            f"{len(faults)} videos cannot be used ({named}{'; ...' * (len(faults) > 3)}); all are"
            f" listed in {video_text.report_path(args.folder, args.dataset)}"
        )
    if names := list(dict.fromkeys(name for report in reports for name in report.unshown)):
        print(
            f"Videos with packets that are not shown: {len(names)} ({', '.join(names[:3])}"
            f"{', ...' * (len(names) > 3)}). The originals' decord counts them as frames, so"
            " figures may differ there; see docs/videos.md"
        )
    if not any(report.usable for report in reports):
        raise UserError(f"videos={args.videos}: no video of the data set can be used there")


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser(__doc__)
    parser.add_argument(
        "--dataset",
        required=True,
        choices=list(specs.SPECS),
        metavar="NAME",  # a mistake would show all names twice
        help=f"one of {', '.join(specs.SPECS)}",
    )
    texts = parser.add_mutually_exclusive_group()
    texts.add_argument(
        "--annotations",
        default="",
        help="folder of annotation files of UMT, CLIP4Clip or TESTA, or one file of UMT's; for"
        " k400, ssv1 and ssv2 one list (lines 'folder frames label' or 'video label') or a folder"
        " of train*.txt, val*.txt, test*.txt; a CSV of the actions' names (id,name) there, or in"
        " its parent folder, is used",
    )
    for option, kind in _OWN.items():
        columns = ", ".join(own.COLUMNS[kind])
        texts.add_argument(f"--{option}", default="", metavar="FILE", help=_TABLE.format(columns))
    parser.add_argument(
        "--format",
        default="",
        choices=list(specs.FAMILIES),
        metavar="NAME",
        help=f"format of the annotations, one of {', '.join(specs.FAMILIES)} (default: chosen by"
        " the file names)",
    )
    parser.add_argument(
        "--videos",
        default="",
        help="folder of videos, or of folders of frames; videos inside tables are written there",
    )
    parser.add_argument("--folder", default="data", help="output folder (config.data.folder)")
    parser.add_argument(
        "--splits",
        help="names joined by commas (default: test; actions: val; demo: train, val, test; custom:"
        " all)",
    )
    parser.add_argument("--workers", default=0, type=int, help="number; 0 = one per core")
    parser.add_argument(
        "--distributed",
        default=hosts.detected(),
        help="auto, off or HOST:PORT,COUNT,NUMBER: several processes share the videos; see"
        " docs/clusters.md",
    )
    return parser


def _table(args: argparse.Namespace, reports: Sequence[SplitReport]) -> rich.table.Table:
    texts = "actions" if video_text.kind(args.folder, args.dataset) == "actions" else "texts"
    table = rich.table.Table("split", texts, "videos", "usable", "missing", "undecodable")
    table.title = args.dataset
    for report in reports:
        faults = len(report.missing), len(report.undecodable)
        row = (report.split, report.texts, report.videos, report.usable, *faults)
        table.add_row(*map(str, row))
    return table
