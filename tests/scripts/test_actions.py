"""TDS-CLIP's action recognition as a user runs it: trained, evaluated, compared; and faults."""

import json
import pathlib
import subprocess
import sys

import clips
import numpy as np
import pytest
from PIL import Image

from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Action, Clip

ROOT = pathlib.Path(__file__).parents[2]
NAMES = ("left", "something [held]", "right", "never shown")
SMALL = """
from tokmerge_jax.configs import tdsclip_ssv2_b16

def get_config():
    return tdsclip_ssv2_b16.get_config().override(dict(
        dtype="float32",
        mesh=dict(data=2),
        model=dict(
            classes={classes},
            vision=dict(width=64, depth=1, heads=1, image_size=32, patch_size=16, frames=2),
            side=dict(width=64)),
        data=dict(folder={folder!r}, workers=0, scale=(32, 48)),
        train=dict(batch_size=4, groups=2, epochs=1, eval_split="val")))
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A configuration of a tiny network; three video files and two folders of frames."""
    folder, records = tmp_path_factory.mktemp("actions"), []
    for i in range(5):
        frames, name = clips.draw(9, 36, 40, seed=i), f"{i}.mp4" if i < 3 else f"{i}/{{:05d}}.png"
        if i < 3:
            clips.write(folder / name, frames)
        else:
            (folder / str(i)).mkdir()
            for number, pixels in enumerate(frames, 1):
                Image.fromarray(pixels).save(folder / name.format(number))
        records.append(Action((Clip(str(i), name),), i % 3, 9))
    video_text.write(str(folder), "ssv2", {"train": records, "val": records})
    video_text.labels_path(str(folder), "ssv2").write_text(json.dumps(NAMES))
    for name, classes in (("small", 4), ("other", 3)):
        text = SMALL.format(folder=str(folder), classes=classes)
        (folder / f"{name}.py").write_text(text)
    return folder


def script(name, *arguments, code=0):
    command = [sys.executable, f"scripts/{name}.py", *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stderr
    return " ".join((ran.stdout + ran.stderr).split())


@pytest.mark.slow
def test_trained_evaluated_and_compared(prepared, tmp_path):
    config = f"--config={prepared / 'small.py'}"
    printed = script("train", config, f"--config.output={tmp_path / 'trained'}")
    assert "Trained 2 steps of 4 clips" in printed
    assert "top-1" in printed
    assert not list(tmp_path.rglob("confusion.png"))  # of every trial
    weights = f"--config.checkpoint={tmp_path / 'trained' / 'training' / 'parameters'}"
    all_results, scores = {}, {}
    for name, devices in (("two", 2), ("two", 2), ("one", 1)):
        output = tmp_path / name
        options = (f"--config.output={output}", f"--config.mesh.data={devices}")
        printed = script("eval", config, weights, *options)
        assert f"Drew {output / 'confusion.png'}" in printed
        with Image.open(output / "confusion.png") as picture:
            assert min(picture.size) > 500
        results = json.loads((output / "results.json").read_text())
        with np.load(output / "scores.npz") as arrays:
            values = arrays["scores"]
            assert arrays["labels"].tolist() == [0, 1, 2, 0, 1]
            assert arrays["confusion"].sum() == 5
        if name in all_results:  # nothing was all_results again
            assert "recognising: 5 of 5 (100 %), ?video/s" in printed
            assert results["scores"] == all_results[name]["scores"]
            np.testing.assert_array_equal(values, scores[name])
        all_results[name], scores[name] = results, values
    np.testing.assert_allclose(scores["one"], scores["two"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores["one"].sum(axis=1), np.ones(5), rtol=1e-5)
    assert list(all_results["one"]["classes"]) == list(NAMES[:3])
    assert {"clips": 2, "crops": 3, "frames": 2}.items() <= all_results["one"]["protocol"].items()
    first = script("compare", *(str(tmp_path / name) for name in ("one", "two")))
    assert "top-1 ┃ top-5" in first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eval", "train"])
def test_other_numbers_of_actions_are_refused(prepared, tmp_path, name):
    config = f"--config={prepared / 'other.py'}"
    printed = script(name, config, f"--config.output={tmp_path}", code=2)
    assert "config.model.classes=3 must be 4, the number of actions of config.data.data" in printed
    assert "Traceback" not in printed
    assert ("config.checkpoint is empty" in printed) == (name == "eval")


@pytest.mark.slow
def test_other_tasks_are_refused(prepared, tmp_path):
    output = f"--config.output={tmp_path}"
    of_texts = ("--config=configs/demo.py", "--config.data.dataset=ssv2")
    for name in ("eval", "train"):
        printed = script(name, *of_texts, output, code=2)
        assert (
            "the system 'vid_tldr' does not support action recognition, which config.data.dataset="
            in printed
        )
    of_actions = (f"--config={prepared / 'small.py'}", "--config.data.dataset=msvd")
    printed = script("eval", *of_actions, output, code=2)
    assert (
        "the system 'tds_clip' does not support text-video retrieval, which config.data.dataset="
        in printed
    )
    assert "vocabulary" not in printed
