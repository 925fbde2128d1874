"""Searching a folder of videos as a user does, by the scripts and from Python."""

import functools
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
from PIL import Image
from safetensors.numpy import load_file, save_file

from tokmerge_jax import disk
from tokmerge_jax.configs import demo as demo_config
from tokmerge_jax.configs import demo_clip
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.own_videos import index, search
from tokmerge_jax.own_videos.filters import Filter
from tokmerge_jax.own_videos.packing import unpack
from tokmerge_jax.own_videos.table import Table, lance
from tokmerge_jax.own_videos.windows import Window
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
    """Path -> embedding [E] and tokens [N,E], if they are kept."""
    rows = lance.dataset(str(target / "videos.lance")).to_table().to_pylist()
    return {
        row["path"].decode(): (np.float32(row["embedding"]), unpacked(row["tokens"] or b""))
        for row in rows
        if not row["fault"]
    }


def unpacked(tokens):
    """Tokens that did not merge."""
    count = len(tokens) // (8 + 128)
    return unpack(tokens, (count, 128)) if count else np.empty((0, 128))


def commits(target):
    """Path -> the version of the table in which its row was written."""
    columns = ["path", "_row_created_at_version"]
    rows = lance.dataset(str(target / "videos.lance")).to_table(columns=columns).to_pylist()
    return {row["path"].decode(): row["_row_created_at_version"] for row in rows}


def equal(ours, others):
    assert ours.keys() == others.keys()
    for path, (embedding, tokens) in others.items():
        np.testing.assert_allclose(ours[path][0], embedding, rtol=1e-4, atol=1e-5)
        step = np.abs(tokens).max() / 127  # where rounding errors cross half a step
        np.testing.assert_allclose(ours[path][1], tokens, rtol=1e-4, atol=step)


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
    for embedding, tokens in features(tmp_path / "index").values():
        assert (embedding.shape, tokens.size) == ((128,), 0)
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
    assert (tmp_path / "broken.txt").read_text() == (made[1] / "broken.txt").read_text()
    equal(features(tmp_path), features(made[1]))


@pytest.fixture
def copied(made, tmp_path):
    """The same, to be changed."""
    videos, target = tmp_path / "videos", tmp_path / "index"
    shutil.copytree(made[0], videos)
    shutil.copytree(made[1], target)
    about = index.describe(target)
    about["about"]["videos"] = str(videos)
    Table(target).about = about
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


@pytest.mark.slow
def test_videos_like_another(made, tmp_path):
    videos, target = made
    searcher = search.Searcher(target)
    frame = scene.draw(demo.stories("test")[20], (2, 20))[0]
    Image.fromarray(frame).save(tmp_path / "frame.png")
    same, picture = searcher.like([videos / "9.mp4", tmp_path / "frame.png"], top_k=3)
    assert (same[0].path, len(same), same[0].score) == ("9.mp4", 3, None)
    assert same[0].cosine == pytest.approx(1, abs=1e-5)
    assert picture[0].path == "more [abc]/20.mp4"
    (others,) = searcher.like([same[0]])
    assert [hit.path for hit in others] == [hit.path for hit in same[1:]]
    (inside,) = searcher.like([same[0]], where=Filter("more [abc]"))
    assert [hit.path for hit in inside] == ["more [abc]/20.mp4"]
    with pytest.raises(UserError, match=r"bad\.MKV: cannot be decoded"):
        searcher.like([videos / "bad.MKV"])


@pytest.mark.slow
def test_moments_of_a_long_video(tmp_path):
    """Three scenes of 2 s: each is found where it is, also by a hit, and the whole by its name."""
    videos, target = tmp_path / "videos", tmp_path / "index"
    scenes = [scene.draw(demo.stories("test")[n], (2, n)) for n in (0, 20, 9)]
    begins = np.cumsum([0, *map(len, scenes)]) / 8
    videos.mkdir()
    demo.write_clip(videos / "film.mp4", np.concatenate(scenes))
    indexed = search.index_videos(configuration(), videos, target, window=2, stride=1)
    assert indexed.videos == ("film.mp4",)
    searcher = search.Searcher(target)
    for number, begin, end in zip((0, 20, 9), begins[:-1], begins[1:], strict=True):
        ((hit, *_),) = searcher([caption(number)], rerank=False)
        assert begin - 1 <= hit.start < hit.stop <= end + 1
        assert hit.duration == begins[-1]
        assert all(not (o.start < hit.stop and hit.start < o.stop) for o in searcher.like([hit])[0])
    with pytest.raises(UserError, match=r"made with .*window=2\.0 \(now 8\.0\)"):
        search.index_videos(configuration(), videos, target)
    for window, stride in ((-1, None), (float("nan"), None), (2, 3), (2, 0)):
        with pytest.raises(UserError, match=r"(window|stride)=.* must be"):
            search.index_videos(
                configuration(), videos, tmp_path / "x", window=window, stride=stride
            )


@pytest.mark.slow
def test_an_index_without_tokens_ranks_by_cosine(made, tmp_path):
    indexed = search.index_videos(configuration(), made[0], tmp_path, tokens=False)
    assert indexed.videos == ("0.mp4", "9.mp4", "more [abc]/20.mp4")
    assert {tokens.size for _, tokens in features(tmp_path).values()} == {0}
    (kept,) = search.Searcher(made[1])([caption(9)], rerank=False)
    (hits,) = search.Searcher(tmp_path)([caption(9)])
    assert [hit.score for hit in hits] == [None] * 3
    np.testing.assert_allclose([h.cosine for h in hits], [h.cosine for h in kept], rtol=1e-5)
    with pytest.raises(UserError, match=r"made with tokens=0 \(now \d+\)"):
        search.index_videos(configuration(), made[0], tmp_path)


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


@pytest.mark.slow
def test_only_what_changed_is_encoded(copied):
    videos, target = copied
    before = commits(target)
    write_clips(videos, [31])
    (videos / "bad.MKV").write_text("still no video")
    (videos / "9.mp4").unlink()
    indexed = search.index_videos(configuration(), videos, target)
    assert indexed.videos == ("0.mp4", "31.mp4", "more [abc]/20.mp4")
    assert list(indexed.faults) == ["bad.MKV"]
    kept = before.items() & commits(target).items()
    assert {path for path, _ in kept} == {"0.mp4", "more [abc]/20.mp4"}
    shutil.copy(videos / "31.mp4", videos / "0.mp4")
    (videos / "bad.MKV").unlink()
    search.index_videos(configuration(), videos, target)
    assert not (target / "broken.txt").exists()
    stored = features(target)
    np.testing.assert_allclose(stored["0.mp4"][0], stored["31.mp4"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_devices_and_batches_do_not_matter(made, tmp_path):
    search.index_videos(configuration(data=1), made[0], tmp_path)  # batches of 2 instead of 8
    equal(features(tmp_path), features(made[1]))


@pytest.mark.slow
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
        ("about", None, r"videos\.lance is damaged"),
        ("about.videos", 5, r"videos\.lance is damaged"),
        ("about.config", [], r"videos\.lance is damaged"),
        ("about.config.system", "none_such", "config.system='none_such' is unknown"),
        ("about.config.model", {}, "weights that it was made with: .*do not fit"),
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
    Table(target).about = stored
    with pytest.raises(UserError, match=says):
        search.Searcher(target)


def test_paths_that_lead_outside_are_left_alone(copied, tmp_path):
    """A stranger's table names a file elsewhere; to forget it removes its row alone."""
    videos, target = copied
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    for path in ("../outside.txt", str(outside)):
        window = Window(path, 0.0, 1.0, 1.0, 8, True)
        Table(target).append([window], {path: (4, 4)}, np.ones((1, 128), np.float32), None)
    indexed = search.index_videos(configuration(), videos, target)
    assert indexed.videos == ("0.mp4", "9.mp4", "more [abc]/20.mp4")
    assert outside.read_text() == "mine"


@pytest.mark.slow
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
    before = commits(target)
    search.index_videos(configuration(there), videos, target)
    assert {path: before[path] for path in features(target)}.items() <= commits(target).items()
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
        ([], "say `index`, `query` or `like`"),
        (["find"], "'find' is no command; say `index`, `query` or `like`"),
        (["query", "--index=x", "--since=May", "a"], "--since=May is no day; write 2024-06-30"),
        (["like", "--index=x"], "`like` needs a video or picture"),
        (["index", "--index=x", "--videos=y", "--folder=z"], "`index` takes no --folder"),
        (["query", "--index=x", "--window=2", "a"], "`query` takes no --window"),
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
    deadline = time.monotonic() + 120
    while not Table.exists(target) or len(Table(target)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = commits(target)
    assert 2 <= len(before) < 12
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    assert "12 videos can be searched" in again.stdout
    assert before.items() <= commits(target).items()
    answer = run("query", f"--index={target}", "--top=1", caption(7))
    assert f"{videos / '7.mp4'}" in answer.stdout.replace("\n", "").replace(" ", "")
