"""Whole jobs of a small retrieval system with random weights, on clips drawn for it."""

import json
import pathlib

import clips
import jax
import numpy as np
import pytest

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import torch_file
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Action, Choice, Clip, Record
from tokmerge_jax.own_videos import actions
from tokmerge_jax.system import System, ZeroShot
from tokmerge_jax.tasks import pictures, schedules
from tokmerge_jax.tasks.evaluation import open_training
from tokmerge_jax.training import export
from tokmerge_jax.types import Params, UserError

CAPTIONS = ("a red circle moves up", "a blue cross", "a small square", "left, then right")


def run(folder: pathlib.Path, config, released: str, tensor: str) -> tuple[System, Params]:
    """Evaluates all tasks, draws, searches schedules and the videos, and converts to and fro.

    Args:
      folder: the clips, weights and results are written to it.
      config: of retrieval, whose checkpoint, data set and batch size are set here.
      released: name of the file in the form of the released weights.
      tensor: name of a tensor in that file.
    """
    for i in range(4):
        clips.write(folder / f"{i}.mp4", clips.draw(20, 48, 64, seed=i))
    records = [Record((Clip(f"{i}.mp4", f"{i}.mp4"),), (text,)) for i, text in enumerate(CAPTIONS)]
    video_text.write(str(folder), "msvd", {"test": records})
    weights = folder / "weights.safetensors"
    config = config.override(
        {
            "checkpoint": str(weights),
            "data": {"dataset": "msvd", "folder": str(folder), "workers": 0},
            "eval.batch_size": 3,
        }
    )
    system = tokmerge_jax.build(config)
    params = system.weights.init(jax.random.key(0))
    export.write(weights, params)
    results = tokmerge_jax.evaluate(config, output=folder / "results")
    assert results["protocol"]["videos"] == 4
    pictures.draw_gallery(system, folder / "results", clips=2)
    search = {"name": "small", "budget": 0.95, "split": "test", "trials": 3}
    ways = schedules.search_schedule(config, folder / "schedules", **search)["schedules"]
    (own,) = (way for way in ways if way["from"] == "configuration")
    assert (own["gmac"], own["value"]) == (results["gmac"], results["headline"]["value"])
    choices = [Choice(record.clips, CAPTIONS, i) for i, record in enumerate(records)]
    video_text.write(str(folder), "msrvtt_mc", {"test": choices})
    choosing = config.override({"data.dataset": "msrvtt_mc"})
    chosen = tokmerge_jax.evaluate(choosing, output=folder / "chosen")
    right = results["scores"]["video_to_text"]["R@1"]
    assert chosen["headline"] == {"name": "accuracy", "value": right}
    acts = [Action(record.clips, i, 0) for i, record in enumerate(records)]
    video_text.write(str(folder), "k400", {"val": acts})
    acting = config.override({"data.dataset": "k400", "data.split": "val"})
    with pytest.raises(UserError, match="'k400' was prepared without names of its actions"):
        tokmerge_jax.evaluate(acting, output=folder / "numbered")
    video_text.labels_path(str(folder), "k400").write_text(json.dumps(CAPTIONS))
    acted = tokmerge_jax.evaluate(acting, output=folder / "acted")
    assert acted["protocol"]["prompts"] == len(system.task(ZeroShot).templates)
    paths = {str(folder / f"{i}.mp4"): f"{i}" for i in range(4)}
    told, _ = actions.classify(tokmerge_jax.build(acting), CAPTIONS, paths)
    with np.load(folder / "acted" / "scores.npz") as arrays:
        np.testing.assert_allclose([*told.values()], arrays["scores"], rtol=1e-3)
    with pytest.raises(UserError, match="by prompts, without training; name a data set"):
        open_training(tokmerge_jax.build(acting))
    tokmerge_jax.index(config, folder, folder / "index")
    hits = tokmerge_jax.search(folder / "index", CAPTIONS, top_k=4)
    assert [len({hit.path for hit in of_text}) for of_text in hits] == [4] * 4
    checkpoints.save_checkpoint(folder / "folder", params, system)
    tokmerge_jax.convert(config, folder / "folder", folder / released, reverse=True)
    assert tensor in torch_file.read(folder / released)
    again = checkpoints.load_checkpoint(folder / released, system)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    return system, params
