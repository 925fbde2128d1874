"""Measures the points of a study, and keeps each in its file."""

import datetime
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.study_grid import Point, grid
from benchmarks.study_outputs import Subject, compared
from tokmerge_jax import disk, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.evaluation import report
from tokmerge_jax.progress import tracked
from tokmerge_jax.tasks.synthetic import machine
from tokmerge_jax.types import Json, UserError

Study = dict[str, Json]
"""The name of a configuration -> its "facts", "gmac", "videos", "machine", "date", "points", and
"refused": the name of a point -> why the network does not run it."""


class Wanted(NamedTuple):
    """What to measure.

    Attributes:
      shares: shares of the GMAC without merging.
      mergers: names of mergers; empty = all that the network takes.
      videos: number of videos.
      rounds: number of timed runs of each point.
    """

    shares: Sequence[float]
    mergers: Sequence[str]
    videos: int
    rounds: int


def read(file: pathlib.Path) -> Study:
    """The study in a file; empty if there is none.

    Raises:
      UserError: if the file is damaged.
    """
    try:
        return dict(json.loads(disk.read(file) or b"{}"))
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: damaged; delete it to measure anew") from error


def measure(study: Study, file: pathlib.Path, name: str, config: Config, wanted: Wanted) -> None:
    """Adds to the study what it lacks of a configuration, point by point, and writes the file."""
    subject = Subject.of(config, wanted.videos)
    facts = runtime.fingerprint(
        {"model": subject.facts, "videos": wanted.videos, "machine": machine()}
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
    kept, refused = study[name]["points"], study[name].setdefault("refused", {})
    points = grid(config, wanted.shares, wanted.mergers)
    done = {each["point"] for each in kept} | refused.keys()
    todo = [point for point in points if point.name not in done]
    for point in tracked(todo, "measuring", len(todo), "point"):
        try:
            kept.append(_row(subject, point, wanted.rounds))
        except UserError as error:  # a merger of the user's own may fail only when it compiles
            print(f"\n{point.name} is left out: {error}", file=sys.stderr)
            refused[point.name] = str(error)
        study[name]["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        disk.make(file.parent)
        runtime.write_text(file, json.dumps(study, indent=1) + "\n")


def _row(subject: Subject, point: Point, rounds: int) -> dict[str, Json]:
    """Measures a point."""
    scored, seconds = subject.run(point.system, rounds)
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
