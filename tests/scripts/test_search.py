"""Searching a folder of videos as a user does, by the scripts and from Python."""

import functools
import json
import operator
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import script
from safetensors.numpy import load_file, save_file

from tokmerge_jax import disk
from tokmerge_jax.configs import demo as demo_config
from tokmerge_jax.configs import demo_clip
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.evaluation import index
from tokmerge_jax.own_videos import search
from tokmerge_jax.types import UserError

WEIGHTS = demo_config.get_config().checkpoint


def write_clips(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        story = demo.stories("test")[number]
        demo.write_clip(folder / f"{number}.mp4", scene.draw(story, (2, number)))


def caption(number):
    return scene.caption(demo.stories("test")[number])


def run(*arguments):
    return script.run("search", *arguments, COLUMNS="300")


def configuration(checkpoint=WEIGHTS, **mesh):
    """The demo's, decoding in this process."""
    changes = {"checkpoint": str(checkpoint), "mesh": mesh, "eval.batch_size": 2}
    return demo_config.get_config().override({"data.workers": 0, **changes})


def features(target):
    return {file.name: load_file(file) for file in (target / "features").iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of some videos, among them a broken one, and of their index."""
    folder = tmp_path_factory.mktemp("search")
    videos, target = folder / "videos", folder / "index"
    write_clips(videos, [0, 9])
    write_clips(videos / "more [abc]", [20])
    (videos / "bad.MKV").write_text("no video")
    (videos / "notes.txt").write_text("no video either")
    indexed = search.index_videos(configuration(), videos, target)
    assert indexed.videos == ("0.mp4", "9.mp4", "more [abc]/20.mp4")
    assert list(indexed.faults) == ["bad.MKV"]
    assert "bad.MKV: cannot be decoded" in (target / "broken.txt").read_text()
    return videos, target


@pytest.mark.slow
def test_a_model_without_a_matching_head(tmp_path):
    """CLIP finds by cosine alone; nothing but embeddings is kept."""
    write_clips(tmp_path / "videos", [0, 9, 20])
    config = demo_clip.get_config().override({"data.workers": 0})
    search.index_videos(config, tmp_path / "videos", tmp_path / "index")
    for arrays in features(tmp_path / "index").values():
        assert {name: x.shape for name, x in arrays.items()} == {"embedding": (1, 128)}
    for hits, number in zip(
        search.Searcher(tmp_path / "index")([caption(9), caption(20)], top_k=2),
        (9, 20),
        strict=True,
    ):
        assert [hit.score for hit in hits] == [None, None]
        assert hits[0].path == f"{number}.mp4"
        assert hits[0].cosine > hits[1].cosine


@pytest.mark.slow
def test_two_processes_make_one_index(made, tmp_path):
    run = script.run(
        *("launch", "--processes=2", "--devices=1", "scripts/search.py", "index"),
        *("--config=configs/demo.py", "--config.data.workers=0", "--config.eval.batch_size=2"),
        *(f"--videos={made[0]}", f"--index={tmp_path}"),
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("3 videos can be searched") == 1
    assert index.entries(tmp_path) == index.entries(made[1])
    assert [file.name for file in tmp_path.glob("*.jsonl")] == ["videos.jsonl"]
    assert (tmp_path / "broken.txt").read_text() == (made[1] / "broken.txt").read_text()
    ours, alone = features(tmp_path), features(made[1])
    assert ours.keys() == alone.keys()
    for name, arrays in alone.items():
        for part, values in arrays.items():
            np.testing.assert_allclose(ours[name][part], values, rtol=1e-4, atol=1e-5)


@pytest.fixture
def copied(made, tmp_path):
    """The same, to be changed."""
    videos, target = tmp_path / "videos", tmp_path / "index"
    shutil.copytree(made[0], videos)
    shutil.copytree(made[1], target)
    about = index.describe(target)
    about["about"]["videos"] = str(videos)
    (target / "index.json").write_text(json.dumps(about))
    return videos, target


def test_what_a_video_shows_finds_it(made):
    asked = [caption(0), caption(20)]
    searcher = search.Searcher(made[1])
    hits = searcher(asked, top_k=2)
    assert [ranked[0].path for ranked in hits] == ["0.mp4", "more [abc]/20.mp4"]
    assert [len(ranked) for ranked in hits] == [2, 2]
    plain = searcher(asked, top_k=1, rerank=False)
    assert [ranked[0].path for ranked in plain] == ["0.mp4", "more [abc]/20.mp4"]
    assert [ranked[0].score for ranked in plain] == [None, None]


def test_texts_that_say_nothing_are_refused_and_cut_ones_reported(made, capsys):
    searcher = search.Searcher(made[1])
    for text, fault in (
        ("", "'' holds no word; describe in words"),
        (" \t", r"holds no word; describe in words"),
        ("?! ...", "holds no word; describe in words"),  # the system's cleaning leaves nothing
        ("a \udcff dog", r"'a \\udcff dog' is not UTF-8 text"),  # as the command line may have it
    ):
        with pytest.raises(UserError, match=fault):
            searcher([caption(0), text])
    capsys.readouterr()
    long = caption(0) + " and so on" * 9
    (hits, _) = searcher([long, caption(0)], top_k=1)
    assert hits[0].path == "0.mp4"
    message = "1 of 2 texts are cut to config.data.max_text_length=16 pieces"
    assert capsys.readouterr().err.splitlines()[0] == message


def test_only_what_changed_is_encoded(copied):
    videos, target = copied
    before = {file: file.stat().st_mtime_ns for file in (target / "features").iterdir()}
    write_clips(videos, [31])
    (videos / "bad.MKV").write_text("still no video")
    (videos / "9.mp4").unlink()
    indexed = search.index_videos(configuration(), videos, target)
    assert indexed.videos == ("0.mp4", "31.mp4", "more [abc]/20.mp4")
    assert list(indexed.faults) == ["bad.MKV"]
    after = {file: file.stat().st_mtime_ns for file in (target / "features").iterdir()}
    assert len(after) == 3
    assert len(before.items() & after.items()) == 2
    shutil.copy(videos / "31.mp4", videos / "0.mp4")
    (videos / "bad.MKV").unlink()
    search.index_videos(configuration(), videos, target)
    assert not (target / "broken.txt").exists()
    same, other = (indexed.load(path, "embedding", (1, 128)) for path in ("0.mp4", "31.mp4"))
    np.testing.assert_allclose(same, other, rtol=1e-5, atol=1e-6)


def test_devices_and_batches_do_not_matter(made, tmp_path):
    search.index_videos(configuration(data=1), made[0], tmp_path)  # batches of 2 instead of 8
    one, eight = features(tmp_path), features(made[1])
    assert one.keys() == eight.keys()
    for name, arrays in one.items():
        for kind, values in arrays.items():
            np.testing.assert_allclose(values, eight[name][kind], rtol=1e-4, atol=1e-5)


def test_another_model_or_folder_is_refused(copied, tmp_path):
    videos, target = copied
    plain = configuration().override({"model.merger.name": "none"})
    with pytest.raises(UserError, match=r"made with model\.merger\.name=vid_tldr \(now none\)"):
        search.index_videos(plain, videos, target)
    write_clips(tmp_path / "other", [1])
    with pytest.raises(UserError, match=r"holds the videos of .*videos; name that folder"):
        search.index_videos(configuration(), tmp_path / "other", target)
    videos.rename(tmp_path / "moved")
    before = features(target)
    search.index_videos(configuration(), tmp_path / "moved", target)
    assert features(target).keys() == before.keys()
    assert search.Searcher(target).folder == tmp_path / "moved"
    (tmp_path / "moved").rename(tmp_path / "unplugged")
    with pytest.raises(UserError, match=r"holds the videos of .*moved; name that folder"):
        search.index_videos(configuration(), tmp_path / "other", target)
    assert features(target).keys() == before.keys()


def test_settings_that_cannot_be(copied):
    videos, target = copied
    for key, value in (("eval.batch_size", 0), ("data.workers", -1)):
        config = configuration().override({key: value})
        with pytest.raises(UserError, match=rf"config\.{key}={value} must be"):
            search.index_videos(config, videos, target.with_name("new"))


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("about", None, r"index\.json is damaged"),
        ("about.videos", 5, r"index\.json is damaged"),
        ("about.config", [], r"index\.json is damaged"),
        ("about.config.system", "none_such", "config.system='none_such' is unknown"),
        ("about.config.model", {}, "no valid configuration"),
        ("about.config.model.vision.width", "wide", "no valid configuration"),
        ("about.config.model.vision.width", 10**9, "vision.width=1000000000 is too large"),
        ("about.config.model.vision.depth", 10**9, "vision.depth=1000000000 is too large"),
        ("about.config.model.vision.width", 2**16, "weights that it was made with: .*do not fit"),
        ("about.config.checkpoint", 5, "no valid configuration"),
        ("about.config.data.vocabulary", 5, "no valid configuration"),
        ("about.config.eval.top_k", 2.5, "no valid configuration"),
        ("about.config.eval", 2.5, "no valid configuration"),
        ("facts.model", 5, r"was made with model=5"),
    ],
)
def test_a_damaged_or_strange_index_is_one_sentence(copied, place, value, says):
    _, target = copied
    stored = index.describe(target)
    *parts, last = place.split(".")
    functools.reduce(operator.getitem, parts, stored)[last] = value
    (target / "index.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=says):
        search.Searcher(target)


def test_paths_that_lead_outside_are_left_alone(copied, tmp_path):
    """A stranger's log names a file elsewhere; to forget it removes features alone."""
    videos, target = copied
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    with (target / "videos.jsonl").open("a") as log:
        for path in ("../outside.txt", str(outside)):
            log.write(json.dumps([path, [4, 4], ""]) + "\n")
    indexed = search.index_videos(configuration(), videos, target)
    assert indexed.videos == ("0.mp4", "9.mp4", "more [abc]/20.mp4")
    assert outside.read_text() == "mine"


def test_another_process_indexing_is_named(copied):
    videos, target = copied
    with (
        disk.held(target),
        pytest.raises(UserError, match=rf"index is being written by process {os.getpid()} on"),
    ):
        search.index_videos(configuration(), videos, target)
    with disk.held(target):
        assert search.Searcher(target)([caption(0)])[0]


@pytest.mark.slow
def test_an_index_knows_its_schedule_layer_by_layer(copied):
    videos, target = copied
    config = configuration().override({"model.merger.r": 20})
    search.index_videos(config, videos, target.with_name("new"))
    stored = index.describe(target.with_name("new"))["about"]["config"]
    assert stored["model"]["merger"]["r"] == [20] * 4
    assert search.Searcher(target.with_name("new"))([caption(0)])[0]


@pytest.mark.slow
def test_weights_that_moved_or_changed_are_told(copied, tmp_path):
    videos, target = copied
    here, there = tmp_path / "here.safetensors", tmp_path / "there.safetensors"
    shutil.copy(WEIGHTS, here)
    search.index_videos(configuration(here), videos, target)
    here.rename(there)
    with pytest.raises(UserError, match=r"here\.safetensors does not exist.*index again with"):
        search.Searcher(target)
    before = {file: file.stat().st_mtime_ns for file in (target / "features").iterdir()}
    search.index_videos(configuration(there), videos, target)
    assert before == {file: file.stat().st_mtime_ns for file in (target / "features").iterdir()}
    search.Searcher(target)
    weights = load_file(there)
    save_file({name: np.asarray(2 * array) for name, array in weights.items()}, there)
    with pytest.raises(UserError, match=r"was made with checkpoint=\w+ \(now \w+\); use those"):
        search.Searcher(target)


@pytest.mark.slow
def test_the_script_ranks_for_every_query(made):
    done = run("query", f"--index={made[1]}", "--top=2", "--norerank", caption(20), "[red] squares")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("[red] squares")
    assert first.index("more [abc]/20.mp4") < first.rindex(".mp4")
    assert [text.count(".mp4") for text in (first, second)] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say `index` or `query`"),
        (["find"], "'find' is no command; say `index` or `query`"),
        (["query", "a"], "--index is missing"),
        (["query", "--index=nowhere", "a"], "nowhere holds no index; make one by"),
        (["index", "--index=x", "--videos=y"], "--config is missing"),
        (["index", "--index=x", "--config=configs/demo.py"], "--videos is missing"),
        (["index", "--index=x", "--videos=y", "z"], "unknown argument 'z'"),
        (["index", "--index=x", "--videos=y", "--top=3"], "`index` takes no --top"),
        (["query", "--index=x"], "`query` needs a text"),
        (["query", "--index=x", "--config=configs/demo.py", "a"], "`query` takes no --config"),
        (["query", "--index=x", "--top=0", "a"], "--top=0"),
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
    few = ("--config.eval.batch_size=1", "--config.mesh.data=1", "--config.data.workers=0")
    process = subprocess.Popen(
        [sys.executable, "scripts/search.py", *arguments, *few],
        cwd=script.ROOT,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
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
