"""Test crops of action recognition against the original's pixels and by hand."""

import pickle

import golden
import numpy as np
import pytest

from tokmerge_jax.data.pixels.action_crops import CROPS, ResizeCrops, check_scale, crops, resize
from tokmerge_jax.types import UserError

ORIGINAL = golden.load("tdsclip-preprocess")
FRAMES = ORIGINAL.arrays["inputs/frames"].astype(np.uint8)
STRIDE = ORIGINAL.config["stride"]
SCALES = {
    name: s if isinstance(s, int) else tuple(s) for name, s in ORIGINAL.config["scale"].items()
}


def normal(frames):
    """The planes of the original's tensor: frame, then channel."""
    mean, std = (np.array(ORIGINAL.config[name], np.float32) for name in ("mean", "std"))
    planes = (frames / np.float32(255) - mean) / std
    return planes.transpose(0, 3, 1, 2).reshape(-1, *frames.shape[1:3])


@pytest.mark.parametrize("name", SCALES)
def test_sizes_of_the_original(name):
    size = resize(FRAMES[:1], SCALES[name]).shape[2:0:-1]
    assert list(size) == ORIGINAL.arrays[f"{name}/resized_size_i"].tolist()


@pytest.mark.parametrize("count", CROPS)
@pytest.mark.parametrize("name", SCALES)
def test_pixels_of_the_original(name, count):
    planes = normal(ResizeCrops(ORIGINAL.config["crop"], SCALES[name], count)(FRAMES))
    expected = ORIGINAL.arrays[f"{name}/crops{count}"]
    np.testing.assert_array_equal(planes[:, ::STRIDE, ::STRIDE], expected)
    means = ORIGINAL.arrays[f"{name}/crops{count}_mean"]
    np.testing.assert_allclose(planes.mean(axis=(1, 2)), means, atol=1e-5)


def places(height, width, count):
    """Top, left and mirroring of each crop, of a frame whose pixels say where they are."""
    row, column = np.mgrid[:height, :width]
    frames = np.stack([row, column % 256, column // 256], axis=-1)[None].astype(np.uint8)
    results = []
    for crop in crops(frames, 224, count).astype(int):
        columns = crop[0, :, 1] + 256 * crop[0, :, 2]
        results.append((crop[0, 0, 0], columns.min(), columns[0] > columns[-1]))
    return results


def test_three_crops_are_left_right_middle():
    assert places(256, 320, 3) == [(16, 0, False), (16, 96, False), (16, 48, False)]
    assert places(256, 455, 3)[1] == (16, 228, False)  # 3 short of the edge


def test_ten_crops_are_five_and_their_mirror_images():
    five = places(256, 320, 5)
    assert five == [(0, 0, False), (0, 96, False), (32, 0, False), (32, 96, False), (16, 48, False)]
    assert places(256, 320, 10) == [(*place, flip) for *place, _ in five for flip in (False, True)]


def test_all_frames_of_a_crop_come_first():
    frames = np.arange(2, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    frames = frames.repeat(8, 1).repeat(8, 2)
    transform = pickle.loads(pickle.dumps(ResizeCrops(6, 8, 3)))
    assert transform(frames)[:, 0, 0, 0].tolist() == [0, 1] * 3


@pytest.mark.parametrize(
    ("scale", "count", "message"),
    [
        (256, 2, r"config\.data\.crops=2 must be one of 1, 3, 5, 10"),
        ((200, 320), 3, r"config\.data\.scale=\(200, 320\) must be at least .* 224"),
    ],
)
def test_crops_that_cannot_be(scale, count, message):
    with pytest.raises(UserError, match=message):
        ResizeCrops(224, scale, count)


@pytest.mark.parametrize(
    "scale", ["abc", (256,), 256.0, (256.5, 320), (256, 320, 3), True, None, ("256", "320"), ()]
)
def test_scales_that_are_none(scale):
    with pytest.raises(UserError) as fault:
        check_scale(scale, 224)
    assert str(fault.value) == (
        f"config.data.scale={scale!r} must be the shorter side in pixels (such as 256), or"
        " height and width (such as (256, 320))"
    )
