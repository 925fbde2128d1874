"""Tells which actions your own videos show.

Examples:
  python scripts/classify.py --config configs/tdsclip_ssv2_b16.py --config.checkpoint=CKPT \
      --config.data.labels=labels.csv a.mp4 b.mp4
  python scripts/classify.py --config configs/tdsclip_ssv2_b16.py --config.checkpoint=CKPT \
      --top 3 --output actions.json clips/*.mp4

A video is a file, or a folder of its frames as pictures with numbers; a folder of videos stands for
those in it and in folders below, and what is skipped there is counted. It is looked at as in
evaluation; an action's probability is the mean over the views. Names of actions are those of
config.data.labels, or those that the data set was prepared with. --output keeps what is shown as
JSON, with how it came about. Videos that cannot be decoded are named when the others are told; the
script then exits with code 2.

Keys that are often set (--config.KEY=VALUE):
  data.labels           a CSV of the actions' names, columns id and name
  data.folder           where the data set is prepared, whose actions have names
  data.clips            of each video; fewer are faster
  data.crops            of each clip: 1, 3, 5 or 10
  model.merger.name     tome merges tokens, model.merger.r of them in each block
  eval.batch_size       videos that are looked at at a time
"""

import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import common
import numpy as np
import own_videos
from absl import flags
from jaxtyping import Float32
from rich.table import Table
from rich.text import Text

from tokmerge_jax import registry
from tokmerge_jax.config import expect, tds_clip
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.data import prepared
from tokmerge_jax.data.datasets import actions, video_text
from tokmerge_jax.evaluation import actions as recognition
from tokmerge_jax.system import Recognition, System
from tokmerge_jax.types import UserError

_TOP = flags.DEFINE_integer("top", 5, "how many actions to show of each video", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the actions")

Scores = Mapping[str, Float32[np.ndarray, " C"]]
"""The probability of each action, by video."""


def main(videos: list[str]) -> None:
    """Prints the likeliest actions of each video."""
    sources = own_videos.sources(videos)
    system = registry.build(common.config())
    task = recognition_of(system)
    own_videos.check(system, _OUTPUT.value)
    names = names_of(system)
    scores, faults = classify(system, task, sources)
    if scores:
        found = record(system, scores, names)
        own_videos.show(table(found["videos"]))
        own_videos.keep(_OUTPUT.value, found, f"the actions of {len(scores)} videos")
    if faults:
        raise UserError("\n".join(faults))


def recognition_of(system: System) -> Recognition:
    """How the system tells actions; raises UserError if it tells none."""
    if system.recognition is None:
        raise UserError(
            f"the system {system.name!r} tells no actions; use --config configs/tdsclip_ssv2_b16.py"
        )
    return system.recognition


def names_of(system: System) -> Sequence[str]:
    """What the actions are called, or their numbers, which is told.

    Raises:
      UserError: if the names are those of other actions.
    """
    config = expect(system.config, tds_clip.Recognition)
    data, classes = config.data, config.model.classes
    if data.labels:
        return actions.read_names(pathlib.Path(data.labels), classes)
    if video_text.labels_path(data.folder, data.dataset).is_file():
        names = prepared.labels(data)
        if len(names) == classes:
            return names
        raise UserError(
            f"config.model.classes={classes} is not {len(names)}, the number of actions of"
            f" config.data.dataset={data.dataset!r}; name the model's actions,"
            " --config.data.labels=FILE.csv"
        )
    print(
        "actions are shown by number; for names, give --config.data.labels=FILE.csv (columns id and"
        f" name), or prepare config.data.dataset={data.dataset!r} with it beside the lists",
        file=sys.stderr,
    )
    return [f"action {number}" for number in range(classes)]


def classify(
    system: System, task: Recognition, videos: Mapping[str, str]
) -> tuple[Scores, list[str]]:
    """What the videos show, and what is wrong with those that cannot be told."""
    model = own_videos.model(system)
    faults: list[str] = []
    predict = model.compiled(task.classify)
    told = own_videos.told(system, model, predict, videos, faults, "telling actions")
    scores: dict[str, np.ndarray] = {}
    for names, logits in told:
        found = recognition.view_scores(np.asarray(logits)[: len(names)], names)  # others pad
        scores |= dict(zip(names, found, strict=True))
    return scores, faults


def likeliest(scores: Float32[np.ndarray, " C"], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The most probable actions, these first; of equally probable ones the smaller number."""
    for number in np.argsort(-scores, kind="stable")[: _TOP.value].tolist():
        yield {"id": number, "name": names[number], "probability": float(scores[number])}


def table(videos: Sequence[Mapping[str, Any]]) -> Table:
    """The actions for people."""
    shown = Table("video", "probability", "action")
    for video in videos:
        for place, action in enumerate(video["actions"]):
            name = Text("" if place else video["video"], overflow="fold")  # no markup
            shown.add_row(name, f"{action['probability']:.1%}", Text(action["name"]))
        shown.add_section()
    return shown


def record(system: System, scores: Scores, names: Sequence[str]) -> dict[str, Any]:
    """The actions, and what they depend on, as JSON holds it."""
    return {
        **own_videos.facts(system),
        **recognition.protocol(expect(system.config.data, ActionData)),
        "videos": [
            {"video": video, "actions": [*likeliest(each, names)]} for video, each in scores.items()
        ],
    }


if __name__ == "__main__":
    common.run_commands(main)
