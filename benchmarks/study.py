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

import pathlib
from collections.abc import Mapping, Sequence

import rich
import rich.table
from absl import flags

from benchmarks import study_picture
from benchmarks.study_points import Wanted, measure, read
from tokmerge_jax import command_line, disk
from tokmerge_jax.types import Json, UserError

_SHARES = flags.DEFINE_list("shares", ["0.9", "0.75", "0.6"], "shares of the GMAC, at most these")
_MERGERS = flags.DEFINE_list("mergers", [], "the mergers; default: all that the network takes")
_VIDEOS = flags.DEFINE_integer("videos", 100, "number of videos", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "timed runs of each point", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "results/study", "the folder of study.json")
_DRAW = flags.DEFINE_string("draw", "", "draw the file's configurations into this picture instead")


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
        wanted = Wanted(shares, _MERGERS.value, _VIDEOS.value, _ROUNDS.value)
        name = command_line.config_name()
        measure(study, file, name, command_line.config(), wanted)
    rich.print(table(name, study))


def _shares() -> list[float]:
    """The values of --shares, descending."""
    try:
        shares = sorted(map(float, _SHARES.value), reverse=True)
    except ValueError as error:
        raise UserError(f"--shares={','.join(_SHARES.value)}: {error}; write 0.9,0.6") from error
    if not all(0 < share < 1 for share in shares):
        raise UserError(f"--shares={','.join(_SHARES.value)} must be between 0 and 1")
    return shares


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
