"""The demo's clips: what is told is what is drawn, and files hold it."""

import dataclasses
import os

import av
import clips
import numpy as np
import pytest

from tokmerge_jax import data
from tokmerge_jax.configs import demo as demo_config
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.data.datasets.demo.scene import COLOURS, DIRECTIONS, EVENTS, Event
from tokmerge_jax.data.text.tokenizers import UMT, Tokenizer
from tokmerge_jax.data.video.decode import open_video
from tokmerge_jax.tasks import preparation

WHITE, PURPLE = (Event("large", colour, "circle", "left") for colour in ("white", "purple"))


def centres(frames, colour):
    """Mean place [T,2] of the pixels near a colour, nan where there are none."""
    near = np.abs(frames.astype(int) - COLOURS[colour]).max(axis=-1) < 40
    with np.errstate(invalid="ignore"):
        weight = near.sum(axis=(1, 2))
        rows = (near.sum(axis=2) @ np.arange(scene.EDGE)) / weight
        columns = (near.sum(axis=1) @ np.arange(scene.EDGE)) / weight
    return np.stack([rows, columns], axis=1)


def test_splits_share_no_story():
    train, test = demo.stories("train"), demo.stories("test")
    assert len(train) >= 1000
    assert len(test) >= 200
    assert len(set(test)) == len(test)
    assert not set(train) & set(test)


def test_each_test_story_is_told_in_both_orders():
    told = set(demo.stories("test"))
    assert all((second, first) in told for first, second in told)


@pytest.mark.parametrize("seed", range(20))
def test_twins_differ_in_movement_alone(seed):
    one, reverse, other, other_reverse = scene.twins((1, seed), frozenset())
    assert (reverse, other_reverse) == (one[::-1], other[::-1])
    for event, turned in zip(one, other, strict=True):
        assert dataclasses.replace(turned, direction=event.direction) == event
        assert turned.direction != event.direction


def test_twins_follow_one_another_and_are_never_held_out():
    stories, held_out = demo.stories("twins"), frozenset(demo.stories("test"))
    assert stories[4:8] == tuple(scene.twins((4, 1), held_out))
    assert held_out.isdisjoint(stories)
    (first, *_) = scene.twins((4, 0), frozenset())
    assert first not in scene.twins((4, 0), frozenset([first]))


def test_what_is_drawn_unless_splits_are_named():
    assert preparation.drawn("demo") == {"train": 3000, "val": 200, "test": 200}
    assert preparation.drawn("demo", ["mixed"]) == {"mixed": 6000}
    assert not preparation.drawn("msvd")


def test_twins_and_random_stories_in_turn():
    stories, held_out = demo.stories("mixed"), frozenset(demo.stories("test"))
    assert len(stories) == demo.COUNTS["mixed"]
    assert stories[4:8] == tuple(scene.twins((6, 1), held_out))
    assert stories[9] == scene.train_story((6, 2, 1), held_out)
    assert held_out.isdisjoint(stories)


def test_captions_say_everything():
    story = (Event("small", "red", "cross", "up"), Event("large", "blue", "square", "left"))
    expected = "a small red cross moves up, then a large blue square moves left"
    assert scene.caption(story) == expected


def test_vocabulary_has_every_word():
    config = demo_config.get_config()
    captions = [scene.caption((event, EVENTS[0])) for event in EVENTS]
    words, length = config.model.text.vocab_size, config.data.max_text_length
    ids, mask = Tokenizer(UMT, config.data.vocabulary, length, words)(captions)
    assert not (ids == 1).any()  # [UNK]
    assert len(np.unique(ids, axis=0)) == len(captions)
    assert mask.sum(axis=1).tolist() == [1 + 6 + 1 + 6] * len(captions)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_shapes_move_where_the_caption_says(direction):
    story = (Event("large", "white", "circle", direction), PURPLE)
    way = np.asarray(DIRECTIONS[direction])
    for seed in range(5):
        path = centres(scene.draw(story, (seed,)), "white")[: scene.EVENT_FRAMES]
        along, across = np.diff(path, axis=0) @ way, np.diff(path, axis=0) @ way[::-1]
        assert (along > 3).all()
        assert (np.abs(across) < 1).all()


@pytest.mark.parametrize("colours", [("white", "purple"), ("red", "white", "purple", "green")])
def test_events_come_in_order(colours):
    story = [Event("large", colour, "circle", "left") for colour in colours]
    frames, each = scene.draw(story, (7,)), scene.EVENT_FRAMES
    assert len(frames) == each * len(story)
    for i, colour in enumerate(colours):
        seen = ~np.isnan(centres(frames, colour)[:, 0])
        assert np.flatnonzero(seen).tolist() == list(range(each * i, each * (i + 1)))


def test_sizes_and_shapes_differ():
    def area(size, shape):
        story = (Event(size, "white", shape, "up"), PURPLE)
        frame = scene.draw(story, (3,))[3].astype(int)
        return (np.abs(frame - COLOURS["white"]).max(axis=-1) < 40).sum()

    for shape in scene.SHAPES:
        assert area("large", shape) > 2 * area("small", shape)
    assert len({area("large", shape) for shape in scene.SHAPES}) == len(scene.SHAPES)


def test_background_is_textured_and_drifts_slowly():
    frames = scene.draw((WHITE, PURPLE), (11,))[:, :8].astype(float)  # above all shapes
    still = np.ones(scene.EDGE, bool)
    still[10:-10] = False
    border = frames[:, :, still]
    step = np.abs(np.diff(border, axis=0)).mean()
    assert border.std() > 5
    assert 0.05 < step < border.std() / 4


def test_clips_are_functions_of_their_seed():
    story = (WHITE, PURPLE)
    np.testing.assert_array_equal(scene.draw(story, (5,)), scene.draw(story, (5,)))
    assert (scene.draw(story, (5,)) != scene.draw(story, (6,))).any()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared demo of few clips."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "COUNTS", {"train": 6, "test": 4})
        demo.stories.cache_clear()
        demo.prepare(str(folder), ["train", "test"], workers=1)
        yield folder
    demo.stories.cache_clear()


def test_files_hold_what_was_drawn(folder):
    path = folder / "demo_videos/test/00002.mp4"
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec.name == "h264"
    decoded = clips.decode_all(path).astype(float)
    drawn = scene.draw(demo.stories("test")[2], (2, 2))
    assert decoded.shape == drawn.shape
    assert np.abs(decoded - drawn).mean() < 4


def test_opened_like_any_other(folder):
    config = (
        demo_config.get_config().resolved().data.override({"folder": str(folder), "workers": 0})
    )
    source = data.open_retrieval(config, 8)
    captions = tuple(scene.caption(story) for story in demo.stories("test"))
    assert source.gallery.texts == captions
    assert source.gallery.relevant == ((0,), (1,), (2,), (3,))
    with open_video(folder / "demo_videos/test/00001.mp4") as video:
        expected = video.read(range(0, 16, 2))
    batch = next(source.batches(lambda frames: frames, 4))
    np.testing.assert_array_equal(batch["video"][1], expected)
    assert len(data.open_training(config, 8)) == 6


def test_going_on_draws_what_is_missing(folder, monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    files = sorted((folder / "demo_videos").rglob("*.mp4"))
    lost = files[3]
    before = {file: file.stat().st_mtime_ns for file in files}
    drawn = clips.decode_all(lost).astype(float)
    lost.unlink()
    demo.prepare(str(folder), ["train", "test"], workers=1)
    assert sorted((folder / "demo_videos").rglob("*.mp4")) == files
    for file in files:
        assert (file.stat().st_mtime_ns == before[file]) == (file != lost)
    assert np.abs(clips.decode_all(lost) - drawn).mean() < 1  # encoders may differ in a bit
    assert "OPENBLAS_NUM_THREADS" not in os.environ  # it was for the processes that drew
