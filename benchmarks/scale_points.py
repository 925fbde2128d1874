"""Measures the points of `scale.py`, each in a process of its own, and keeps them in its file."""

import datetime
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import scale_data, scale_jobs
from benchmarks.scale_axes import AXES, Point
from tokmerge_jax import disk, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.evaluation.report import settings
from tokmerge_jax.tasks.synthetic import machine
from tokmerge_jax.types import UserError

Scale = dict[str, Any]
"""The content of scale.json: "points", name of a point -> its figures, with "facts" and "date"."""


def read(file: pathlib.Path) -> Scale:
    """The content of a file of points; without any, if there is no file.

    Raises:
      UserError: if it is damaged.
    """
    try:
        content = json.loads(disk.read(file) or b'{"points": {}}')
        return {**content, "points": dict(content["points"])}
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(f"{file}: damaged; delete it to measure anew") from error


def measure(
    scale: Scale, file: pathlib.Path, wanted: Sequence[Point], setting: scale_jobs.Setting
) -> None:
    """Adds the wanted points that are missing, or were measured otherwise; writes after each."""
    facts = {point: _facts(point, setting.config) for point in wanted}
    known = scale["points"]
    todo = [each for each in wanted if known.get(each.name, {}).get("facts") != facts[each]]
    scale_data.prepare(setting.folder, todo)
    for number, point in enumerate(todo, 1):
        figures = _alone(point)
        print(f"[{number} of {len(todo)}] {said(point, figures)}", file=sys.stderr, flush=True)
        if figures is None:
            continue
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        known[point.name] = {**figures, "facts": facts[point], "date": now}
        scale |= {"machine": machine(), "config": settings(setting.config)}
        runtime.write_text(file, json.dumps(scale, indent=1, default=str) + "\n")


def _facts(point: Point, config: Config) -> str:
    """A fingerprint of what a point's figures depend on."""
    applies = AXES[point.axis].configured
    return runtime.fingerprint(
        {"machine": machine(), "config": json.dumps(config.to_dict(), default=str) * applies}
    )


def _alone(point: Point) -> scale_jobs.Figures | None:
    """A point's figures, from a process of its own; None, with the reason, if it fails."""
    command = [sys.executable, "-m", "benchmarks.scale", *sys.argv[1:], f"--point={point.name}"]
    silent = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=silent)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        print(f"{point.name} is left out: {reason}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def said(point: Point, figures: Mapping[str, Any] | None) -> str:
    """A line about a measured point."""
    what = f"{AXES[point.axis].title}: {point.work}"
    if figures is None:
        return f"{what}: failed"
    more, held = (figures[key] / 2**20 for key in ("over", "held"))
    return f"{what}: {figures['seconds']:.3g} s, {more:.0f} MiB beside {held:.0f}"
