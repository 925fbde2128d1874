"""Random erasing against its definition."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax.training import erasing
from tokmerge_jax.training.objectives import actions

HEIGHT, WIDTH = 40, 56


def defined(rng):
    """A box of the definition: (top, bottom, left, right)."""
    while True:
        area = rng.uniform(0.02, 1 / 3) * HEIGHT * WIDTH
        aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < HEIGHT and w < WIDTH:
            top, left = rng.integers(0, HEIGHT - h + 1), rng.integers(0, WIDTH - w + 1)
            return top, top + h, left, left + w


def test_boxes_have_the_law_of_the_definition():
    number = 4000
    keys = jax.random.split(jax.random.key(5), number)
    boxes = jax.jit(jax.vmap(lambda key: erasing.draw_box(key, HEIGHT, WIDTH)))(keys)
    own = np.stack([np.asarray(side) for side in boxes], axis=1)
    rng = np.random.default_rng(5)
    expected = np.array([defined(rng) for _ in range(number)])

    def facts(boxes):
        top, bottom, left, right = boxes.T
        h, w = bottom - top, right - left
        return {"top": top, "left": left, "h": h, "w": w, "area": h * w, "aspect": h / w}

    for name, values in facts(own).items():
        both = np.sort(np.concatenate([values, facts(expected)[name]]))
        shares = (
            np.searchsorted(np.sort(each), both, side="right") / number
            for each in (values, facts(expected)[name])
        )
        first, second = shares
        # Kolmogorov and Smirnov: beyond 0.0436 in one of 1000 pairs of samples
        assert np.abs(first - second).max() < 0.0436, name
    top, bottom, left, right = own.T
    assert top.min() == 0
    assert left.min() == 0
    assert bottom.max() == HEIGHT
    assert right.max() == WIDTH


def erased(share, clips=200):
    video = jnp.full((clips, 2, 16, 16, 3), 9.0)
    return np.asarray(jax.jit(erasing.erase, static_argnums=2)(jax.random.key(1), video, share))


def test_noise_replaces_one_box_in_all_frames():
    video = erased(1.0)
    changed = video != 9
    assert (changed == changed[:, :1, :, :, :1]).all()  # frames and colours alike
    for marks in changed[:, 0, :, :, 0]:
        rows, columns = marks.any(axis=1), marks.any(axis=0)
        assert marks.sum() == rows.sum() * columns.sum() > 0  # a rectangle
        assert np.ptp(np.flatnonzero(rows)) + 1 == rows.sum()  # without holes
        assert np.ptp(np.flatnonzero(columns)) + 1 == columns.sum()
    noise = video[changed]
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert len(np.unique(noise)) > 0.99 * len(noise)  # each pixel of its own


def test_as_many_clips_as_the_share_says():
    changed = (erased(0.25, clips=2000) != 9).any(axis=(1, 2, 3, 4))
    assert changed.mean() == pytest.approx(0.25, abs=0.04)  # four standard errors
    assert not (erased(0.0) != 9).any()


class Seen:
    """A network that keeps what it is asked to classify."""

    def __init__(self):
        self.videos = []

    def __call__(self, video, *, train=False):
        self.videos.append(np.asarray(video))
        return jnp.zeros((len(video), 3))


@pytest.mark.parametrize("train", [True, False])
def test_training_alone_erases(train):
    network = Seen()
    batch = {"video": np.full((8, 2, 16, 16, 3), 9.0, np.float32), "label": np.zeros(8, np.int32)}
    actions.classification(
        lambda params, key: network,
        {},
        batch,
        jax.random.key(0),
        classes=3,
        erasing=1.0,
        train=train,
    )
    changed = (network.videos[0] != 9).any(axis=(1, 2, 3, 4))
    assert changed.all() == train
    assert changed.any() == train
