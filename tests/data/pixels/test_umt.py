"""Resize and crop against the original's pixels, and against their definitions."""

import json
import pathlib
import pickle

import golden
import numpy as np
import pytest
import recipe
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.data.pixels import umt
from tokmerge_jax.data.pixels.umt import Box

GOLDENS = pathlib.Path(__file__).parents[2] / "goldens"
CASES = json.loads((GOLDENS / "vidtldr-preprocess.json").read_text())["config"]["cases"]


@pytest.mark.parametrize("name", CASES)
def test_pixels_of_the_original(name):
    case = CASES[name]
    expected = np.load(GOLDENS / "vidtldr-preprocess.npz")
    pixels = recipe.video(tuple(case["shape"]), case["seed"]) * 50 + 128
    frames = np.clip(pixels, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    if name.startswith("train"):
        box = Box(case["top"], case["left"], case["height"], case["width"])
        out = umt.crop_resize(frames, box, 224, case["flip"])
    else:
        out = umt.resize(frames, 224)
        # Where the exact value lies halfway between two, the rounding of its sum decides.
        assert abs(int(out.sum()) - int(expected[f"{name}/sum"])) <= out.size * 3e-5
    sampled = out.transpose(0, 3, 1, 2)[:, :, ::7, ::7]
    np.testing.assert_array_equal(sampled, expected[f"{name}/resized"])


INTERNVIDEO2 = golden.load("internvideo2-preprocess")


@pytest.mark.parametrize("kind", ["plain", "antialias"])
@pytest.mark.parametrize("i", range(4))
def test_pixels_of_internvideo2(kind, i):
    """Smaller, taller, equal and larger frames, without antialiasing and with it."""
    frames = INTERNVIDEO2.arrays[f"inputs/frames_{i}"].transpose(0, 2, 3, 1)
    ours = umt.Resize(42, antialias=kind == "antialias")(frames).transpose(0, 3, 1, 2)
    apart = np.abs(ours.astype(int) - INTERNVIDEO2.arrays[f"resized_{kind}_{i}"])
    assert apart.max() <= 1  # where the exact value lies halfway between two
    assert apart.mean() < 3e-4


def test_the_size_that_it_has_already():
    frames = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), np.uint8)
    np.testing.assert_array_equal(umt.resize(frames, 9), frames)


def test_doubling_by_hand():
    # Half-pixel centres: output 1 lies 1/4 after input 0; weights of Keys' kernel with a = -0.75 at
    # distances 1.25, 0.25, 0.75, 1.75 are -0.10546875, 0.87890625, 0.26171875, -0.03515625.
    row = np.array([0, 100, 200, 40], np.uint8)
    frames = np.broadcast_to(row[None, None, :, None], (1, 4, 4, 3))
    exact = 0.26171875 * 100 - 0.03515625 * 200  # inputs -1 and 0 are both 0
    out = umt.resize(np.ascontiguousarray(frames), 8)
    assert (out[0, :, 1] == round(exact)).all()


def test_overshoot_is_clamped():
    step = np.repeat(np.array([0, 255], np.uint8), 4)
    frames = np.ascontiguousarray(np.broadcast_to(step[None, None, :, None], (1, 8, 8, 3)))
    out = umt.resize(frames, 32)[0, 0, :, 0]
    assert out.min() == 0
    assert out.max() == 255
    assert (np.diff(out.astype(int)) >= 0).sum() >= 30  # no wrap-around of uint8


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.floats(0.05, 1),
    st.integers(0, 2**32 - 1),
)
def test_random_boxes_lie_inside(height, width, min_scale, seed):
    box = umt.random_box(height, width, np.random.default_rng(seed), min_scale)
    assert box.height >= 1
    assert box.width >= 1
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


def test_random_boxes_have_the_area_and_ratio_asked_for():
    rng = np.random.default_rng(0)
    boxes = [umt.random_box(1000, 1000, rng, 0.5) for _ in range(300)]
    area = np.array([b.height * b.width for b in boxes]) / 1e6
    ratio = np.array([b.width / b.height for b in boxes])
    assert area.min() >= 0.499
    assert area.max() > 0.9
    assert ratio.min() >= 0.749
    assert ratio.max() <= 1.335


def test_a_ratio_that_cannot_be_had_gives_the_central_box():
    box = umt.random_box(300, 30, np.random.default_rng(0), 1.0)
    assert box == Box(130, 0, 40, 30)


def test_augmentation_is_decided_by_the_generator():
    frames = np.random.default_rng(1).integers(0, 256, (2, 40, 50, 3), np.uint8)
    augment = pickle.loads(pickle.dumps(umt.RandomResizedCrop(16)))
    first, again, other = (augment(frames, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_half_of_the_crops_are_flipped():
    ramp = np.ascontiguousarray(
        np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None], (1, 64, 64, 3))
    )
    augment = umt.RandomResizedCrop(8)
    flipped = [augment(ramp, np.random.default_rng(seed))[0, 0, 0, 0] > 31 for seed in range(200)]
    assert 70 < sum(flipped) < 130
    assert not umt.RandomResizedCrop(8, flip=False)(ramp, np.random.default_rng(0))[0, 0, 0, 0] > 31
