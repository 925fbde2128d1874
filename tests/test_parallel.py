"""The mesh of eight host devices, and where the rows of a batch and parameters lie on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, PartitionSpec

from tokmerge_jax import kernels, parallel
from tokmerge_jax.types import UserError


def test_the_platform_is_that_of_the_mesh():
    assert parallel.platform() == "cpu"
    with jax.set_mesh(parallel.make_mesh()):
        assert parallel.platform() == "cpu"
    if jax.__version_info__ < (0, 10):
        pytest.skip("this JAX knows no other machine's platform")
    device = AbstractDevice("TPU v5 lite", num_cores=1, platform="tpu")
    with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        assert parallel.platform() == "tpu"


def test_a_portable_program_is_for_any_platform_and_has_no_loop_over_rows():
    def program():  # a new function each time, as JAX traces one only once
        double = lambda x: parallel.map_rows(lambda x: 2 * x, (x,), together=1)  # noqa: E731
        return str(jax.make_jaxpr(double)(np.arange(6.0)))

    with parallel.portable():
        assert parallel.platform() == "any"
        assert kernels.choose("any", np.float16, 2000, 2000, 64, entropy=False) == "blocks"
        assert "scan" not in program()
    assert "scan" in program()


@pytest.mark.parametrize(
    ("axes", "sizes"),
    [
        ({}, (8, 1)),
        ({"fsdp": 4}, (2, 4)),
        ({"data": 2, "fsdp": -1}, (2, 4)),
        ({"data": 1, "fsdp": 8}, (1, 8)),
        ({"data": 3, "fsdp": 2}, (3, 2)),  # two devices stay idle
        ({"data": 1}, (1, 1)),
    ],
)
def test_sizes(axes, sizes):
    mesh = parallel.make_mesh(**axes)
    assert mesh.axis_names == ("data", "fsdp")
    assert mesh.devices.shape == sizes
    assert set(mesh.axis_types) == {AxisType.Auto}
    assert len(set(mesh.devices.flat)) == np.prod(sizes)


@pytest.mark.parametrize(
    ("data", "fsdp"),
    [(16, 1), (-1, 3), (3, -1), (-1, -1), (0, 1), (-1, 0), (0, -1), (-2, -4), (-1, -2)],
)
def test_a_mesh_that_does_not_fit(data, fsdp):
    with pytest.raises(
        UserError, match=rf"config\.mesh \(data={data}, fsdp={fsdp}\) does not fit 8 devices"
    ):
        parallel.make_mesh(data, fsdp)


def test_no_device_of_several_processes_stays_idle(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert parallel.make_mesh(2, 4).size == 8
    assert parallel.make_mesh(2, 2, local=True).size == 4
    with pytest.raises(UserError, match=r"several processes must use all devices"):
        parallel.make_mesh(2, 2)


def test_a_process_reads_all_rows_if_it_is_alone():
    assert parallel.own_rows(parallel.make_mesh(2, 2), 8) == list(range(8))


@pytest.mark.parametrize(
    ("data", "fsdp", "wanted", "rows"),
    [(8, 1, 1, 8), (8, 1, 8, 8), (2, 4, 9, 16), (2, 1, 25, 26), (1, 1, 25, 25)],
)
def test_batch_size_is_the_next_that_splits_evenly(data, fsdp, wanted, rows):
    assert parallel.batch_size(parallel.make_mesh(data, fsdp), wanted) == rows


def test_each_device_holds_its_rows():
    mesh = parallel.make_mesh(4, 2)
    batch = {"video": np.arange(48.0).reshape(16, 3), "mask": np.arange(16) < 5}
    placed = parallel.shard(mesh, batch)
    assert placed.keys() == batch.keys()
    for name, whole in batch.items():
        np.testing.assert_array_equal(placed[name], whole)
        parts = {part.device: np.asarray(part.data) for part in placed[name].addressable_shards}
        for row, device in enumerate(mesh.devices.flat):
            np.testing.assert_array_equal(parts[device], whole[2 * row : 2 * row + 2])


def test_shard_moves_what_is_on_a_device_already():
    mesh = parallel.make_mesh(8)
    placed = parallel.shard(mesh, {"index": jax.numpy.arange(16)})["index"]
    assert [part.data.tolist() for part in placed.addressable_shards][:2] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((1024, 4096), (None, "fsdp")),
        ((4096, 1024), ("fsdp",)),
        ((128, 128), ("fsdp",)),  # the first of equals
        ((128, 129), ("fsdp",)),  # 4 does not divide the largest
        ((3, 8, 4095, 6), (None, "fsdp")),
        ((129, 131), ()),  # none divides
        ((127, 128), ()),  # small
        ((), ()),
    ],
)
def test_the_largest_dimension_that_divides_is_split(shape, spec):
    array = jax.ShapeDtypeStruct(shape, np.float32)
    assert parallel.layout(parallel.make_mesh(2, 4), array).spec == PartitionSpec(*spec)
    assert parallel.layout(parallel.make_mesh(8), array).spec == PartitionSpec()


def test_each_device_holds_its_part_of_the_parameters():
    tree = {"a": {"kernel": np.arange(2.0**15).reshape(128, 256), "bias": np.arange(256.0)}}
    mesh = parallel.make_mesh(2, 4)
    placed = parallel.place(mesh, tree)["a"]
    kernels = {part.device: part.data for part in placed["kernel"].addressable_shards}
    biases = {part.device: part.data for part in placed["bias"].addressable_shards}
    for row, column in np.ndindex(2, 4):
        device, own = mesh.devices[row, column], slice(64 * column, 64 * column + 64)
        np.testing.assert_array_equal(kernels[device], tree["a"]["kernel"][:, own])
        np.testing.assert_array_equal(biases[device], tree["a"]["bias"])


def test_parameters_are_whole_in_a_program_and_their_gradients_are_not():
    mesh = parallel.make_mesh(2, 4)
    rows = np.arange(16.0 * 128).reshape(16, 128) / 2048
    kernel = np.linspace(-1, 1, 128 * 256).reshape(128, 256)
    held = []

    def loss(params, rows):
        params = parallel.gathered(params)
        jax.debug.inspect_array_sharding(params["kernel"], callback=held.append)
        return (jnp.tanh(rows @ params["kernel"]) ** 2).sum()

    with jax.set_mesh(mesh):
        placed = parallel.place(mesh, {"kernel": kernel}), parallel.shard(mesh, {"x": rows})["x"]
        gradient = jax.jit(jax.grad(loss))(*placed)["kernel"]
    assert all(sharding.is_fully_replicated for sharding in held)
    assert held
    assert gradient.sharding.is_equivalent_to(parallel.layout(mesh, gradient), 2)
    out = np.tanh(rows @ kernel)
    np.testing.assert_allclose(gradient, rows.T @ (2 * out * (1 - out**2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [16, 3])
def test_a_kernel_sees_its_own_rows(count):
    seen = []

    def kernel(x):
        seen.append(x.shape)
        return x * 2

    with jax.set_mesh(parallel.make_mesh(2, 4)):
        doubled = jax.jit(lambda x: parallel.by_device(kernel, (x,)))(np.arange(float(count)))
    assert seen == [(2,) if count == 16 else (3,)]
    np.testing.assert_array_equal(doubled, 2 * np.arange(count))


def test_a_sum_over_sharded_rows_is_the_sum():
    mesh = parallel.make_mesh(2, 4)
    placed = parallel.shard(mesh, {"x": np.arange(16.0)})["x"]
    assert float(jax.jit(lambda x: x.sum())(placed)) == 120.0
