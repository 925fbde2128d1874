"""UMT's position tables against the original's, interpolated ones included."""

import golden
import numpy as np
import pytest
from umt_case import close

from tokmerge_jax.layers.positions import space_time

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
