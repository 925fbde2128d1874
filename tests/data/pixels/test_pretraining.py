"""Pretraining's augmentation: the original's pixels, operations by hand, and how they are drawn."""

import collections

import golden
import numpy as np
import pytest
from PIL import Image

from tokmerge_jax.data.pixels import pretraining, rand_augment
from tokmerge_jax.data.pixels.pretraining import OPERATIONS, PretrainingAugment

CASE = golden.load("testa-augment")
PICTURE = CASE.arrays["in/image"].astype(np.uint8)
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
OF_PICTURES = ("Identity", "Brightness", "Sharpness", *SIGNED)


def done(name, strength, pixels):
    return rand_augment.apply(pixels[None], [(name, strength)], OPERATIONS)[0]


def row(*values):
    """One row of pixels, equal channels."""
    return np.array(values, np.uint8)[None, :, None].repeat(3, 2)


def test_the_operations_of_the_original():
    assert set(OPERATIONS) == set(CASE.arrays) - {"in/image", "norm", "norm_dark"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_pixels_of_the_original(name):
    strength = OPERATIONS[name].strength(CASE.config["level"] / 10)
    np.testing.assert_array_equal(done(name, strength, PICTURE), CASE.arrays[name])


@pytest.mark.parametrize(
    ("name", "level", "strength"),
    [
        ("Contrast", 0.7, 1.36),
        ("Brightness", -0.7, 1.36),
        ("Sharpness", 0.5, 1.0),
        ("ShearX", -0.7, -0.21),
        ("TranslateY", 0.7, 7.0),
        ("Rotate", -0.7, -21.0),
    ],
)
def test_strengths_by_hand(name, level, strength):
    assert OPERATIONS[name].strength(level) == pytest.approx(strength)


@pytest.mark.parametrize(
    ("name", "strength", "before", "after"),
    [
        ("Brightness", 1.5, (0, 10, 101, 200), (0, 15, 151, 255)),
        ("Contrast", 1.5, (50, 50, 150, 150), (25, 25, 175, 175)),  # their mean is 100
        ("Contrast", 3.0, (50, 50, 150, 150), (0, 0, 250, 250)),
        ("HorizontalFlip", 0.0, (1, 2, 3, 4), (4, 3, 2, 1)),
        ("TranslateX", 1.0, (1, 2, 3, 4), (2, 3, 4, 128)),
        ("TranslateX", -2.0, (1, 2, 3, 4), (128, 128, 1, 2)),
        ("TranslateX", 0.5, (0, 10, 20, 40), (5, 15, 30, 84)),  # halfway to the grey outside
        ("TranslateX", 0.25, (0, 100, 0, 0), (25, 75, 0, 32)),
        ("TranslateY", 1.0, (1, 2, 3, 4), (128,) * 4),
    ],
)
def test_values_by_hand(name, strength, before, after):
    np.testing.assert_array_equal(done(name, strength, row(*before)), row(*after))


def test_contrast_takes_channels_in_the_originals_order():
    # The brightness is 0.114 * 200 + 0.587 * 100 + 0.299 * 0 = 81.5.
    pixel = np.array([[[200, 100, 0]]], np.uint8)
    assert done("Contrast", 0.5, pixel).tolist() == [[[140, 90, 40]]]


def test_sharpening_is_cut_to_a_byte():
    # Blurred, the middle is (5 * 250 + 8 * 200) / 13 = 219; 219 + 1.36 * (250 - 219) = 261.2,
    # which the original makes 5. The border is as it was.
    pixels = np.full((3, 3, 3), 200, np.uint8)
    pixels[1, 1] = 250
    changed = done("Sharpness", 1.36, pixels)
    assert changed[..., 0].tolist() == [[200] * 3, [200, 255, 200], [200] * 3]
    pixels[1, 1] = 230  # blurred 211.5, rounded up; 212 + 1.36 * 18 = 236.5, cut
    assert done("Sharpness", 1.36, pixels)[1, 1].tolist() == [236] * 3


def test_turning_and_shearing_by_hand():
    pixels = np.arange(1, 26, dtype=np.uint8).reshape(5, 5, 1).repeat(3, 2)
    turned = done("Rotate", 180.0, pixels)[..., 0]  # about (2.5, 2.5): 1 goes to 5
    np.testing.assert_array_equal(turned[1:, 1:], pixels[1:, 1:, 0][::-1, ::-1])
    assert (turned[0] == 128).all()
    assert (turned[:, 0] == 128).all()
    quarter = done("Rotate", 90.0, pixels)[..., 0]
    np.testing.assert_array_equal(quarter[1:], np.rot90(pixels[..., 0])[:-1])
    sheared = done("ShearX", 1.0, pixels)[..., 0]
    assert sheared[2].tolist() == [128, 128, 11, 12, 13]
    assert done("ShearY", 1.0, pixels)[:, 1, 0].tolist() == [128, 2, 7, 12, 17]


def draws(draw, count):
    rng = np.random.default_rng(0)
    return [draw(rng) for _ in range(count)]


def test_a_video_has_two_different_operations_forwards():
    drawn = draws(pretraining.draw_for_video, 1000)
    assert all(len({name for name, _ in steps}) == 2 for steps in drawn)
    counts = collections.Counter(name for steps in drawn for name, _ in steps)
    assert set(counts) == set(OPERATIONS)
    assert all(abs(count - 200) < 60 for count in counts.values())
    strengths = {name: strength for steps in drawn for name, strength in steps}
    assert all(strengths[name] == OPERATIONS[name].strength(0.5) for name in strengths)
    assert len({step for steps in drawn for step in steps}) == len(OPERATIONS)


def test_a_picture_has_about_one_operation_either_way():
    drawn = draws(pretraining.draw_for_picture, 1000)
    counts = collections.Counter(map(len, drawn))
    assert set(counts) == {0, 1, 2}
    assert all(abs(counts[n] - expected) < 75 for n, expected in enumerate((250, 500, 250)))
    assert any(len(steps) == 2 and steps[0][0] == steps[1][0] for steps in drawn)
    strengths = collections.defaultdict(set)
    for name, strength in (step for steps in drawn for step in steps):
        strengths[name].add(strength)
    assert set(strengths) == set(OF_PICTURES)
    for name in OF_PICTURES:
        computed = [OPERATIONS[name].strength(0.7 * sign) for sign in (-1, 1)]
        assert strengths[name] == set(computed)
        assert (len(strengths[name]) == 2) == (name in SIGNED)


def test_maps_are_kept_for_their_size_and_strength():
    """Each of these moves by another map; the second round uses those of the first."""
    wide, high = row(1, 2, 3, 4), row(1, 2, 3, 4).transpose(1, 0, 2)
    for _ in range(2):
        assert done("TranslateX", 1.0, wide)[..., 0].tolist() == [[2, 3, 4, 128]]
        assert done("TranslateX", 2.0, wide)[..., 0].tolist() == [[3, 4, 128, 128]]
        assert done("TranslateX", 1.0, high)[..., 0].tolist() == [[128]] * 4
        assert done("TranslateY", 1.0, high)[..., 0].tolist() == [[2], [3], [4], [128]]


def test_frames_of_a_video_are_changed_alike(monkeypatch):
    """Frames that differ by a constant still do: one crop, one draw."""
    monkeypatch.setattr(pretraining, "draw_for_video", lambda _: [("Rotate", 9.0)])
    frame = np.random.default_rng(0).integers(0, 100, (20, 20, 3), np.uint8)
    frames = np.stack([frame, frame + 100])
    augment = PretrainingAugment(16, 20)
    corners = set()
    for seed in range(80):
        made = augment(frames, np.random.default_rng(seed))
        assert made.shape == (2, 16, 16, 3)
        np.testing.assert_array_equal(made[1][4:12, 4:12] - made[0][4:12, 4:12], 100)
        top, left = np.random.default_rng(seed).integers(5, size=2)
        part = frames[:, top : top + 16, left : left + 16]
        expected = rand_augment.apply(part, [("Rotate", 9.0)], OPERATIONS)
        np.testing.assert_array_equal(made, expected)
        corners.add((top, left))
    assert len(corners) > 20


def test_a_picture_is_cropped_by_half_at_most_and_repeated(monkeypatch):
    monkeypatch.setattr(pretraining, "draw_for_picture", lambda _: [])
    y, x = np.mgrid[:60, :80]
    frames = np.stack([x, y, x + y], axis=-1).astype(np.uint8)[None].repeat(3, axis=0)
    mirrored = 0
    for seed in range(40):
        made = PretrainingAugment(16, 20)(frames, np.random.default_rng(seed))
        of_view = PretrainingAugment(16, 20)(
            np.broadcast_to(frames[0], frames.shape), np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(of_view, made)
        made = made.astype(int)
        assert made.shape == (3, 16, 16, 3)
        assert (made == made[:1]).all()
        width, height = np.ptp(made[0, 8, :, 0]) / 15 * 16, np.ptp(made[0, :, 8, 1]) / 15 * 16
        assert 0.45 * 60 * 80 < width * height < 1.1 * 60 * 80
        mirrored += made[0, 8, 0, 0] > made[0, 8, -1, 0]
    assert 10 < mirrored < 30


def test_a_picture_alone_is_a_clip_of_one_frame():
    frames = np.asarray(Image.new("RGB", (30, 30), (7, 7, 7)))[None]
    assert PretrainingAugment(16, 20)(frames, np.random.default_rng(0)).shape == (1, 16, 16, 3)
