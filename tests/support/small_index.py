"""A small index of the small gallery, and questions to it."""

import dataclasses
import os

import numpy as np
import pyarrow as pa
from small_gallery import IDS, MASK, PARAMS, RETRIEVAL, VIDEO, VIDEOS, WIDTH

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.own_videos.filters import EVERYTHING
from tokmerge_jax.own_videos.index import Index
from tokmerge_jax.own_videos.table import lance
from tokmerge_jax.own_videos.windows import Window

FACTS = {"checkpoint": "a", "frames": [8, "resize"], "model": {"merger": {"name": "none"}}}
PATHS = [f"clips/{i:02}.mp4" for i in range(VIDEOS)]
SHAPES = {"embedding": (1, WIDTH), "tokens": (4, WIDTH)}
FILES = {path: (100 + i, 7) for i, path in enumerate(PATHS)}


def opened(folder, facts=FACTS, about=None):
    return Index(folder, facts, SHAPES, about)


def model(devices=1):
    return evaluation.Model(PARAMS, parallel.make_mesh(devices))


def whole(path, last=True):
    """A video of one window, or the first one of a longer video."""
    return Window(path, 0.0, 2.0, 2.0, 16, last)


def fill(index, paths, files=FILES):
    """Encodes videos as a script would, in batches of three."""
    for first in range(0, len(paths), 3):
        batch = paths[first : first + 3]
        seen = RETRIEVAL.encode_video(PARAMS, VIDEO[[PATHS.index(path) for path in batch]])
        arrays = {name: np.asarray(array) for name, array in seen.items()}
        arrays["sizes"] = np.ones((len(batch), 4))
        index.add([*map(whole, batch)], files, arrays)


def ask(index, devices=1, rerank=True, top_k=4, where=EVERYTHING):
    retrieval = RETRIEVAL if rerank else dataclasses.replace(RETRIEVAL, matching=None)
    return index.query(
        model(devices), retrieval, (IDS, MASK), top_k=top_k, memory_gib=1.0, where=where
    )


def change(folder, path, **columns):
    """Replaces values in the row of a video."""
    data = lance.dataset(str(folder / "videos.lance"))
    read = data.to_table()
    row = read["path"].to_pylist().index(os.fsencode(path))
    for name, value in columns.items():
        values = read[name].to_pylist()
        values[row] = value
        place = read.schema.get_field_index(name)
        read = read.set_column(place, name, pa.array(values, read.schema.field(name).type))
    lance.write_dataset(read, str(folder / "videos.lance"), mode="overwrite")
