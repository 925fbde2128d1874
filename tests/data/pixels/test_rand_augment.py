"""RandAugment's operations against the original's pixels and by hand, and the law of its draws."""

import collections
import pickle

import golden
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.data.pixels import rand_augment
from tokmerge_jax.data.pixels.clip import shorter_side_crop
from tokmerge_jax.data.pixels.rand_augment import OPERATIONS, RandAugmentCrop

ORIGINAL = golden.load("tdsclip-augment")
CASES = ORIGINAL.config["op_args"]
WHOLE = ("PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd")  # JSON's numbers are floats
NAMES = st.sampled_from(list(OPERATIONS))
GREY = [128] * 3


def step(name, arguments):
    strength = arguments[0] if arguments else 0.0
    return name, int(strength) if name in WHOLE else strength


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def done(name, strength, frames):
    return rand_augment.apply(frames, [(name, strength)])


def row(*values):
    """One frame of one row, equal channels."""
    return np.array(values, np.uint8)[None, None, :, None].repeat(3, 3)


def test_the_operations_of_the_original():
    assert {case.split("/")[0] for case in CASES} == set(OPERATIONS)


@pytest.mark.parametrize("case", CASES)
def test_pixels_of_the_original(case):
    made = rand_augment.apply(
        ORIGINAL.arrays["inputs/frames"], [step(case.split("/")[0], CASES[case])]
    )
    np.testing.assert_array_equal(made, ORIGINAL.arrays[f"op/{case}"])


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case]])
def test_strengths_of_the_original(case):
    name, magnitude = case.split("/m")
    level = float(magnitude[:-1]) / 10 * (-1 if magnitude.endswith("-") else 1)
    assert [OPERATIONS[name].strength(level)] == CASES[case]


@pytest.mark.parametrize("name", WHOLE)
def test_the_sign_means_nothing_to_some(name):
    assert OPERATIONS[name].strength(-0.64) == OPERATIONS[name].strength(0.64)


@pytest.mark.parametrize("clip", range(len(ORIGINAL.config["clips"])))
def test_clips_of_the_original(clip):
    steps = [step(name, arguments) for name, arguments in ORIGINAL.config["clips"][clip]]
    made = rand_augment.apply(ORIGINAL.arrays["inputs/frames"], steps)
    np.testing.assert_array_equal(made, ORIGINAL.arrays[f"clip{clip}"])


@pytest.mark.parametrize(
    ("name", "strength", "before", "after"),
    [
        ("AutoContrast", 0.0, (50, 110, 100, 150), (0, 153, 127, 255)),  # 127.5 is truncated
        ("Invert", 0.0, (0, 1, 254, 255), (255, 254, 1, 0)),
        ("PosterizeIncreasing", 2, (63, 64, 191, 255), (0, 64, 128, 192)),
        ("PosterizeIncreasing", 0, (63, 64, 191, 255), (0, 0, 0, 0)),
        ("SolarizeIncreasing", 77, (0, 76, 77, 255), (0, 76, 178, 0)),
        ("SolarizeIncreasing", 256, (0, 76, 77, 255), (0, 76, 77, 255)),
        ("SolarizeAdd", 110, (0, 127, 128, 255), (110, 237, 128, 255)),
        ("SolarizeAdd", 200, (0, 55, 56, 127), (200, 255, 255, 255)),
        ("BrightnessIncreasing", 1.5, (0, 10, 100, 200), (0, 15, 150, 255)),
        ("ContrastIncreasing", 1.5, (50, 50, 150, 150), (25, 25, 175, 175)),  # their mean is 100
        ("ContrastIncreasing", 0.5, (50, 50, 150, 150), (75, 75, 125, 125)),
    ],
)
def test_values_by_hand(name, strength, before, after):
    np.testing.assert_array_equal(done(name, strength, row(*before)), row(*after))


def test_equalising_by_hand():
    # A step is (510 + 510 + 100 - 100) // 255 = 4 pixels; a value goes to the pixels below it,
    # and half a step, in steps: 2 // 4, (510 + 2) // 4, (1020 + 2) // 4.
    before = np.repeat([7, 8, 200], [510, 510, 100])
    after = np.repeat([0, 128, 255], [510, 510, 100])
    np.testing.assert_array_equal(done("Equalize", 0.0, row(*before)), row(*after))


def test_colour_by_hand():
    # Grey is 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124; 1.5 times the way from there.
    frames = np.array([[[[200, 100, 50]]]], np.uint8)
    assert done("ColorIncreasing", 1.5, frames).tolist() == [[[[238, 88, 13]]]]
    assert done("ColorIncreasing", 0.0, frames).tolist() == [[[[124, 124, 124]]]]


def test_sharpness_by_hand():
    # Smoothed with (1 1 1, 1 5 1, 1 1 1) / 13, the bright pixel is 23 and its neighbours are 15;
    # twice the way from there.
    frames = np.full((1, 7, 7, 3), 13, np.uint8)
    frames[:, 3, 3] = 39
    after = np.full((1, 7, 7, 3), 13, np.uint8)
    after[:, 2:5, 2:5] = 11
    after[:, 3, 3] = 55
    np.testing.assert_array_equal(done("SharpnessIncreasing", 2.0, frames), after)


def test_rotating_by_hand():
    frames = noise(2, 9, 9)
    np.testing.assert_array_equal(done("Rotate", 90.0, frames), np.rot90(frames, axes=(1, 2)))
    turned = done("Rotate", 30.0, frames)
    assert turned[:, [0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [[GREY] * 4] * 2
    np.testing.assert_array_equal(turned[:, 4, 4], frames[:, 4, 4])


@pytest.mark.parametrize(
    ("strength", "taken", "shown"),
    [(0.25, slice(2, 8), slice(0, 6)), (-0.25, slice(0, 6), slice(2, 8))],
)
def test_translating_by_hand(strength, taken, shown):
    frames = noise(2, 5, 8)
    after = np.full_like(frames, 128)
    after[:, :, shown] = frames[:, :, taken]
    np.testing.assert_array_equal(done("TranslateXRel", strength, frames), after)
    frames, after = frames.swapaxes(1, 2), after.swapaxes(1, 2)
    np.testing.assert_array_equal(done("TranslateYRel", strength, frames), after)


def test_shearing_by_hand():
    # Pixels' centres lie at halves: with factor 2, (x + 0.5) + 2 (y + 0.5) is pixel x + 2 y + 1.
    frames = noise(2, 3, 8)
    after = np.full_like(frames, 128)
    for y in range(3):
        after[:, y, : 7 - 2 * y] = frames[:, y, 2 * y + 1 :]
    np.testing.assert_array_equal(done("ShearX", 2.0, frames), after)
    frames, after = frames.swapaxes(1, 2), after.swapaxes(1, 2)
    np.testing.assert_array_equal(done("ShearY", 2.0, frames), after)


@given(
    st.lists(st.tuples(NAMES, st.floats(-1, 1)), max_size=5),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
)
def test_equal_frames_stay_equal(drawn, height, width, seed):
    frames = noise(1, height, width, seed=seed).repeat(3, 0)
    steps = [(name, OPERATIONS[name].strength(level)) for name, level in drawn]
    made = rand_augment.apply(frames, steps)
    assert made.shape == frames.shape
    assert (made == made[0]).all()


def test_every_operation_is_drawn_as_often():
    rng = np.random.default_rng(0)
    draws = [rand_augment.draw(rng) for _ in range(3000)]
    lengths = np.bincount([len(steps) for steps in draws]) / 3000  # binomial, 4 of probability 1/2
    np.testing.assert_allclose(lengths, np.array([1, 4, 6, 4, 1]) / 16, atol=0.03)
    counts = collections.Counter(name for steps in draws for name, _ in steps)
    assert set(counts) == set(OPERATIONS)
    np.testing.assert_allclose(list(counts.values()), 3000 * 4 / 2 / 15, rtol=0.2)
    names = [[name for name, _ in steps] for steps in draws]
    assert any(len(set(chosen)) < len(chosen) for chosen in names)  # with repeats


def test_magnitudes_are_normal_and_signs_are_even():
    rng = np.random.default_rng(1)
    steps = [step for _ in range(6000) for step in rand_augment.draw(rng)]
    angles = np.array([strength for name, strength in steps if name == "Rotate"]) / 3
    assert abs(np.mean(angles > 0) - 0.5) < 0.06
    assert abs(np.abs(angles).mean() - 7) < 0.1
    assert abs(np.abs(angles).std() - 0.5) < 0.05


def test_magnitudes_end_at_ten(monkeypatch):
    monkeypatch.setattr(rand_augment, "_DEVIATION", 100)
    rng = np.random.default_rng(2)
    steps = [step for _ in range(500) for step in rand_augment.draw(rng)]
    angles = {abs(strength) for name, strength in steps if name == "Rotate"}
    assert {min(angles), max(angles)} == {0, 30}


def test_the_generator_decides():
    frames = noise(2, 30, 41)
    augment = pickle.loads(pickle.dumps(RandAugmentCrop(16)))
    made = [augment(frames, np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(made[0], made[1])
    assert len({clip.tobytes() for clip in made}) == 4


@given(st.integers(0, 2**32 - 1))
def test_one_draw_for_all_frames_then_the_crop(seed):
    frames = noise(1, 20, 31, seed=seed).repeat(3, 0)
    made = RandAugmentCrop(16)(frames, np.random.default_rng(seed))
    steps = rand_augment.draw(np.random.default_rng(seed))
    expected = shorter_side_crop(rand_augment.apply(frames[:1], steps), 16)
    np.testing.assert_array_equal(made, expected.repeat(3, 0))
