"""Checks the videos of a data set and stores it for training and evaluation.

Example:
  python scripts/prepare_data.py --dataset msrvtt --annotations anno --videos videos --folder data

Every video is checked once, by several processes; a run that was stopped goes on where it was.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

import rich
import rich.table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tokmerge_jax.data.datasets.specs import SPECS
from tokmerge_jax.data.datasets.video_text import report_path
from tokmerge_jax.data.preparing import SplitReport, prepare
from tokmerge_jax.types import UserError


def main() -> None:
    """Parses the command line, prepares, prints a table; exit code 2 on bad input."""
    args = _parser().parse_args()
    try:
        reports = prepare(
            args.dataset,
            args.annotations,
            args.videos,
            args.folder,
            args.splits.split(","),
            args.workers,
        )
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    rich.print(_table(args.dataset, reports))
    if any(report.usable < report.videos for report in reports):
        print(f"Videos that cannot be used are listed in {report_path(args.folder, args.dataset)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [name for name, spec in SPECS.items() if spec.annotations]
    path = pathlib.Path
    parser.add_argument("--dataset", required=True, choices=names)
    parser.add_argument(
        "--annotations", required=True, type=path, help="folder of UMT's JSON files, or one file"
    )
    parser.add_argument("--videos", required=True, type=path, help="folder of the videos")
    parser.add_argument("--folder", default="data", help="where to store it (config.data.folder)")
    parser.add_argument("--splits", default="test", help="names joined by commas")
    parser.add_argument("--workers", default=os.cpu_count(), type=int, help="processes that check")
    return parser


def _table(dataset: str, reports: Sequence[SplitReport]) -> rich.table.Table:
    table = rich.table.Table("split", "texts", "videos", "usable", "missing", "undecodable")
    table.title = dataset
    for report in reports:
        faults = len(report.missing), len(report.undecodable)
        row = (report.split, report.texts, report.videos, report.usable, *faults)
        table.add_row(*map(str, row))
    return table


if __name__ == "__main__":
    main()
