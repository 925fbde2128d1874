"""Writes captions of your own videos.

Examples:
  python scripts/caption.py --config configs/testa_pretrain.py --config.checkpoint=CKPT \
      dog.mp4 cat.mp4
  python scripts/caption.py --config configs/testa_pretrain.py --config.checkpoint=CKPT \
      --output captions.json clips/*.mp4

A video is a file, or a folder of its frames as pictures with numbers; a folder of videos stands for
those in it and in folders below, and what is skipped there is counted. A caption's score is its
log-likelihood over its length. --output keeps captions as JSON, with how they were made. Videos
that cannot be decoded are named when the others have their captions; the script then exits with
code 2.

Keys that are often set (--config.KEY=VALUE):
  caption.beams         of the search; 1 follows the likeliest word piece
  caption.min_length    word pieces of a caption at least, its start and end included
  caption.max_length    as many at most
  caption.top_p         with beams=1: draw word pieces from a nucleus of this probability
  seed                  of the draws
  eval.batch_size       videos that are captioned at a time
"""

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import common
import jax
import numpy as np
import own_videos
from absl import flags
from rich.table import Table
from rich.text import Text

from tokmerge_jax import registry, runtime
from tokmerge_jax.config import expect
from tokmerge_jax.config.testa import Pretraining
from tokmerge_jax.system import Captioning, System
from tokmerge_jax.types import UserError

_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the captions")

Captions = Mapping[str, tuple[str, float]]
"""The caption of each video, and its score."""


def main(videos: list[str]) -> None:
    """Prints the caption of each video."""
    sources = own_videos.sources(videos)
    system = registry.build(common.config())
    captioning = captioning_of(system)
    own_videos.check(system, _OUTPUT.value)
    captioning.tokenize([""])  # the vocabulary is there and fits
    captions, faults = write(system, captioning, sources)
    if captions:
        own_videos.show(table(captions))
        own_videos.keep(_OUTPUT.value, record(system, captions), f"{len(captions)} captions")
    if faults:
        raise UserError("\n".join(faults))


def captioning_of(system: System) -> Captioning:
    """How the system writes captions; raises UserError if it writes none."""
    if system.captioning is None:
        raise UserError(
            f"the system {system.name!r} writes no captions; use --config configs/testa_pretrain.py"
        )
    return system.captioning


def write(
    system: System, captioning: Captioning, videos: Mapping[str, str]
) -> tuple[Captions, list[str]]:
    """Captions, and what is wrong with the videos that have none."""
    model = own_videos.model(system)
    caption, key = model.compiled(captioning.caption), jax.random.key(system.config.seed)
    keys = map(functools.partial(jax.random.fold_in, key), itertools.count())  # one a batch
    captions: dict[str, tuple[str, float]] = {}
    faults: list[str] = []
    for names, found in own_videos.told(
        system, model, lambda video: caption(video, next(keys)), videos, faults, "writing captions"
    ):
        texts = captioning.spell(np.asarray(found["ids"]))
        scores = runtime.finite(found["score"][: len(names)], "score of a caption", video=names)
        captions |= dict(zip(names, zip(texts, scores.tolist(), strict=False), strict=True))
    return captions, faults


def table(captions: Captions) -> Table:
    """The captions for people."""
    shown = Table("video", "score", "caption")
    for video, (caption, score) in captions.items():
        shown.add_row(Text(video, overflow="fold"), f"{score:.2f}", Text(caption))  # no markup
    return shown


def record(system: System, captions: Captions) -> dict[str, Any]:
    """The captions, and what they depend on, as JSON holds it."""
    config = expect(system.config, Pretraining)
    search = config.caption.to_dict()
    return {
        **own_videos.facts(system),
        "search": search | ({"seed": config.seed} if search["top_p"] else {}),
        "captions": [
            {"video": video, "caption": caption, "score": score}
            for video, (caption, score) in captions.items()
        ],
    }


if __name__ == "__main__":
    common.run_commands(main)
