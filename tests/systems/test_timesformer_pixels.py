"""The pixels of TESTA's systems, against the original's."""

import golden
import jax.numpy as jnp
import numpy as np
import pytest
import testa_case

import tokmerge_jax
from tokmerge_jax.systems.towers import CLIP_MEAN as MEAN
from tokmerge_jax.systems.towers import CLIP_STD as STD
from tokmerge_jax.systems.towers.timesformer import TimeSformerTower

CASE = golden.load("testa-augment")
IMAGE = CASE.arrays["in/image"].astype(np.uint8)

normalise = TimeSformerTower(testa_case.testa.Retrieval()).normalise


def small(**vision):
    text = {"width": 32, "heads": 2, "depth": 1, "mlp_width": 32}
    sizes = {"vision": {"width": 32, "heads": 2, "depth": 2, **vision}, "text": text}
    return testa_case.testa.Retrieval().override({"model": {**sizes, "merger": {"r": 1}}})


@pytest.mark.parametrize(("name", "image"), [("norm", IMAGE), ("norm_dark", IMAGE // 128)])
def test_pixels_are_the_originals(name, image):
    ours = normalise(image[None, None])
    theirs = np.moveaxis(CASE.arrays[name][0], 0, -1)
    np.testing.assert_allclose(ours[0, 0], theirs, atol=1e-6)


def test_a_clip_without_a_byte_above_one_is_not_divided():
    dark = np.zeros((4, 4, 3), np.uint8)
    dark[1, 2] = 1
    bright = dark.copy()
    bright[0, 0] = 2
    ours = np.asarray(normalise(np.stack([[dark, dark], [dark, bright]])))
    black, white = (-np.array(MEAN)) / STD, (1 - np.array(MEAN)) / STD
    np.testing.assert_allclose(ours[0, 0, 1, 2], white, atol=1e-6)
    np.testing.assert_allclose(ours[0, 0, 0, 0], black, atol=1e-6)
    nearly = (1 / 255 - np.array(MEAN)) / STD  # the other frame of that clip is brighter
    np.testing.assert_allclose(ours[1, 0, 1, 2], nearly, atol=1e-6)


def test_floats_are_normalised_already():
    clip = jnp.full((1, 2, 4, 4, 3), 0.5)
    np.testing.assert_array_equal(normalise(clip), clip)


def test_the_decoder_scales_to_the_size_of_the_network():
    config = small(image_size=64)
    system = tokmerge_jax.build(config)
    assert system.config.data.decode_size == 64
    decoded = np.zeros((2, 64, 64, 3), np.uint8)
    assert system.pixels.transform(decoded) is decoded


def test_patches_of_other_attentions_are_not_traced():
    config = small(image_size=64, attention="joint").override({"model.merger.frames": 0})
    assert tokmerge_jax.build(config).trace_video is None
