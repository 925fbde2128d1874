"""Index folders: asked, and brought up to date, with a network that is compiled once a process."""

import functools
import pathlib

import numpy as np
from safetensors.numpy import save_file

from tests.fuzz import weights
from tests.support import clips
from tokmerge_jax import checkpoints, registry
from tokmerge_jax.config import Config
from tokmerge_jax.own_videos import search
from tokmerge_jax.system import System

_build = registry.build


def make(folder: pathlib.Path) -> None:
    """The index of two videos and of a file that is none."""
    place = folder / "_of"
    (place / "videos").mkdir(parents=True)
    for name, seed in (("a.mp4", 0), ("b.mp4", 1)):
        clips.write(place / "videos" / name, clips.draw(4, 32, 32, seed))
    (place / "videos" / "c.mp4").write_text("no video")
    tensors = checkpoints.to_torch(weights.system(), weights.params())
    save_file(tensors, place / "weights.safetensors")
    search.index_videos(_config(place), place / "videos", folder / "index" / "a")


def read(case: pathlib.Path, good: pathlib.Path) -> None:
    """Asks the index, then looks for changed videos."""
    registry.build = _known  # a compiled program belongs to the functions of one system
    hits = search.Searcher(case / "a")(["a red square"], top_k=2)
    assert all(np.isfinite(hit.cosine) for ranked in hits for hit in ranked)
    search.index_videos(_config(good / "_of"), good / "_of" / "videos", case / "a")


def _config(place: pathlib.Path) -> Config:
    file = str(place / "weights.safetensors")
    return weights.config().override({"checkpoint": file, "eval.batch_size": 2})


@functools.lru_cache(maxsize=4)
def _known(config: Config) -> System:
    return _build(config)
