"""Checks the videos of a data set and stores it for training and evaluation.

Examples:
  python scripts/prepare_data.py --dataset msrvtt --annotations anno --videos videos --folder data
  python scripts/prepare_data.py --dataset ssv2 --annotations lists/val.txt --videos frames
  python scripts/prepare_data.py --dataset demo

Every video is checked once, by several processes; a run that was stopped goes on where it was.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

import rich
import rich.table
from absl import logging

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tokmerge_jax import disk
from tokmerge_jax.data.datasets import demo, specs
from tokmerge_jax.data.datasets.demo import actions, long
from tokmerge_jax.data.datasets.prepare import SplitReport, prepare
from tokmerge_jax.data.datasets.video_text import report_path
from tokmerge_jax.types import UserError


def main() -> None:
    """Parses the command line, prepares, prints a table; exit code 2 on bad input."""
    args = _parser().parse_args()
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every configuration that is not its own
    splits = args.splits.split(",") if args.splits else None
    try:
        with disk.explained():
            if args.workers < 1:
                raise UserError(f"--workers {args.workers} must be at least 1")
            if not specs.splits(args.dataset):
                prepare_demo(args, splits or list(demo.COUNTS))
            else:
                of_actions = specs.SPECS[args.dataset].kind == "actions"  # tests' labels are secret
                prepare_real(args, splits or ["val" if of_actions else "test"])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)


def prepare_demo(args: argparse.Namespace, splits: Sequence[str]) -> None:
    """Draws the demo's clips, with captions and questions, or those of another of its data sets."""
    if args.annotations or args.videos or args.format:
        raise UserError(
            f"--dataset {args.dataset} draws its videos; leave out --annotations, --videos and"
            " --format"
        )
    if unknown := set(splits) - set(demo.COUNTS):
        known = ", ".join(demo.COUNTS)
        raise UserError(f"--splits {unknown.pop()}: {args.dataset} has the splits {known}")
    drawn = {"demo_long": long, "demo_actions": actions}.get(args.dataset, demo)
    drawn.prepare(args.folder, splits, args.workers)
    counts = ", ".join(f"{drawn.COUNTS[split]} {split}" for split in splits)
    print(f"The demo's clips are in {args.folder} ({counts})")


def prepare_real(args: argparse.Namespace, splits: Sequence[str]) -> None:
    """Checks and stores a data set of files."""
    missing = [name for name in ("annotations", "videos") if not getattr(args, name)]
    if missing:
        raise UserError(f"--dataset {args.dataset} needs --{' and --'.join(missing)}, see --help")
    source, videos = args.annotations, args.videos
    reports = prepare(
        args.dataset, source, videos, args.folder, splits, args.workers, format=args.format
    )
    rich.print(_table(args.dataset, reports))
    if any(report.usable < report.videos for report in reports):
        print(f"Videos that cannot be used are listed in {report_path(args.folder, args.dataset)}")
    if names := list(dict.fromkeys(name for report in reports for name in report.unshown)):
        print(
            f"Videos with packets that are not shown: {len(names)} ({', '.join(names[:3])}"
            f"{', ...' * (len(names) > 3)}). The originals' decord counts them as frames, so"
            " figures may differ there; see docs/videos.md"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    path = pathlib.Path
    parser.add_argument("--dataset", required=True, choices=list(specs.SPECS))
    parser.add_argument(
        "--annotations",
        type=path,
        help="folder of the annotation files as UMT, CLIP4Clip or TESTA have them, or one file of"
        " UMT's; of k400, ssv1 and ssv2 one list ('folder frames label' or 'video label' a line),"
        " or a folder of train*.txt, val*.txt, test*.txt; a CSV of the actions' names (id,name)"
        " there, or one folder up, is kept",
    )
    parser.add_argument(
        "--format",
        default="",
        choices=list(specs.FAMILIES),
        help="of the annotations (default: found by the files' names)",
    )
    parser.add_argument("--videos", type=path, help="folder of the videos, or of folders of frames")
    parser.add_argument("--folder", default="data", help="where to store it (config.data.folder)")
    parser.add_argument(
        "--splits",
        help="names joined by commas (default: test; of actions: val; of the demo: train,val,test)",
    )
    parser.add_argument("--workers", default=os.cpu_count(), type=int, help="processes that work")
    return parser


def _table(dataset: str, reports: Sequence[SplitReport]) -> rich.table.Table:
    texts = "actions" if specs.SPECS[dataset].kind == "actions" else "texts"
    table = rich.table.Table("split", texts, "videos", "usable", "missing", "undecodable")
    table.title = dataset
    for report in reports:
        faults = len(report.missing), len(report.undecodable)
        row = (report.split, report.texts, report.videos, report.usable, *faults)
        table.add_row(*map(str, row))
    return table


if __name__ == "__main__":
    main()
