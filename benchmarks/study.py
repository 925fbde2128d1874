"""What merging keeps of a network's output: each merger that fits, against GMAC and seconds.

Examples:
  python -m benchmarks.study --config demo
  python -m benchmarks.study --config msrvtt_b16 --config.checkpoint=weights/msrvtt_b16 --videos 200
  python -m benchmarks.study --draw docs/study.png

The first --videos of the configuration's data set are encoded without merging, and with each merger
at each of --shares of the GMAC, by two schedules: as many tokens merge in each layer ("even"), or
in the proportions of the configuration ("configured"). The weights are the configuration's, which
nothing is trained for here. For each point:

  cosine       mean cosine of a video's output with its output without merging
  ranks        mean rank correlation (Spearman's) of a text's scores of all videos (for actions: of
               a video's scores of all actions) with those without merging
  same_first   share of texts (videos) whose best video (action) stays the same
  time_share   seconds for a clip, relative to no merging: median of --rounds alternating runs

Scores are cosines (for actions, probabilities); no head re-ranks. Each point is kept in
`study.json` of --output when it is measured: the same command resumes, another --config adds to
it. The table is printed and --draw makes the picture of all that the file holds.
"""

import datetime
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import rich
import rich.table
from absl import flags

from benchmarks import study_picture
from benchmarks.study_grid import Point, grid
from benchmarks.study_outputs import Subject, compared
from tokmerge_jax import command_line, disk, runtime
from tokmerge_jax.evaluation import report
from tokmerge_jax.progress import tracked
from tokmerge_jax.tasks.synthetic import machine
from tokmerge_jax.types import Json, UserError

_SHARES = flags.DEFINE_list("shares", ["0.9", "0.75", "0.6"], "shares of the GMAC, at most these")
_MERGERS = flags.DEFINE_list("mergers", [], "the mergers; default: all that the network takes")
_VIDEOS = flags.DEFINE_integer("videos", 100, "number of videos", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "timed runs of each point", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "results/study", "the folder of study.json")
_DRAW = flags.DEFINE_string("draw", "", "draw the file's configurations into this picture instead")

Study = dict[str, Json]
"""The name of a configuration -> its "facts", "gmac", "videos", "machine", "date", "points"."""


def main(arguments: list[str]) -> None:
    """Measures the points that the file lacks, or draws it."""
    if arguments:
        raise UserError(f"unknown argument {arguments[0]!r}; options begin with --, see --help")
    file = pathlib.Path(_OUTPUT.value) / "study.json"
    study, shares = read(file), _shares()
    if _DRAW.value:
        with disk.replaced(pathlib.Path(_DRAW.value)) as part:
            study_picture.draw(study).savefig(part, format="png")
        return
    with command_line.resumable():
        measure(study, file, shares)
    rich.print(table(command_line.config_name(), study))


def measure(study: Study, file: pathlib.Path, shares: Sequence[float]) -> None:
    """Adds to the study what it lacks of the configuration, point by point."""
    config, name = command_line.config(), command_line.config_name()
    subject = Subject.of(config, _VIDEOS.value)
    facts = runtime.fingerprint(
        {"model": subject.facts, "videos": _VIDEOS.value, "machine": machine()}
    )
    if study.get(name, {}).get("facts") != facts:
        study[name] = {
            "facts": facts,
            "gmac": subject.plain.merging.gmac,
            "videos": subject.videos,
            "machine": machine(),
            "config": report.settings(config),
            "points": [],
        }
    kept = study[name]["points"]
    points = grid(config, shares, _MERGERS.value)
    done = {each["point"] for each in kept}
    todo = [point for point in points if point.name not in done]
    for point in tracked(todo, "measuring", len(todo), "point"):
        try:
            kept.append(_row(subject, point))
        except UserError as error:  # some networks refuse a merger only when they compile
            print(f"\n{point.name} is left out: {error}", file=sys.stderr)
            continue
        study[name]["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        disk.make(file.parent)
        runtime.write_text(file, json.dumps(study, indent=1) + "\n")


def _row(subject: Subject, point: Point) -> dict[str, Json]:
    """Measures a point."""
    scored, seconds = subject.run(point.system, _ROUNDS.value)
    gmac = point.system.merging.gmac
    return {
        "point": point.name,
        "merger": point.merger,
        "schedule": point.schedule,
        "r": list(point.system.merging.schedule.r),
        "gmac": gmac,
        "share": gmac / subject.plain.merging.gmac,
        **compared(subject.unmerged, scored)._asdict(),
        "seconds": float(np.median(seconds[:, 1])),
        "time_share": float(np.median(seconds[:, 1] / seconds[:, 0])),
    }


def _shares() -> list[float]:
    """The values of --shares, descending."""
    try:
        shares = sorted(map(float, _SHARES.value), reverse=True)
    except ValueError as error:
        raise UserError(f"--shares={','.join(_SHARES.value)}: {error}; write 0.9,0.6") from error
    if not all(0 < share < 1 for share in shares):
        raise UserError(f"--shares={','.join(_SHARES.value)} must be between 0 and 1")
    return shares


def read(file: pathlib.Path) -> Study:
    """The study in a file; empty if there is none.

    Raises:
      UserError: if the file is damaged.
    """
    try:
        return dict(json.loads(disk.read(file) or b"{}"))
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: damaged; delete it to measure anew") from error


def table(name: str, study: Mapping[str, Json]) -> rich.table.Table:
    """A table of a configuration's points."""
    about = study[name]
    view = rich.table.Table(
        title=f"{name}: {about['gmac']:.3g} GMAC without merging, {about['videos']} videos"
    )
    view.add_column("merger")
    view.add_column("schedule")
    columns = {
        "share": "GMAC", "cosine": "cosine", "ranks": "ranks", "same_first": "same first",
        "time_share": "seconds",
    }  # fmt: skip
    for title in columns.values():
        view.add_column(title, justify="right")
    for row in _sorted(about["points"]):
        view.add_row(row["merger"], row["schedule"], *(f"{row[key]:.3f}" for key in columns))
    return view


def _sorted(points: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    return sorted(points, key=lambda each: (each["merger"], each["schedule"], -each["share"]))


if __name__ == "__main__":
    command_line.run_commands(main)
