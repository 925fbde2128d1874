"""Writes captions of your own videos.

Examples:
  python scripts/caption.py --config configs/testa_pretrain.py --config.checkpoint=CKPT \
      dog.mp4 cat.mp4
  python scripts/caption.py --config configs/testa_pretrain.py --config.checkpoint=CKPT \
      --output captions.json clips/*.mp4

A caption's score is its log-likelihood over its length. --output keeps captions as JSON, with how
they were made. Files that cannot be decoded are named when the others have their captions; the
script then exits with code 2.

Keys that are often set (--config.KEY=VALUE):
  caption.beams         of the search; 1 follows the likeliest word piece
  caption.min_length    word pieces of a caption at least, its start and end included
  caption.max_length    as many at most
  caption.top_p         with beams=1: draw word pieces from a nucleus of this probability
  seed                  of the draws
  eval.batch_size       videos that are captioned at a time
"""

import functools
import io
import itertools
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import common
import jax
import numpy as np
import rich
from absl import flags
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from tokmerge_jax import convert, parallel, registry, runtime
from tokmerge_jax.data.clips import decoder
from tokmerge_jax.data.folder import Clips
from tokmerge_jax.evaluation import Model
from tokmerge_jax.evaluation.retrieval import ahead
from tokmerge_jax.types import System, UserError

_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the captions")

Captions = Mapping[str, tuple[str, float]]
"""The caption of each video, and its score."""


def main(videos: list[str]) -> None:
    """Prints the caption of each video."""
    system = registry.build(common.config())
    check(system, videos)
    captions, faults = write(system, videos)
    if captions:
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be no text
        rich.print(table(captions))
        if _OUTPUT.value:
            keep(pathlib.Path(_OUTPUT.value), record(system, captions))
    if faults:
        raise UserError("\n".join(faults))


def check(system: System, videos: list[str]) -> None:
    """Raises UserError if the system writes no captions, or something is missing."""
    if "caption" not in system.predict:
        raise UserError(
            f"the system {system.name!r} writes no captions; use --config configs/testa_pretrain.py"
        )
    if not videos:
        raise UserError("no video is named: caption.py --config CONFIG a.mp4 b.mp4, see --help")
    missing = [video for video in videos if not pathlib.Path(video).is_file()]
    if missing:
        raise UserError("\n".join(f"{video}: no such file; name a video" for video in missing))
    if system.config.data.workers < 0:
        raise UserError(f"config.data.workers={system.config.data.workers} must be 0 or more")
    if _OUTPUT.value and not pathlib.Path(_OUTPUT.value).absolute().parent.is_dir():
        raise UserError(f"--output={_OUTPUT.value} lies in no folder that is there; make it first")
    system.tokenize([""])  # the vocabulary is there and fits


def write(system: System, videos: list[str]) -> tuple[Captions, list[str]]:
    """Captions, and what is wrong with the videos that have none."""
    config = system.config
    params = convert.load_checkpoint(config.checkpoint, system)
    model = Model(system.predict, params, parallel.make_mesh(config.mesh.to_dict()))
    size = parallel.batch_size(model.mesh, min(config.eval.batch_size, len(videos)))
    decode = decoder(config.data, system.constants["frames"], folder="")
    clips = Clips(videos, decode, system.transform, config.data.workers)
    caption, key = model.compiled("caption"), jax.random.key(config.seed)
    keys = map(functools.partial(jax.random.fold_in, key), itertools.count())  # one a batch
    captions: dict[str, tuple[str, float]] = {}
    faults: list[str] = []
    with tqdm(total=len(videos), desc="writing captions") as bar:

        def refuse(_: str, fault: str) -> None:
            faults.append(fault)
            bar.update()

        inputs = ((names, (video,)) for names, video in clips.batches(size, refuse))
        assert system.spell is not None
        for names, found in ahead(lambda video: caption(video, next(keys)), inputs):
            texts = system.spell(np.asarray(found["ids"]))
            scores = np.asarray(found["score"]).tolist()
            captions |= dict(zip(names, zip(texts, scores, strict=True), strict=False))  # rows pad
            bar.update(len(names))
    return captions, faults


def table(captions: Captions) -> Table:
    """The captions for people."""
    shown = Table("video", "score", "caption")
    for video, (caption, score) in captions.items():
        shown.add_row(Text(video, overflow="fold"), f"{score:.2f}", Text(caption))  # no markup
    return shown


def record(system: System, captions: Captions) -> dict[str, Any]:
    """The captions, and what they depend on, as JSON holds it."""
    config, search = system.config, system.config.caption.to_dict()
    return {
        "config": common.config_name(),
        "checkpoint": config.checkpoint,
        "frames": system.constants["frames"],
        "sampling": config.data.sampling,
        "trim_seconds": config.data.trim_seconds,
        "search": search | ({"seed": config.seed} if search["top_p"] else {}),
        "versions": runtime.versions(),
        "captions": [
            {"video": video, "caption": caption, "score": score}
            for video, (caption, score) in captions.items()
        ],
    }


def keep(path: pathlib.Path, found: Mapping[str, Any]) -> None:
    """Writes what was found into a file."""
    try:
        runtime.write_text(path, json.dumps(found, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"--output={path} cannot be written: {error.strerror}") from error
    print(f"{len(found['captions'])} captions are in {path}")


if __name__ == "__main__":
    common.run_commands(main)
