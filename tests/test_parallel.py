"""The mesh of eight host devices, and where rows of a batch lie on it."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from tokmerge_jax import parallel
from tokmerge_jax.types import UserError


@pytest.mark.parametrize(
    ("axes", "sizes"),
    [
        ({"data": -1, "model": 1}, (8, 1)),
        ({"data": -1, "model": 4}, (2, 4)),
        ({"data": 2, "model": -1}, (2, 4)),
        ({"data": 8, "model": 1}, (8, 1)),
        ({"data": 3, "model": 2}, (3, 2)),  # two devices stay idle
        ({"data": 1}, (1,)),
    ],
)
def test_sizes(axes, sizes):
    mesh = parallel.make_mesh(axes)
    assert mesh.axis_names == tuple(axes)
    assert mesh.devices.shape == sizes
    assert set(mesh.axis_types) == {AxisType.Auto}
    assert len(set(mesh.devices.flat)) == np.prod(sizes)


@pytest.mark.parametrize(
    "axes",
    [
        {"data": 16, "model": 1},
        {"data": -1, "model": 3},  # 8 is no multiple of 3
        {"data": -1, "model": -1},
        {"data": 0, "model": 1},
        {"data": -2, "model": -4},
        {"data": -1, "model": -2, "pipe": -4},
        {"data": -1, "model": 0},
    ],
)
def test_a_mesh_that_does_not_fit(axes):
    wanted = ", ".join(f"{name}={size}" for name, size in axes.items())
    with pytest.raises(UserError, match=rf"config\.mesh \({wanted}\) does not fit 8 devices"):
        parallel.make_mesh(axes)


@pytest.mark.parametrize(
    ("axes", "wanted", "rows"),
    [
        ({"data": 8, "model": 1}, 1, 8),
        ({"data": 8, "model": 1}, 8, 8),
        ({"data": 8, "model": 1}, 9, 16),
        ({"data": 2, "model": 4}, 25, 26),
        ({"data": 1, "model": 8}, 25, 25),
    ],
)
def test_batch_size_is_the_next_that_splits_evenly(axes, wanted, rows):
    assert parallel.batch_size(parallel.make_mesh(axes), wanted) == rows


def test_each_device_holds_its_rows():
    mesh = parallel.make_mesh({"data": 4, "model": 2})
    batch = {"video": np.arange(24.0).reshape(8, 3), "mask": np.arange(8) < 5}
    placed = parallel.shard(mesh, batch)
    assert placed.keys() == batch.keys()
    for name, whole in batch.items():
        np.testing.assert_array_equal(placed[name], whole)
        parts = {part.device: np.asarray(part.data) for part in placed[name].addressable_shards}
        for row, column in np.ndindex(4, 2):
            part = parts[mesh.devices[row, column]]
            np.testing.assert_array_equal(part, whole[2 * row : 2 * row + 2])


def test_shard_moves_what_is_on_a_device_already():
    mesh = parallel.make_mesh({"data": 8})
    placed = parallel.shard(mesh, {"index": jax.numpy.arange(16)})["index"]
    assert [part.data.tolist() for part in placed.addressable_shards][:2] == [[0, 1], [2, 3]]


def test_every_device_holds_the_whole_tree():
    mesh = parallel.make_mesh({"data": 2, "model": 4})
    tree = parallel.replicate(mesh, {"a": {"kernel": np.arange(6.0).reshape(2, 3)}})
    shards = tree["a"]["kernel"].addressable_shards
    assert {part.device for part in shards} == set(mesh.devices.flat)
    for part in shards:
        np.testing.assert_array_equal(part.data, np.arange(6.0).reshape(2, 3))


def test_a_sum_over_sharded_rows_is_the_sum():
    mesh = parallel.make_mesh({"data": -1, "model": 1})
    placed = parallel.shard(mesh, {"x": np.arange(16.0)})["x"]
    assert float(jax.jit(lambda x: x.sum())(placed)) == 120.0
