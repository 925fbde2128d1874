"""Training pixels of action recognition against the original's, and the law of their draws."""

import pickle

import golden
import numpy as np
import PIL
import pytest

from tokmerge_jax.data.pixels import rand_augment
from tokmerge_jax.data.pixels.action_augment import ActionAugment, cropped, draw_box
from tokmerge_jax.data.pixels.action_crops import resize
from tokmerge_jax.data.pixels.umt import Box
from tokmerge_jax.types import UserError

ORIGINAL = golden.load("tdsclip-augment")
FRAMES = ORIGINAL.arrays["inputs/frames"]
BOXES = ORIGINAL.arrays["crop_boxes"]
SIZE = ORIGINAL.config["crop_size"]


@pytest.mark.parametrize("case", range(len(BOXES)))
def test_crops_of_the_original(case):
    if case == 4 and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("older Pillow rounds this crop in another way")
    x, y, width, height = BOXES[case].tolist()
    made = cropped(FRAMES, Box(y, x, height, width), SIZE, False, False)
    np.testing.assert_array_equal(made, ORIGINAL.arrays[f"crop{case}"])
    mirrored = cropped(FRAMES, Box(y, x, height, width), SIZE, True, False)
    np.testing.assert_array_equal(mirrored, made[:, :, ::-1])


def test_grey_of_the_original():
    made = cropped(FRAMES, Box(0, 0, 30, 30), 30, False, True)
    np.testing.assert_array_equal(made, ORIGINAL.arrays["gray"][:, :, :30])


def test_boxes_keep_to_their_ranges():
    rng = np.random.default_rng(0)
    boxes = [draw_box(256, 320, rng) for _ in range(3000)]
    for top, left, height, width in boxes:
        assert 0 <= top <= 256 - height
        assert 0 <= left <= 320 - width
    areas = np.array([box.height * box.width for box in boxes]) / (256 * 320)
    ratios = np.array([box.width / box.height for box in boxes])
    assert 0.075 < areas.min() < 0.1
    assert areas.max() > 0.9
    assert ratios.min() > 0.74
    assert ratios.max() < 1.36


def test_boxes_are_as_often_wide_as_tall():
    # A ratio that is uniform in [3/4, 4/3] is below 1 in 3 of 7 draws, its exchange in 4 of 7.
    rng = np.random.default_rng(1)
    boxes = [draw_box(9000, 9000, rng) for _ in range(9000)]
    assert abs(np.mean([box.width < box.height for box in boxes]) - 0.5) < 0.02


def test_if_no_box_fits_a_square_of_the_shorter_side():
    rng = np.random.default_rng(2)
    boxes = {draw_box(20, 4000, rng) for _ in range(20)}
    assert {(box.top, box.height, box.width) for box in boxes} == {(0, 20, 20)}
    assert len(boxes) > 10


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def test_operations_then_the_resize_then_the_crop():
    frames = noise(2, 30, 41)
    made, flip = ActionAugment(16, (20, 24), operations=True, grey=1.0)(
        frames, np.random.default_rng(5)
    )
    rng = np.random.default_rng(5)
    steps = rand_augment.draw(rng)
    assert steps
    changed = resize(rand_augment.apply(frames, steps), (20, 24))
    expected = cropped(changed, draw_box(20, 24, rng), 16, flip, True)
    np.testing.assert_array_equal(made, expected)
    assert (made[..., :1] == made).all()


def test_all_frames_alike_and_half_of_the_samples_mirrored():
    frames = noise(1, 20, 31).repeat(3, 0)
    augment = pickle.loads(pickle.dumps(ActionAugment(8, 10)))
    made, flips = zip(*(augment(frames, np.random.default_rng(i)) for i in range(200)), strict=True)
    assert all((clip == clip[0]).all() for clip in made)
    assert abs(sum(flips) - 100) < 25


def test_greys_are_as_often_as_asked():
    augment = ActionAugment(4, 4, grey=0.2)
    frames = noise(1, 6, 6)
    made = (augment(frames, np.random.default_rng(i))[0] for i in range(400))
    assert abs(sum((clip[..., :1] == clip).all() for clip in made) - 80) < 30


def test_scales_that_cannot_be():
    with pytest.raises(UserError, match=r"config\.data\.scale=200 must be at least .* 224"):
        ActionAugment(224, 200)
