"""Whole jobs of UMT's action recognition, and training of texts that starts from its weights."""

import dataclasses
import json

import clips
import jax
import numpy as np
import pytest
import recognition_case
from matplotlib.image import imread

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.configs import demo, demo_qa
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Action, Clip, Question, Record
from tokmerge_jax.own_videos import actions
from tokmerge_jax.tasks import pictures, schedules
from tokmerge_jax.training import export

CAPTIONS = ("a small red square moves left", "a blue circle", "a red circle", "a blue square")
STEP = {
    "train.split": "train", "train.epochs": 1, "train.batch_size": 8, "train.warmup_epochs": 0.0
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight clips of four actions, with captions and questions."""
    folder = tmp_path_factory.mktemp("jobs")
    shown = []
    for i in range(8):
        clips.write(folder / f"{i}.mp4", clips.draw(20, 40, 48, seed=i))
        shown.append((Clip(f"{i}", f"{i}.mp4"),))
    acts = [Action(clip, i % 4, 20) for i, clip in enumerate(shown)]
    video_text.write(str(folder), "k400", {"train": acts, "val": acts})
    video_text.labels_path(str(folder), "k400").write_text(json.dumps(CAPTIONS))
    texts = [Record(clip, (CAPTIONS[i % 4],)) for i, clip in enumerate(shown)]
    video_text.write(str(folder), "msvd", {"train": texts, "test": texts})
    asked = [Question(clip, str(i), "what is it", ("red",)) for i, clip in enumerate(shown)]
    video_text.write(str(folder), "demo_qa", {"train": asked})
    return folder


@pytest.fixture(scope="module")
def config(folder):
    """The small configuration on these clips, whose weights are drawn."""
    config = recognition_case.config_of().override(
        {
            "checkpoint": str(folder / "weights.safetensors"),
            "data": {"dataset": "k400", "folder": str(folder), "workers": 0, "crops": 3},
            "data.scale": 32,
            "model.classes": 4,
            "eval.batch_size": 3,
            **STEP,
        }
    )
    _, params = recognition_case.system_of(config)
    export.write(folder / "weights.safetensors", params)
    return config


@pytest.mark.slow
def test_evaluation_pictures_schedules_and_own_videos(config, folder, tmp_path):
    results = tokmerge_jax.evaluate(config, output=tmp_path / "merged")
    assert results["protocol"]["videos"] == 8
    assert (results["protocol"]["clips"], results["protocol"]["crops"]) == (2, 3)
    system = tokmerge_jax.build(config)
    pictures.draw_gallery(system, tmp_path / "merged", clips=1)
    assert imread(tmp_path / "merged" / "merging.png").std() > 0
    search = {"name": "small", "budget": 0.95, "split": "val", "trials": 4}
    ways = schedules.search_schedule(config, tmp_path / "schedules", **search)["schedules"]
    (own,) = (way for way in ways if way["from"] == "configuration")
    assert (own["gmac"], own["value"]) == (results["gmac"], results["headline"]["value"])
    paths = {str(folder / f"{i}.mp4"): f"{i}" for i in range(8)}
    told, _ = actions.classify(system, CAPTIONS, paths)
    model = tokmerge_jax.load(config)
    here = model.classify(model.read([*paths]))
    with np.load(tmp_path / "merged" / "scores.npz") as arrays:
        np.testing.assert_allclose([*told.values()], arrays["scores"], rtol=1e-3)
        np.testing.assert_allclose(here, arrays["scores"], rtol=1e-3)
        assert not np.allclose(arrays["scores"][0], arrays["scores"][1])


@pytest.mark.slow
def test_texts_train_from_recognition(config, folder, tmp_path, capsys):
    """A trained classifier is where retrieval starts, and question answering from its names."""
    trained = tokmerge_jax.train(config, {"train.samples": 2}, output=tmp_path / "actions")
    assert trained.step == 2
    began = checkpoints.load_checkpoint(config.checkpoint, tokmerge_jax.build(config))
    moved = jax.tree.map(lambda x, y: np.any(x != y), began, trained.params)
    assert all(jax.tree.leaves(moved))
    ours, theirs = (tmp_path / f"{name}.safetensors" for name in ("ours", "theirs"))
    export.write(ours, trained.params)
    tokmerge_jax.convert(config, ours, theirs, reverse=True)
    for source, file, data in ((demo, ours, "msvd"), (demo_qa, theirs, "demo_qa")):
        texts = source.get_config()
        texts = dataclasses.replace(
            texts, model=dataclasses.replace(texts.model, vision=recognition_case.VISION)
        )
        texts = texts.override(
            {
                "checkpoint": str(file),
                "data": {"dataset": data, "folder": str(folder), "workers": 0},
                "dtype": "float32",
                "model.text": {
                    "width": 32,
                    "heads": 2,
                    "mlp_width": 64,
                    "depth": 2,
                    "fusion_layer": 1,
                },
                "model.merger.r": (10, 4),
                "train.learning_rate": 1e-9,  # so that the start is still seen
                **STEP,
            }
        )
        if data == "demo_qa":
            texts = texts.override({"train.questions_per_video": 1})
        capsys.readouterr()
        after = tokmerge_jax.train(texts, output=tmp_path / data)
        assert f"{file} holds nothing that fits vision/norm/" in capsys.readouterr().err
        assert after.step >= 1
        own = {name: part for name, part in after.params["vision"].items() if name != "norm"}
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), own, trained.params["vision"]
        )
