"""PE-Core's pixels against the original's: squashed, or the middle square; VideoPrism's."""

import pickle

import golden
import numpy as np
import pytest

from tokmerge_jax.config import pe_core
from tokmerge_jax.data.pixels.clip import ResizeCrop
from tokmerge_jax.data.pixels.squash import BILINEAR, LANCZOS, Squash
from tokmerge_jax.data.sampling.frames import SAMPLERS, Span
from tokmerge_jax.systems.pe_core import PECoreTower

CASE = golden.load("pecore-preprocess")
SIZE = 64


def frame(name):
    picture = CASE.arrays[f"inputs/{name}"]
    return (picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1))[None]


@pytest.mark.parametrize("case", ["0", "1", "2", "3", "grey"])
def test_pixels_of_the_original(case):
    squashed = Squash(SIZE)(frame("grey" if case == "grey" else f"image_{case}"))
    if case != "grey":
        np.testing.assert_array_equal(squashed[0], CASE.arrays[f"resized_{case}"])
    pixels = PECoreTower(pe_core.Retrieval()).normalise(squashed[None])
    expected = CASE.arrays[f"pixels_{case}"].transpose(1, 2, 0)
    np.testing.assert_allclose(pixels[0, 0], expected, atol=2e-7)


@pytest.mark.parametrize("case", range(2))
def test_crop_of_the_original(case):
    cropped = ResizeCrop(SIZE, BILINEAR)(frame(f"image_{case}"))
    np.testing.assert_array_equal(cropped[0], CASE.arrays[f"resized_crop_{case}"])


@pytest.mark.parametrize(("crop", "kind"), [(False, Squash), (True, ResizeCrop)])
def test_the_configuration_chooses(crop, kind):
    pixels = PECoreTower(pe_core.Retrieval().override({"data.crop": crop})).pixels
    assert isinstance(pixels.transform, kind)
    assert pixels.augment == pixels.transform == pickle.loads(pickle.dumps(pixels.transform))


@pytest.mark.parametrize(("case", "length"), [(0, 100), (1, 9), (2, 301), (3, 3)])
def test_frames_and_pixels_of_videoprism(case, length):
    arrays = golden.load("videoprism-preprocess").arrays
    chosen, resized = arrays[f"indices_{case}"], arrays[f"resized_{case}"]
    sampled = SAMPLERS["interval_starts"](Span(length, 25.0), len(chosen), None)
    np.testing.assert_array_equal(sampled, chosen)
    squashed = Squash(resized.shape[1], LANCZOS)(arrays[f"inputs/frames_{case}"])
    np.testing.assert_array_equal(squashed, resized)
