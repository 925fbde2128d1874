"""Device meshes and array sharding, for any number of devices of any number of processes.

A batch is sharded along the mesh's "data" axis; parameters are replicated on every device.
"""

import math
from collections.abc import Callable, Mapping

import jax
import numpy as np
from einops import rearrange
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from tokmerge_jax.types import Batch, UserError


def make_mesh(axes: Mapping[str, int], *, local: bool = False) -> Mesh:
    """Arranges devices in a mesh with the axes of `config.mesh`; -1 = all remaining devices.

    Axes are Auto: the compiler shards the arrays inside a program.

    Args:
      axes: name -> size.
      local: whether to take only the devices of this process, not of all.

    Raises:
      UserError: if the devices do not fit.
    """
    devices = jax.local_devices() if local else jax.devices()
    sizes = dict(axes)
    open_axes = [name for name, size in sizes.items() if size == -1]
    fixed = [size for size in sizes.values() if size != -1]
    ways = math.prod(fixed)
    if min(fixed, default=1) < 1 or len(open_axes) > 1:
        fits = False
    elif open_axes:
        fits = len(devices) % ways == 0
    else:
        fits = ways <= len(devices)
    if not fits:
        wanted = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise UserError(
            f"config.mesh ({wanted}) does not fit {len(devices)} devices; give each axis a positive"
            " size, at most one of them -1"
        )
    sizes.update({name: len(devices) // ways for name in open_axes})
    count = math.prod(sizes.values())
    kinds = (AxisType.Auto,) * len(sizes)
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), kinds, devices=devices[:count])


def batch_size(mesh: Mesh, wanted: int) -> int:
    """The smallest multiple of the "data" axis's size that is at least `wanted`.

    Raises:
      UserError: if `wanted`, a configuration's `eval.batch_size`, is below 1.
    """
    if wanted < 1:
        raise UserError(f"config.eval.batch_size={wanted} must be at least 1")
    ways = mesh.shape["data"]
    return -(-wanted // ways) * ways


def shard(mesh: Mesh, batch: Batch) -> dict[str, jax.Array]:
    """Puts host arrays [B,...] on the devices, with rows sharded along "data".

    Every process passes the rows of its own devices, in the order of the mesh.
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def place(x: np.ndarray | jax.Array) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return {name: place(x) for name, x in batch.items()}


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
    """Replicates a tree of arrays on every device of the mesh."""
    return jax.device_put(tree, whole(mesh))


def whole(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that is replicated on every device of the mesh."""
    return NamedSharding(mesh, PartitionSpec())


def ways() -> int:
    """Number of data shards of a batch on the current mesh (`jax.set_mesh`)."""
    return dict(jax.sharding.get_abstract_mesh().shape).get("data", 1)


def by_device(function: Callable[..., PyTree], arrays: PyTree) -> PyTree:
    """Computes `function(*arrays)` on each device for its own rows.

    For hand-written kernels, which the compiler cannot shard. If the rows cannot be split evenly,
    every device computes all of them.

    Args:
      function: `(*arrays of some rows) -> tree of arrays with as many rows`.
      arrays: a tuple of trees, all leaves with the same first axis.
    """
    if jax.sharding.get_abstract_mesh().size < 2:  # 0: no mesh is set
        return function(*arrays)
    batch = jax.tree.leaves(arrays)[0].shape[0]
    rows = PartitionSpec() if batch % ways() else PartitionSpec("data")
    return jax.shard_map(function, in_specs=rows, out_specs=rows, check_vma=False)(*arrays)


def map_rows(function: Callable[..., PyTree], arrays: PyTree, together: int) -> PyTree:
    """Maps a function over groups of rows, at most `together` rows per device at a time.

    Each device holds one contiguous run of rows. A group takes rows from every run, so that all
    devices work at the same time.

    Args:
      function: `(*arrays of some rows) -> tree of arrays with as many rows`.
      arrays: a tuple of trees, all leaves with the same first axis.
      together: largest number of rows per device and group.
    """
    batch = jax.tree.leaves(arrays)[0].shape[0]
    runs = math.gcd(batch, ways())
    length = batch // runs
    group = max(n for n in range(1, length + 1) if length % n == 0 and n <= max(together, 1))

    def split(x: jax.Array) -> jax.Array:
        return rearrange(x, "(runs n group) ... -> n (runs group) ...", runs=runs, group=group)

    def join(x: jax.Array) -> jax.Array:
        return rearrange(x, "n (runs group) ... -> (runs n group) ...", runs=runs)

    out = jax.lax.map(lambda xs: function(*xs), jax.tree.map(split, arrays))
    return jax.tree.map(join, out)
