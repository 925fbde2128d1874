"""scripts/search_schedule.py as a user runs it: what cannot work, results, killed and going on."""

import json
import signal
import subprocess
import sys
import time

import clips
import numpy as np
import pytest
import script

import tokmerge_jax
from tokmerge_jax.configs import demo
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.tasks import schedules
from tokmerge_jax.tasks.synthetic import random_weights
from tokmerge_jax.training import export
from tokmerge_jax.types import UserError

SMALL = {"model.vision.depth": 3, "model.text.depth": 2, "model.text.fusion_layer": 1}
CAPTIONS = ("a red circle moves up", "a blue cross", "a small square", "left, then right")


def run(*arguments, name="search_schedule"):
    return script.run(name, "--config=configs/demo.py", *arguments)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--budget=0", "budget=0 must be above 0 and at most 1"),
        ("--budget=0.2", "budget=0.2 is out of reach: merging as many tokens as possible"),
        ("--config.model.merger.name=none", "merges nothing; name the merger whose schedule"),
        ("--config.data.folder=nowhere", "data set demo, split val, is not prepared in 'nowhere'"),
    ],
)
def test_what_cannot_work_is_reported(argument, message, tmp_path):
    done = run(argument, f"--config.output={tmp_path}")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_number_of_trials_below_one_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"trials=0 must be at least 1"):
        schedules.search_schedule(demo.get_config(), tmp_path, name="demo", trials=0)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Four clips, and random weights of a network whose programs compile fast."""
    folder = tmp_path_factory.mktemp("schedules")
    for i in range(4):
        clips.write(folder / f"{i}.mp4", clips.draw(20, 48, 64, seed=i))
    records = [Record((Clip(f"{i}.mp4", f"{i}.mp4"),), (text,)) for i, text in enumerate(CAPTIONS)]
    video_text.write(str(folder), "msvd", {"test": records})
    system = tokmerge_jax.build(
        demo.get_config().override({**SMALL, "model.merger.r": (90, 60, 30)})
    )
    export.write(folder / "weights.safetensors", random_weights(system))
    return (
        "--config.data.dataset=msvd",
        f"--config.data.folder={folder}",
        f"--config.checkpoint={folder / 'weights.safetensors'}",
        "--config.data.workers=0",
        "--config.eval.batch_size=3",
        "--config.model.merger.r=90,60,30",
        *(f"--config.{key}={size}" for key, size in SMALL.items()),
    )


def lines(output):
    path = output / "search/test/trials.jsonl"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.slow
def test_killed_a_search_goes_on_to_the_same_end(options, tmp_path):
    search = (*options, "--budget=0.7", "--split=test", "--trials=5")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = run(*search, f"--config.output={whole}")
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "scripts/search_schedule.py", "--config=configs/demo.py"]
    process = subprocess.Popen(
        [*command, *search, f"--config.output={killed}"],
        cwd=script.ROOT,
        stderr=subprocess.DEVNULL,
    )
    while len(lines(killed)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = lines(killed)
    assert len(before) < 5
    again = script.run(  # by two processes
        *("launch", "--processes=2", "--devices=4", "scripts/search_schedule.py"),
        *("--config=configs/demo.py", *search, f"--config.output={killed}"),
    )
    assert again.returncode == 0, again.stderr
    assert lines(killed) == lines(whole)
    assert lines(killed)[: len(before)] == before
    first, second = (
        json.loads((output / "search/test/budget_0.7.json").read_text())
        for output in (whole, killed)
    )
    assert first == second
    assert all(row["share"] <= 0.7 for row in first["schedules"])
    assert {"uniform", "configuration"} <= {row["from"] for row in first["schedules"]}
    assert first["best"] == first["schedules"][0]["r"]
    best = "".join(f"{merged}," for merged in first["best"])
    assert again.stdout.endswith(f" --config.model.merger.r={best}\n")
    other = run(*search, f"--config.output={killed}", "--config.eval.rerank=False", "--trials=1")
    assert other.returncode == 0, other.stderr
    assert lines(killed)[:-1] == lines(whole)  # without re-ranking nothing was known


@pytest.mark.slow
def test_a_schedule_is_evaluated_as_eval_does_it(options, tmp_path):
    """Videos that stay in memory, too: the scores are those of scripts/eval.py."""
    done = run(*options, f"--config.output={tmp_path}", "--split=test", "--trials=1")
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("search/test/schedules/*/*")
    r = folder.name.replace("-", ",") + ","
    plain = run(
        *options, f"--config.output={tmp_path}", f"--config.model.merger.r={r}", name="eval"
    )
    assert plain.returncode == 0, plain.stderr
    ours, theirs = (json.loads((f / "results.json").read_text()) for f in (folder, tmp_path))
    assert ours["scores"] == theirs["scores"]
    assert ours["gmac"] == theirs["gmac"] == json.loads(lines(tmp_path)[0])["gmac"]
    with np.load(folder / "scores.npz") as a, np.load(tmp_path / "scores.npz") as b:
        for name in b:
            np.testing.assert_array_equal(a[name], b[name])


def test_help_is_useful():
    done = run("--help")
    for words in ("--budget", "--trials", "--split", "--config msrvtt_b16", "the same command"):
        assert words in done.stdout
