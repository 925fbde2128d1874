"""Recognises actions in your own videos.

Examples:
  tokmerge classify --config tdsclip_ssv2_b16 --config.checkpoint=CKPT \\
      --config.data.labels=labels.csv a.mp4 b.mp4
  tokmerge classify --config tdsclip_ssv2_b16 --config.checkpoint=CKPT \\
      --top 3 --output actions.json clips/*.mp4
  tokmerge classify --config pe_core_k400_b16 --config.checkpoint=CKPT \\
      --labels actions.txt clips/*.mp4

A video is a file, or a folder of its frames as numbered pictures; a folder of videos stands for the
videos in it and in its subfolders, and the number of skipped files is reported. Videos are read as
in evaluation; an action's probability is the mean over the views. Names of actions come from
config.data.labels, or from the prepared data set. CLIP, TempMe, PE-Core, VideoPrism and
InternVideo2 recognise actions by prompts about them, so --labels names any: a file with one a line.
--output writes the actions and their settings as JSON. Videos that cannot be decoded are listed
after the results of the others; the script then exits with code 2.

Keys that are often set (--config.KEY=VALUE):
  data.labels           a CSV of the actions' names, with columns id and name
  data.folder           the folder of the prepared data set, which has the actions' names
  data.clips            number of clips per video; fewer are faster
  data.crops            number of crops per clip: 1, 3, 5 or 10
  model.merger.name     tome merges tokens, model.merger.r of them in each block
  eval.batch_size       number of videos classified at a time
"""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from rich.table import Table
from rich.text import Text

from tokmerge_jax import command_line
from tokmerge_jax.command_line import own_videos
from tokmerge_jax.own_videos import actions
from tokmerge_jax.tasks import kept

_TOP = flags.DEFINE_integer("top", 5, "number of actions to show per video", lower_bound=1)
_LABELS = flags.DEFINE_string("labels", "", "a file of the actions to tell apart, one a line")
_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the actions")


def main(videos: list[str]) -> None:
    """Prints the likeliest actions of each video."""
    sources = own_videos.sources(videos)
    system = kept.build(command_line.config())
    own_videos.check(system, _OUTPUT.value)
    names = actions.names_of(system, _LABELS.value)
    scores, faults = actions.classify(system, names, sources)
    if scores:
        record = actions.record(system, command_line.config_name(), scores, names, _TOP.value)
        own_videos.show(table(record["videos"]))
        own_videos.keep(_OUTPUT.value, record, f"the actions of {len(scores)} videos")
    own_videos.refuse(faults)


def table(videos: Sequence[Mapping[str, Any]]) -> Table:
    """A table of the actions."""
    shown = Table("video", "probability", "action")
    for video in videos:
        for place, action in enumerate(video["actions"]):
            name = Text("" if place else video["video"], overflow="fold")  # no markup
            shown.add_row(name, f"{action['probability']:.1%}", Text(action["name"]))
        shown.add_section()
    return shown


def run() -> None:
    """Runs the command."""
    command_line.run_commands(main, several=True)
