"""Searching a folder of videos as a user does, by the scripts and from Python."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from configs import demo as demo_config
from tokmerge_jax import search
from tokmerge_jax.data.datasets import demo, demo_scene
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[1]


def write_clips(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        story = demo.stories("test")[number]
        demo.write_clip(folder / f"{number}.mp4", demo_scene.draw(story, (2, number)))


def caption(number):
    return demo_scene.caption(demo.stories("test")[number])


def command(*arguments):
    return [sys.executable, "scripts/search.py", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_from_python(tmp_path):
    videos, target = tmp_path / "videos", tmp_path / "index"
    write_clips(videos, [0, 9])
    write_clips(videos / "more", [20])
    (videos / "bad.MKV").write_text("no video")
    (videos / "notes.txt").write_text("no video either")
    config = demo_config.get_config()
    with config.unlocked():
        config.data.workers = 0
    found = search.index_videos(config, videos, target)
    assert found.videos == ("0.mp4", "9.mp4", "more/20.mp4")
    assert list(found.faults) == ["bad.MKV"]
    assert "cannot be decoded" in found.faults["bad.MKV"]
    stamps = {file: file.stat().st_mtime_ns for file in (target / "features").iterdir()}
    write_clips(videos, [31])
    search.index_videos(config, videos, target)
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    asked = [caption(31), caption(20)]
    hits = search.Searcher(target)(asked, top_k=2)
    assert [found[0].path for found in hits] == ["31.mp4", "more/20.mp4"]
    assert [len(found) for found in hits] == [2, 2]
    plain = search.Searcher(target)(asked, top_k=1, rerank=False)
    assert [found[0].score for found in plain] == [None, None]
    with config.unlocked():
        config.model.merger.name = "none"
    with pytest.raises(UserError, match="made with another model"):
        search.index_videos(config, videos, target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say `index` or `query`"),
        (["find"], "'find' is no command; say `index` or `query`"),
        (["query", "a"], "--index is missing"),
        (["query", "--index=nowhere", "a"], "nowhere holds no index; make one with"),
        (["index", "--index=x", "--videos=y"], "--config is missing"),
    ],
)
def test_what_is_missing_is_told(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    videos, target = tmp_path / "videos", tmp_path / "index"
    write_clips(videos, range(12))
    arguments = ("index", "--config=configs/demo.py", f"--videos={videos}", f"--index={target}")
    few = ("--config.eval.batch_size=1", "--config.data.workers=0")
    process = subprocess.Popen(
        command(*arguments, *few), cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    log, deadline = target / "videos.jsonl", time.monotonic() + 120
    while not log.exists() or len(log.read_text().splitlines()) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len(log.read_text().splitlines())
    stamps = {file: file.stat().st_mtime_ns for file in (target / "features").glob("*.safetensors")}
    assert 2 <= done < 12
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    assert "12 videos can be searched" in again.stdout
    kept = [file for file, stamp in stamps.items() if file.stat().st_mtime_ns == stamp]
    assert len(kept) >= done - 1
    answer = run("query", f"--index={target}", "--top=1", caption(7))
    assert f"{videos / '7.mp4'}" in answer.stdout.replace("\n", "").replace(" ", "")
