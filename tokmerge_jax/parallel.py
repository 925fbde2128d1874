"""Devices as a mesh, and arrays laid out over it; the same on one CPU and on a pod of hosts.

A batch is split along the mesh's "data" axis; parameters are whole on every device.
"""

import math
from collections.abc import Callable, Mapping

import jax
import numpy as np
from einops import rearrange
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from tokmerge_jax.types import Batch, UserError


def make_mesh(axes: Mapping[str, int]) -> Mesh:
    """The devices in a grid with the axes of `config.mesh`; -1 takes all that are left.

    Axes are Auto: the compiler decides how arrays inside a program are laid out.

    Raises:
      UserError: if the devices do not fit.
    """
    devices = jax.devices()
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
    """The smallest number of rows, `wanted` or more, that the "data" axis splits evenly.

    Raises:
      UserError: if `wanted`, a configuration's `eval.batch_size`, is below 1.
    """
    if wanted < 1:
        raise UserError(f"config.eval.batch_size={wanted} must be at least 1")
    ways = mesh.shape["data"]
    return -(-wanted // ways) * ways


def shard(mesh: Mesh, batch: Batch) -> dict[str, jax.Array]:
    """Host arrays [B,...] on the devices, rows split along "data".

    Every process passes the whole batch; a device receives its own rows only.
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def place(x: np.ndarray | jax.Array) -> jax.Array:
        return jax.make_array_from_callback(x.shape, sharding, lambda index: np.asarray(x)[index])

    return {name: place(x) for name, x in batch.items()}


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
    """A tree of arrays, whole on every device of the mesh."""
    return jax.device_put(tree, whole(mesh))


def whole(mesh: Mesh) -> NamedSharding:
    """The layout of an array that every device of the mesh holds all of."""
    return NamedSharding(mesh, PartitionSpec())


def ways() -> int:
    """Into how many runs the rows of a batch are split on the mesh that is set (`jax.set_mesh`)."""
    return dict(jax.sharding.get_abstract_mesh().shape).get("data", 1)


def by_device(function: Callable[..., PyTree], arrays: PyTree) -> PyTree:
    """`function(*arrays)`, by each device for the rows that lie on it.

    For hand-written kernels, which the compiler cannot split. Where rows do not fall into equal
    parts, every device works on all of them.

    Args:
      function: `(*arrays of some rows) -> tree of arrays of as many rows`.
      arrays: a tuple of trees, all leaves with one leading axis.
    """
    if jax.sharding.get_abstract_mesh().size < 2:  # 0: none is set
        return function(*arrays)
    batch = jax.tree.leaves(arrays)[0].shape[0]
    rows = PartitionSpec() if batch % ways() else PartitionSpec("data")
    return jax.shard_map(function, in_specs=rows, out_specs=rows, check_vma=False)(*arrays)


def map_rows(function: Callable[..., PyTree], arrays: PyTree, together: int) -> PyTree:
    """Maps over the rows of `arrays` in turn, at most `together` of each device's at a time.

    A batch lies on the mesh in one run of rows per device. Working on one row of each run
    keeps all devices at work; walking through the runs one after the other would not.

    Args:
      function: `(*arrays of some rows) -> tree of arrays of as many rows`.
      arrays: a tuple of trees, all leaves with one leading axis.
      together: rows.
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
