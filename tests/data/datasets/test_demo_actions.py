"""The demo's actions: clips show what their numbers say, and partners only in another order."""

import av
import clips
import numpy as np
import pytest

from tokmerge_jax import data
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.data.datasets import demo, prepared
from tokmerge_jax.data.datasets.demo import actions, motion
from tokmerge_jax.data.datasets.demo.motion import FRAMES, MIRRORED, NAMES
from tokmerge_jax.data.datasets.demo.scene import EDGE
from tokmerge_jax.data.datasets.galleries import ActionRow

ACTIONS = range(len(NAMES))


def made(action, seed):
    """Where both shapes are, and from which distance on they touch."""
    rng = np.random.default_rng(seed)
    radii = rng.uniform(10, 13, size=2)
    return motion.places(action, rng, radii), radii.sum()


def shown(places, apart):
    """The name of the action that a person sees, from the two shapes' places [2,T,2]."""
    mover, other = places
    (down, right), gap = mover[-1] - mover[0], np.linalg.norm(mover - other, axis=1)
    near = gap < apart + 0.01
    if np.ptp(other, axis=0).max() > 1:  # the other one moves too, always with the first
        assert near.any()
        assert not near.all()
        np.testing.assert_allclose(np.diff(other, axis=0)[~near[1:] & ~near[:-1]], 0, atol=1e-9)
        return "pushes a shape" if near[-1] else "drags a shape and lets go"
    if np.ptp(gap) < 0.01:
        y, x = (mover - other).T
        turned = (x[:-1] * y[1:] - y[:-1] * x[1:]).sum()  # clockwise above 0, as rows go down
        return "circles clockwise" if turned > 0 else "circles counter-clockwise"
    if near.any():
        return "comes to a shape" if near[-1] else "leaves a shape"
    assert min(abs(down), abs(right)) < 1e-9
    if abs(right) > abs(down):
        return "moves left" if right < 0 else "moves right"
    return "moves up" if down < 0 else "moves down"


@pytest.mark.parametrize("action", ACTIONS)
def test_clips_show_what_their_actions_are_called(action):
    for seed in range(40):
        assert shown(*made(action, seed)) == NAMES[action]


@pytest.mark.parametrize("action", ACTIONS)
def test_backwards_an_action_is_its_partner(action):
    for seed in range(10):
        places, apart = made(action, seed)
        assert shown(places[:, ::-1], apart) == NAMES[action ^ 1]


@pytest.mark.parametrize("action", ACTIONS)
def test_the_mirror_image_of_an_action(action):
    for seed in range(10):
        places, apart = made(action, seed)
        mirrored = np.stack([places[..., 0], EDGE - places[..., 1]], axis=-1)
        assert shown(mirrored, apart) == NAMES[MIRRORED.get(action, action)]


@pytest.mark.parametrize("action", range(0, len(NAMES), 2))
def test_a_scene_is_shown_forwards_and_backwards(action):
    """Frame by frame the same pixels, and so the same mean of frames, as two clips of a split."""
    forwards, backwards = (actions.draw(action + i, (3, action + i)) for i in (0, 1))
    np.testing.assert_array_equal(forwards, backwards[::-1])
    assert (forwards[0] != forwards[-1]).any()


@pytest.mark.parametrize("action", range(0, len(NAMES), 2))
def test_partners_are_at_the_same_places(action):
    """How often each shape is in each part of a frame, over independent scenes."""
    one, other = (
        np.stack([made(a, seed)[0] for seed in range(first, first + 600)], axis=1)
        for a, first in ((action, 0), (action ^ 1, 1000))
    )
    for shape in (0, 1):
        share, others = (
            np.histogramdd(places[shape].reshape(-1, 2), 4, [(0, EDGE)] * 2)[0] / (600 * FRAMES)
            for places in (one, other)
        )
        np.testing.assert_allclose(share, others, atol=0.06)


@pytest.mark.parametrize("action", ACTIONS)
def test_shapes_stay_in_the_picture_and_move_by_a_pixel_a_frame(action):
    for seed in range(40):
        (mover, other), _ = made(action, seed)
        assert min(mover.min(), other.min()) >= 10
        assert max(mover.max(), other.max()) <= EDGE - 10
        speed = np.linalg.norm(np.diff(mover, axis=0), axis=1)
        moving = speed > 1e-6
        assert 0.55 * FRAMES < moving.sum() < FRAMES
        assert speed[moving].min() > 0.9


def test_drawn_is_what_the_places_say(monkeypatch):
    """The pixels that change are where the moving shape was or came to."""
    plain = np.full((FRAMES, EDGE, EDGE, 3), 110.0)
    monkeypatch.setattr(motion.scene, "background", lambda *_: plain.copy())
    for action in (0, 3, 8):
        rng = np.random.default_rng((3, 1))
        mover, _ = motion.places(action, rng, rng.uniform(10, 13, size=2))
        first, last = motion.draw(action, (3, 1))[[0, -1]].astype(int)
        rows, columns = np.nonzero(np.abs(last - first).max(axis=-1) > 60)
        ends = mover[[0, -1]][:, None] - np.stack([rows, columns], axis=1)
        distances = np.linalg.norm(ends, axis=-1)
        assert (distances.min(axis=0) < 18).all()
        assert ((distances < 9).sum(axis=1) > 20).all()


@pytest.mark.parametrize("split", actions.COUNTS)
def test_splits_have_each_action_as_often_and_partners_together(split):
    labels = actions.labels(split)
    assert len(labels) == actions.COUNTS[split]
    assert set(np.bincount(labels)) == {len(labels) // len(NAMES)}
    assert all(a ^ 1 == b for a, b in zip(labels[::2], labels[1::2], strict=True))


def test_every_scene_is_another():
    first, other = (motion.draw(2, seed) for seed in ((1, 0), (1, 5)))
    assert (first != other).mean() > 0.5
    np.testing.assert_array_equal(first, motion.draw(2, (1, 0)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared data set, drawn without processes, which take long to begin."""
    folder = tmp_path_factory.mktemp("demo_actions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actions, "COUNTS", {"train": 12, "test": 2})
        for split in actions.COUNTS:
            for number, label in enumerate(actions.labels(split)):
                path = folder / demo.clip("demo_actions", split, number).path
                path.parent.mkdir(parents=True, exist_ok=True)
                if split == "train":
                    path.write_bytes(b"-")  # not empty: that is all that is asked of it
                else:
                    frames = actions.draw(label, (demo.SEEDS[split], number))
                    demo.write_clip(path, frames)
        actions.prepare(str(folder), ["train", "test"], workers=1)
    return folder


def test_opened_like_any_other(folder):
    config = ActionData(
        dataset="demo_actions", split="test", folder=str(folder), clips=1, neighbours=5, workers=0
    )
    source = data.open_actions(config, 8)
    assert source.gallery.names == NAMES == prepared.labels(config)
    assert source.gallery.labels == (0, 1)
    batch = next(source.batches(lambda frames: frames, 2))
    assert batch["video"].shape == (2, 8 * 5, EDGE, EDGE, 3)
    rows = [row for row in data.open_training(config, 8).rows if isinstance(row, ActionRow)]
    assert [row.label for row in rows] == [*ACTIONS, 0, 1]
    assert [row.mirrored for row in rows] == [1, 0, 2, 3, 4, 5, 6, 7, 9, 8, 1, 0]


def test_files_hold_what_was_drawn(folder):
    path = folder / "demo_actions_videos/test/00001.mp4"
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec.name == "h264"
    decoded = clips.decode_all(path).astype(float)
    drawn = motion.draw(1, (2, 0))
    assert decoded.shape == drawn.shape == (FRAMES, EDGE, EDGE, 3)
    assert np.abs(decoded - drawn).mean() < 4
