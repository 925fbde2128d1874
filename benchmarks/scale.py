"""Time and memory of evaluation, index, training and networks as the work grows, and how they grow.

Examples:
  python -m benchmarks.scale
  python -m benchmarks.scale --axes frames,pixels,batch --config tempme_msrvtt_b16
  python -m benchmarks.scale --draw docs/scale.png --page docs/scale.md

The axes:

  videos   videos, and texts, of an evaluation that re-ranks: the demo's network on drawn clips
  pairs    videos, and texts, whose scores are compared: candidates, and ranks in both directions
  index    videos of an index; length: minutes of one video, in shots
  train    clips of an epoch of training, in steps of 50
  batch, frames, merging, pixels
           a clip, or a batch, that the network of --config encodes: noise, random weights

Each point is measured in a process of its own. What compiles and what takes its time whatever the
work is done before, with less work: an exponent is that of the seconds beside those of this least
work, over the work beside it. Memory is the process's own, beside what it held before the work;
videos are decoded in the process. Without --config, the network is UMT-B/16 with two layers, and
with --axes merging, a quarter of the tokens merges in the first.

Each point is kept in `scale.json` of --output when it is measured: the same command continues.
--draw and --page measure nothing; they show what the file holds.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from benchmarks import scale_data, scale_jobs, scale_picture, scale_report
from benchmarks.scale_axes import AXES, Point, points
from tokmerge_jax import command_line, disk, runtime
from tokmerge_jax.config import Config, files
from tokmerge_jax.evaluation.report import settings
from tokmerge_jax.tasks.synthetic import machine
from tokmerge_jax.types import UserError

_OUTPUT = flags.DEFINE_string("output", "results/scale", "the folder of scale.json and the videos")
_AXES = flags.DEFINE_list("axes", [], "the axes, as listed above; default: all")
_DRAW = flags.DEFINE_string("draw", "", "draw the file's points into this picture instead")
_PAGE = flags.DEFINE_string("page", "", "write the file's tables into this Markdown page instead")
_POINT = flags.DEFINE_string("point", "", "measure this point alone (set by the command itself)")

_NAME, _SMALL = "msrvtt_b16", {
    "model.vision.depth": 2, "model.text.depth": 2, "model.text.fusion_layer": 1,
    "model.merger.r": (0.25,),
}  # fmt: skip
_MARKS = "<!-- figures of benchmarks/scale.py -->", "<!-- end of figures -->"

Scale = dict[str, Any]
"""The content of scale.json: "points", name of a point -> its figures, with "facts" and "date"."""


def main(arguments: list[str]) -> None:
    """Measures the points that the file lacks, and prints the tables; or shows what it holds."""
    if arguments:
        raise UserError(f"unknown argument {arguments[0]!r}; options begin with --, see --help")
    folder = pathlib.Path(_OUTPUT.value)
    setting = scale_jobs.Setting(folder / "data", _config())
    if _POINT.value:
        print(json.dumps(scale_jobs.run(Point.read(_POINT.value), setting)))
        return
    file, wanted = folder / "scale.json", points(_AXES.value)
    scale = read(file)
    if not (_DRAW.value or _PAGE.value):
        with command_line.resumable():
            measure(scale, file, wanted, setting)
    if _DRAW.value:
        with disk.replaced(pathlib.Path(_DRAW.value)) as part:
            scale_picture.draw(scale).savefig(part, format="png")
    lines = list(scale_report.tables(scale))
    if _PAGE.value:
        insert(pathlib.Path(_PAGE.value), lines)
    else:
        print("\n".join(lines))


def _config() -> Config:
    """The configuration of --config; without it, UMT-B/16 of two layers."""
    if flags.FLAGS["config"].present:
        return command_line.config()
    return files.read(_NAME)[0].resolved().override(_SMALL)


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


def insert(page: pathlib.Path, lines: Sequence[str]) -> None:
    """Puts lines into a page, between its two comments, in place of what is there.

    Raises:
      UserError: if it lacks them.
    """
    text = page.read_text("utf-8")
    before, first, rest = text.partition(_MARKS[0])
    _, last, after = rest.partition(_MARKS[1])
    if not (first and last):
        raise UserError(f"{page} has no lines {_MARKS[0]} and {_MARKS[1]}; write them there")
    content = "\n".join(lines)
    runtime.write_text(page, f"{before}{first}\n\n{content}\n\n{last}{after}")


if __name__ == "__main__":
    command_line.run_commands(main)
