"""CLIP's resize and crop against the original's pixels, and against their definition."""

import pickle

import golden
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.data.pixels.clip import ResizeCrop, shorter_side_crop

CLIP = golden.load("clip-preprocess")
SIZE = CLIP.config["size"]
CASES = range(len(CLIP.config["sizes_hw"]))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize("case", CASES)
def test_pixels_of_the_original(case):
    frames = CLIP.arrays[f"inputs/image_{case}"][None]
    mean, std = (np.array(CLIP.config[name], np.float32) for name in ("mean", "std"))
    pixels = shorter_side_crop(frames, SIZE)[0]
    normal = (pixels / np.float32(255) - mean) / std
    np.testing.assert_array_equal(normal.transpose(2, 0, 1), CLIP.arrays[f"pixels_{case}"])


@pytest.mark.parametrize("case", CASES)
def test_the_square_is_the_middle_of_the_resized_picture(case):
    resized = CLIP.arrays[f"resized_{case}"]
    top, left = (round((side - SIZE) / 2) for side in resized.shape[:2])
    expected = resized[top : top + SIZE, left : left + SIZE]
    out = shorter_side_crop(CLIP.arrays[f"inputs/image_{case}"][None], SIZE)
    np.testing.assert_array_equal(out[0], expected)


@pytest.mark.parametrize(
    ("longer", "start"),
    [(8, 0), (9, 0), (10, 1), (11, 2), (12, 2), (13, 2), (15, 4)],  # .5 goes to the even number
)
def test_where_the_crop_begins(longer, start):
    wide, tall = noise(2, 8, longer), noise(2, longer, 8, seed=1)
    np.testing.assert_array_equal(shorter_side_crop(wide, 8), wide[:, :, start : start + 8])
    np.testing.assert_array_equal(shorter_side_crop(tall, 8), tall[:, start : start + 8])


def test_shrinking_widens_the_kernel():
    # To a fifth: outputs lie at 2.5, 7.5, ... and see 20 inputs each. The line's middle is 20.5, 2
    # from output 4 and 3 from output 3: distances of 0.4 and 0.6 in units of an output. PyTorch's
    # kernel reads the inputs 16..19 and 21..24 at most there, and would miss the line.
    frames = np.zeros((1, 40, 40, 3), np.uint8)
    frames[:, :, 20] = 255
    near = [1.5 * x**3 - 2.5 * x**2 + 1 for x in (0.6, 0.4)]  # Keys' kernel, a = -0.5, below 1
    expected = [0, 0, 0, *(255 / 5 * weight for weight in near), 0, 0, 0]  # beyond 1: negative
    out = shorter_side_crop(frames, 8)
    np.testing.assert_allclose(out, np.broadcast_to(np.c_[expected], out.shape), atol=0.51)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 30),
    st.tuples(*[st.integers(0, 255)] * 3),
)
def test_one_colour_stays_that_colour(height, width, size, colour):
    frames = np.full((1, height, width, 3), colour, np.uint8)
    expected = np.full((1, size, size, 3), colour, np.uint8)
    np.testing.assert_array_equal(shorter_side_crop(frames, size), expected)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_frames_know_nothing_of_each_other(height, width, size, seed):
    frames = noise(3, height, width, seed=seed)
    alone = [shorter_side_crop(frames[i : i + 1], size)[0] for i in range(3)]
    np.testing.assert_array_equal(shorter_side_crop(frames, size), np.stack(alone))


def test_the_shell():
    frames = noise(2, 30, 41)
    shell = pickle.loads(pickle.dumps(ResizeCrop(16)))
    np.testing.assert_array_equal(shell(frames), shorter_side_crop(frames, 16))
    assert str(ResizeCrop(16)) != str(ResizeCrop(17))
