"""UMT's test crops of actions, against the definition and cases by hand."""

import golden
import numpy as np
import pytest

from tokmerge_jax.data.pixels.umt_crops import LongSideCrops, resize
from tokmerge_jax.types import UserError


def numbered(height, width):
    """A picture whose pixels hold their own row and column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)[None]


@pytest.mark.parametrize(
    ("height", "width", "count", "tops", "lefts"),
    [
        (8, 13, 3, [0, 0, 0], [0, 2, 5]),  # int(0.0), int(2.5), int(5.0)
        (8, 13, 1, [0], [2]),
        (13, 8, 3, [0, 2, 5], [0, 0, 0]),
        (8, 8, 3, [0, 0, 0], [0, 0, 0]),
        (8, 15, 4, [0, 0, 0, 0], [0, 2, 4, 7]),  # int(7 / 3), int(14 / 3)
    ],
)
def test_squares_from_end_to_end_of_the_longer_side(height, width, count, tops, lefts):
    crops = LongSideCrops(8, 8, count)(numbered(height, width))
    assert crops.shape == (count, 8, 8, 3)
    assert crops[:, 0, 0, 0].tolist() == tops
    assert crops[:, 0, 0, 1].tolist() == lefts
    assert crops[:, -1, -1, 0].tolist() == [top + 7 for top in tops]


def test_a_larger_scale_leaves_the_middle_of_the_shorter_side():
    crops = LongSideCrops(4, (7, 9), 2)(numbered(7, 9))
    assert crops[:, 0, 0, :2].tolist() == [[1, 0], [1, 5]]


def test_crops_keep_their_frames_together():
    frames = np.concatenate([numbered(8, 13) + np.uint8(20 * t) for t in range(2)])
    crops = LongSideCrops(8, 8, 3)(frames)
    assert crops[:, 0, 0, 0].tolist() == [0, 20] * 3


def test_the_shorter_side_gets_the_size_and_the_longer_one_is_cut_to_whole_pixels():
    crops = LongSideCrops(6, 6, 2)(numbered(9, 14))  # 6 x 9: 6 * 14 / 9 = 9.33
    np.testing.assert_array_equal(crops[1], resize(numbered(9, 14), 6, 9)[0, :, 3:])


def test_a_resize_is_the_weighted_mean_of_the_nearest_pixels():
    line = np.array([0, 100, 200, 40], np.uint8)[None, None, :, None].repeat(3, axis=-1)
    line = line.repeat(2, axis=1)  # two rows
    wide = resize(line, 2, 8)[0, 0, :, 0]
    assert wide.tolist() == [0, 25, 75, 125, 175, 160, 80, 40]
    half = resize(line, 2, 2)[0, 0, :, 0]  # at 0.5 and 2.5: no other pixels count
    assert half.tolist() == [50, 120]
    assert resize(line, 2, 4) is line


ORIGINAL = golden.load("umtrec-crops")


@pytest.mark.parametrize(("case", "count"), [*enumerate(ORIGINAL.config["counts"])])
def test_crops_are_the_original_s(case, count):
    size = ORIGINAL.config["size"]
    ours = LongSideCrops(size, size, count)(ORIGINAL.arrays[f"{case}/video"])
    theirs = ORIGINAL.arrays[f"{case}/crops"]
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("size", "scale", "count", "says"),
    [(8, 8, 0, "crops=0 must be 1 or more"), (8, 7, 1, "scale=7 must be at least .* size 8")],
)
def test_wrong_settings(size, scale, count, says):
    with pytest.raises(UserError, match=says):
        LongSideCrops(size, scale, count)
