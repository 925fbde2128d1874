"""scripts/eval.py as a user runs it: numbers, broken videos, what is missing, going on."""

import json

import clips
import jax
import numpy as np
import pytest
import script

import tokmerge_jax
from tokmerge_jax.configs import demo
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.training import export

CAPTIONS = ("a red circle moves up", "a blue cross", "a small square", "left, then right")


def evaluate(*arguments, config="demo"):
    return script.run("eval", f"--config=configs/{config}.py", *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four clips, a broken one among them, and random weights."""
    folder = tmp_path_factory.mktemp("eval")
    for i in range(4):
        clips.write(folder / f"{i}.mp4", clips.draw(20, 48, 64, seed=i))
    faults = ("", "", "cut short", "")
    records = [
        Record((Clip(f"{i}.mp4", f"{i}.mp4", fault),), (caption,))
        for i, (caption, fault) in enumerate(zip(CAPTIONS, faults, strict=True))
    ]
    video_text.write(str(folder), "msvd", {"test": records})
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda like: 0.1 * rng.standard_normal(like.shape, like.dtype),
        tokmerge_jax.build(demo.get_config()).weights.shapes,
    )
    export.write(folder / "weights.safetensors", params)
    return folder


def options(folder, output):
    return (
        "--config.data.dataset=msvd",
        f"--config.data.folder={folder}",
        f"--config.checkpoint={folder / 'weights.safetensors'}",
        f"--config.output={output}",
        "--config.data.workers=0",
        "--config.eval.batch_size=2",
    )


def test_broken_videos_stop_the_run(folder, tmp_path):
    run = evaluate(*options(folder, tmp_path))
    assert run.returncode == 2
    assert "2.mp4: cut short" in run.stderr
    assert " config.data.on_broken=skip" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_from_files_to_results_and_on(folder, tmp_path):
    settings = (*options(folder, tmp_path), "--config.data.on_broken=skip")
    first = evaluate(*settings)
    assert first.returncode == 0, first.stderr
    assert "1 broken videos left out" in first.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["protocol"]["left_out"] == ["2.mp4"]
    assert (results["protocol"]["videos"], results["protocol"]["texts"]) == (3, 3)
    with np.load(tmp_path / "scores.npz") as arrays:
        before = {name: arrays[name] for name in arrays}
    second = evaluate(*settings)
    assert second.returncode == 0
    assert json.loads((tmp_path / "results.json").read_text())["scores"] == results["scores"]
    with np.load(tmp_path / "scores.npz") as arrays:
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], before[name])
    evaluate(*settings, "--config.model.merger.name=none")
    assert len(list((tmp_path / "cache").iterdir())) == 2  # another model, another cache


@pytest.mark.slow
def test_a_video_that_breaks_after_preparation_stops_or_is_left_out(folder, tmp_path):
    """Left out, it leaves the numbers of a gallery that never had it."""
    for i in (0, 1, 3):
        (tmp_path / f"{i}.mp4").write_bytes((folder / f"{i}.mp4").read_bytes())
    names = ("0", "1", "3")
    records = {
        name: Record((Clip(f"{name}.mp4", f"{name}.mp4", ""),), (f"a {name}",)) for name in names
    }
    video_text.write(str(tmp_path), "msvd", {"test": [*records.values()]})
    (tmp_path / "1.mp4").write_bytes((folder / "1.mp4").read_bytes()[:300])
    settings = (*options(folder, tmp_path / "out"), f"--config.data.folder={tmp_path}")
    settings = (*settings, "--config.eval.batch_size=1", "--config.mesh.data=1")
    stopped = evaluate(*settings)
    assert stopped.returncode == 2
    assert "1.mp4: cannot be decoded" in stopped.stderr
    assert "on_broken=skip" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    (done,) = (tmp_path / "out").rglob("video_embedding.done")
    assert (np.fromfile(done, np.uint64) > 0).tolist() == [True, False, False]  # that is kept
    skipped = evaluate(*settings, "--config.data.on_broken=skip")
    assert skipped.returncode == 0, skipped.stderr
    assert "1 broken videos left out" in skipped.stdout
    video_text.write(str(tmp_path), "msvd", {"test": [records["0"], records["3"]]})
    without = evaluate(*settings, f"--config.output={tmp_path / 'without'}")
    assert without.returncode == 0, without.stderr
    results, expected = (
        json.loads((tmp_path / place / "results.json").read_text()) for place in ("out", "without")
    )
    assert results["protocol"].pop("left_out") == ["1.mp4"]
    assert expected["protocol"].pop("left_out") == []
    for key in ("headline", "scores", "similarity_scores", "protocol"):
        assert results[key] == expected[key]
    with (
        np.load(tmp_path / "out" / "scores.npz") as ours,
        np.load(tmp_path / "without" / "scores.npz") as theirs,
    ):
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5)


@pytest.mark.slow
def test_a_broken_video_of_one_of_two_processes(folder, tmp_path):
    """It stops both with its sentence, or is left out by both, as in one process."""
    for i in (0, 1, 3):
        (tmp_path / f"{i}.mp4").write_bytes((folder / f"{i}.mp4").read_bytes())
    records = [Record((Clip(f"{i}.mp4", f"{i}.mp4", ""),), (f"a {i}",)) for i in (0, 1, 3)]
    video_text.write(str(tmp_path), "msvd", {"test": records})
    (tmp_path / "1.mp4").write_bytes((folder / "1.mp4").read_bytes()[:300])  # of process 1
    settings = ("--config=configs/demo.py", *options(folder, tmp_path / "out"))
    settings = (*settings, f"--config.data.folder={tmp_path}")
    launch = ("--processes=2", "--devices=1", "scripts/eval.py", *settings)
    stopped = script.run("launch", *launch)
    assert stopped.returncode == 2
    assert stopped.stderr.count("1.mp4: cannot be decoded") == 1
    assert "process 1 of 2: " in stopped.stderr
    assert "Traceback" not in stopped.stderr
    skipped = script.run("launch", *launch, "--config.data.on_broken=skip")
    assert skipped.returncode == 0, skipped.stderr
    assert skipped.stderr.count("1.mp4: cannot be decoded") == 1
    assert "1 broken videos left out" in skipped.stdout
    alone = script.run(
        "eval", *settings, "--config.data.on_broken=skip", f"--config.output={tmp_path / 'alone'}"
    )
    assert alone.returncode == 0, alone.stderr
    results, expected = (
        json.loads((tmp_path / place / "results.json").read_text()) for place in ("out", "alone")
    )
    for key in ("headline", "scores", "similarity_scores", "protocol"):
        assert results[key] == expected[key]


def test_all_that_is_missing_is_told_at_once(tmp_path):
    run = evaluate(
        f"--config.data.folder={tmp_path}", "--config.data.vocabulary=no.txt", config="msrvtt_b16"
    )
    assert run.returncode == 2
    assert "config.checkpoint is empty" in run.stderr
    assert "tokmerge convert" in run.stderr
    assert "tokmerge prepare --dataset msrvtt" in run.stderr
    assert "config.data.vocabulary=no.txt: no such file" in run.stderr
    assert "Traceback" not in run.stderr


def test_help_is_useful():
    run = evaluate("--help")
    for words in ("Evaluates retrieval", "--config.checkpoint", "model.merger.r", "on_broken"):
        assert words in run.stdout
    assert "_Missing" not in run.stdout  # a default is no class of ours
