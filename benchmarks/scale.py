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

import json
import pathlib

from absl import flags

from benchmarks import scale_jobs, scale_picture, scale_points, scale_report
from benchmarks.scale_axes import Point, points
from tokmerge_jax import command_line, disk
from tokmerge_jax.config import Config, files
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
    scale = scale_points.read(file)
    if not (_DRAW.value or _PAGE.value):
        with command_line.resumable():
            scale_points.measure(scale, file, wanted, setting)
    if _DRAW.value:
        with disk.replaced(pathlib.Path(_DRAW.value)) as part:
            scale_picture.draw(scale).savefig(part, format="png")
    lines = list(scale_report.tables(scale))
    if _PAGE.value:
        scale_report.insert(pathlib.Path(_PAGE.value), lines)
    else:
        print("\n".join(lines))


def _config() -> Config:
    """The configuration of --config; without it, UMT-B/16 of two layers."""
    if flags.FLAGS["config"].present:
        return command_line.config()
    return files.read(_NAME)[0].resolved().override(_SMALL)


if __name__ == "__main__":
    command_line.run_commands(main)
