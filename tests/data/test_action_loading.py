"""Clips of actions: the frames of all views, samples of one reading, labels in a mirror."""

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from PIL import Image

from tokmerge_jax import data
from tokmerge_jax.config.common import ActionData, Data
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Action, Clip
from tokmerge_jax.data.pixels.action_crops import ResizeCrops
from tokmerge_jax.data.sampling.frames import by_intervals
from tokmerge_jax.data.sampling.segments import Segments
from tokmerge_jax.data.video import clips
from tokmerge_jax.types import UserError

LABELS = (86, 5, 166, 93, 7)
T, M = 2, 3


@dataclasses.dataclass(frozen=True)
class Shown:
    """Frames -> their brightness, a draw beside it; half of the samples are told to be mirrored."""

    def __call__(self, frames, rng):
        light = np.broadcast_to(frames[:, :1, :1, :1], (len(frames), 1, 1, 2)).copy()
        light[..., 1] = rng.integers(256)
        return light, bool(light[0, 0, 0, 1] % 2)


def collate(rows):
    return {"label": np.array([row.label for row in rows], np.int32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folders of 10 frames, frame i of video v of brightness 40 v + 4 i; the last has but one."""
    folder, records = tmp_path_factory.mktemp("data"), []
    for video, label in enumerate(LABELS):
        count = 10 if video < 4 else 1
        (folder / str(video)).mkdir()
        for i in range(count):
            pixels = np.full((8, 12, 3), 40 * video + 4 * i, np.uint8)
            Image.fromarray(pixels).save(folder / str(video) / f"{i + 1:05d}.png")
        clip = Clip(str(video), f"{video}/{{:05d}}.png")
        records.append(Action((clip,), label, count))
    gone = Action((Clip("gone", "gone/{:05d}.png"),), 5, 10)
    splits = {"train": records, "val": records, "test": [*records[:4], gone]}
    video_text.write(str(folder), "ssv2", splits)
    return folder


def config(folder, **changes):
    base = {"dataset": "ssv2", "folder": str(folder), "neighbours": M, "wrap": False, "workers": 0}
    return ActionData().override({**base, **changes})


def test_all_views_of_the_videos(folder):
    source = data.open_actions(config(folder), T)
    assert source.gallery.videos == tuple("01234")
    assert source.gallery.labels == LABELS
    assert source.gallery.names == tuple(map(str, range(174)))
    batches = list(source.batches(ResizeCrops(4, (4, 6), 3), 2))
    video = np.concatenate([batch["video"][batch["mask"]] for batch in batches])
    assert video.shape == (5, 3 * 2 * T * M, 4, 4, 3)
    # Of 10 frames in two segments of 4.5: at 0 and 4, and 1/3 and 2/3 of a segment later.
    clip = np.array([[0, 1, 2], [4, 5, 6], [2, 3, 4], [6, 7, 8]]).ravel()
    expected = 40 * np.arange(5)[:, None] + np.array([*[4 * clip] * 4, 0 * clip])
    np.testing.assert_array_equal(video[..., 0, 0, 0], np.tile(expected, 3))


def test_the_rule_of_a_configuration(folder):
    decode = clips.decoder(config(folder, sampling="ticks", wrap=True), 8, "")
    assert decode.choose == Segments("ticks", 2, M, True)
    assert clips.decoder(Data(), 8, "").choose is by_intervals
    with pytest.raises(UserError, match=r"sampling='intervals' is unknown; known: segments, ticks"):
        clips.decoder(config(folder, sampling="intervals"), 8, "")
    with pytest.raises(UserError, match=r"sampling='ticks' is unknown; known: intervals, seconds"):
        clips.decoder(Data(sampling="ticks"), 8, "")


def training(source, batch_size, count, step=0):
    return list(itertools.islice(source.batches(Shown(), collate, batch_size, 3, step), count))


def opened(folder, samples=2, **changes):
    return data.open_training(config(folder, **changes), T, samples=samples)


def test_samples_show_the_same_frames_each_in_its_own_way(folder, capsys):
    source = opened(folder)
    assert "1 of 5 videos of ssv2, split train, are listed with less" in capsys.readouterr().err
    assert len(source) == 8  # of 4 videos
    batches = training(source, 4, 4)
    video = np.concatenate([batch["video"] for batch in batches])
    assert video.shape == (16, T * M, 1, 1, 2)
    video = video.reshape(4, 2, 2, T * M, 1, 1, 2).swapaxes(1, 2)  # samples of a video together
    light, draws = np.moveaxis(video.reshape(16, T * M, 2), -1, 0)
    np.testing.assert_array_equal(light[0::2], light[1::2])
    assert (draws[0::2] != draws[1::2]).any(1).all()
    for epoch in (light[:8], light[8:]):
        assert sorted(epoch[::2, 0] // 40) == [0, 1, 2, 3]
    assert (light[:8] != light[8:]).any()
    middles = light.reshape(-1, T, M)[..., 1] % 40 // 4  # one of each half of the video
    assert ((middles >= [0, 5]) & (middles < [5, 10])).all()


def test_labels_follow_the_mirror(folder):
    mirror = {86: 87, 5: 5, 166: 167, 93: 94}
    seen = set()
    for batch in training(opened(folder), 8, 6):
        for video, label in zip(batch["video"][:, 0, 0, 0], batch["label"], strict=True):
            true, mirrored = LABELS[video[0] // 40], bool(video[1] % 2)
            assert label == (mirror[true] if mirrored else true)
            seen.add((true, mirrored))
    assert len(seen) == 8


def test_training_goes_on_at_any_step_and_in_other_processes(folder):
    source = opened(folder)
    whole = training(source, 4, 5)
    rest = training(pickle.loads(pickle.dumps(source)), 4, 2, step=3)
    for one, other in zip(whole[3:], rest, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_a_video_that_breaks_is_replaced_with_all_its_samples(folder, capfd):
    source = data.open_training(config(folder, on_broken="skip"), T, "test", samples=2)
    batches = training(source, 10, 3)
    assert "gone" in capfd.readouterr().err
    for batch in batches:
        light = batch["video"][:, :, 0, 0, 0]
        np.testing.assert_array_equal(light[:5], light[5:])
        assert set(light[:, 0] // 40) == {0, 1, 2, 3}


@pytest.mark.parametrize(("samples", "size"), [(2, 3), (3, 4), (0, 4)])
def test_samples_of_a_video_stay_together(folder, samples, size):
    message = rf"batch_size={size} must be a multiple of config\.train\.samples={samples}"
    with pytest.raises(UserError, match=message):
        training(opened(folder, samples), size, 1)
    with pytest.raises(UserError, match=r"batch_size=10 is more than the 8 training samples"):
        training(opened(folder), 10, 1)


def test_other_kinds_of_data_sets_are_refused(folder):
    with pytest.raises(UserError, match="'ssv2' holds actions, but captions are needed"):
        data.open_retrieval(config(folder), T)
    with pytest.raises(UserError, match="'demo' holds captions, but actions are needed"):
        data.open_actions(config(folder, dataset="demo"), T)
