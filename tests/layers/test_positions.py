"""Position tables against the originals', interpolated ones included."""

import golden
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from umt_case import close

from tokmerge_jax.layers.positions import linear_grid, places, sincos_grid, space_time, video_grid

CASE = golden.load("vidtldr-positions")


@pytest.mark.parametrize("name", CASE.config)
def test_tables_are_the_originals(name):
    spec = CASE.config[name]
    frames = spec["frames"]
    of_checkpoint = max(spec["ckpt_num_frame"], 0) or frames
    table = space_time(spec["positions"] // frames, spec["width"], frames, of_checkpoint)
    assert table.dtype == np.float32
    close(table[CASE.arrays[f"{name}/rows"]], CASE.arrays[f"{name}/values"], 1e-6)
    close(table.mean(axis=0), CASE.arrays[f"{name}/mean"], 1e-6)


ACTIONS = golden.load("umtrec-positions")


@pytest.mark.parametrize("name", ACTIONS.config)
def test_tables_of_actions_are_interpolated_over_space_and_time(name):
    """From 8 frames of 14 x 14 patches; a single frame too. PyTorch's places are float32."""
    spec = ACTIONS.config[name]
    table = space_time(spec["edge"] ** 2, spec["width"], spec["frames"], 8, grid=14)
    assert table.dtype == np.float32
    close(table[ACTIONS.arrays[f"{name}/rows"]], ACTIONS.arrays[f"{name}/values"], 2e-6)
    close(table.mean(axis=0, dtype=np.float64), ACTIONS.arrays[f"{name}/mean"], 1e-6)


PE_CORE = golden.load("pecore-positions")


@pytest.mark.parametrize("case", range(len(PE_CORE.config["cases"])))
def test_grids_are_interpolated_as_pe_core_does(case):
    spec, table = PE_CORE.config["cases"][case], PE_CORE.arrays[f"inputs/table_{case}"]
    ours = linear_grid(jnp.asarray(table), spec["grid"], *spec["to_hw"])
    close(ours, PE_CORE.arrays[f"positions_{case}"], 1e-6)
    class_tokens = int(spec["class_token"])
    np.testing.assert_array_equal(ours[:class_tokens], table[:class_tokens])


VIDEO = golden.load("internvideo2-positions")


@pytest.mark.parametrize("name", VIDEO.config["tables"])
def test_tables_that_the_training_of_internvideo2_starts_from(name):
    spec = VIDEO.config["tables"][name]
    table = sincos_grid(spec["frames"], spec["grid"], spec["width"])
    assert table.dtype == np.float32
    close(table[VIDEO.arrays[f"{name}/rows"]], VIDEO.arrays[f"{name}/values"], 1e-6)
    close(table.mean(axis=0, dtype=np.float64), VIDEO.arrays[f"{name}/mean"], 1e-6)


@pytest.mark.parametrize("name", VIDEO.config["resized"])
def test_videos_are_interpolated_as_internvideo2_does(name):
    spec = VIDEO.config["resized"][name]
    table = recipe.weight(spec["name"], tuple(spec["shape"]), spec["seed"])[0]
    wanted = spec["new_frames"], spec["new_grid"], spec["new_grid"]
    ours = video_grid(jnp.asarray(table), (spec["frames"], spec["grid"]), wanted)
    close(ours, VIDEO.arrays[f"{name}/table"][0], 2e-6)
    np.testing.assert_array_equal(ours[0], table[0])


def test_places_are_columns_and_rows():
    """From 1 beside a class token at the origin, otherwise from 0."""
    grid = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    np.testing.assert_array_equal(places(2, 3, 0), grid)
    np.testing.assert_array_equal(places(2, 3, 1), [(0, 0), *((x + 1, y + 1) for x, y in grid)])
