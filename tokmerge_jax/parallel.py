"""Device meshes and array sharding, for any number of devices of any number of processes.

A batch is sharded over all devices. Parameters, and what training keeps beside them, are replicated
along the mesh's "data" axis and sharded along "fsdp", where a program gathers them before use.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import numpy as np
from einops import rearrange
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import PyTree

from tokmerge_jax.types import Batch, UserError

_ANY = ContextVar("any", default=False)
_LEAST = 2**14  # number of elements from which an array is worth a transfer of its own


def make_mesh(data: int = -1, fsdp: int = 1, *, local: bool = False) -> Mesh:
    """Arranges devices in a mesh with the axes of `config.mesh`; -1 = all remaining devices.

    Axes are Auto: the compiler shards the arrays inside a program.

    Args:
      data: size of the axis over which parameters are replicated.
      fsdp: size of the axis over which they are split.
      local: whether to take only the devices of this process, not of all.

    Raises:
      UserError: if the devices do not fit.
    """
    devices = jax.local_devices() if local else jax.devices()
    given = [size for size in (data, fsdp) if size != -1]
    wanted = math.prod(given)
    least = 1 if local or jax.process_count() == 1 else len(devices)
    fits = (
        least <= wanted <= len(devices) if len(given) == 2 else len(devices) % max(wanted, 1) == 0
    )
    if min(given, default=0) < 1 or not fits:
        raise UserError(
            f"config.mesh (data={data}, fsdp={fsdp}) does not fit {len(devices)} devices; give each"
            " axis a positive size, at most one of them -1 (several processes must use all devices)"
        )
    sizes = [len(devices) // wanted if size == -1 else size for size in (data, fsdp)]
    kinds = (AxisType.Auto,) * 2
    return jax.make_mesh(sizes, ("data", "fsdp"), kinds, devices=devices[: math.prod(sizes)])


def batch_size(mesh: Mesh, wanted: int) -> int:
    """The smallest multiple of the number of devices that is at least `wanted`.

    Raises:
      UserError: if `wanted`, a configuration's `eval.batch_size`, is below 1.
    """
    if wanted < 1:
        raise UserError(f"config.eval.batch_size={wanted} must be at least 1")
    return -(-wanted // mesh.size) * mesh.size


def shard(mesh: Mesh, batch: Batch) -> dict[str, jax.Array]:
    """Puts host arrays [B,...] on the devices, with rows sharded over all of them.

    Every process passes the rows of its own devices, in the order of the mesh.
    """
    sharding = rows(mesh)

    def put(x: np.ndarray | jax.Array) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return {name: put(x) for name, x in batch.items()}


def own_rows(mesh: Mesh, count: int) -> list[int]:
    """The rows of a batch of `count` that lie on this process's devices, for `shard`."""
    held, process = rows(mesh).devices_indices_map((count,)), jax.process_index()
    own = [place for device, (place,) in held.items() if device.process_index == process]
    return sorted(row for place in own for row in range(count)[place])


def place(mesh: Mesh, params: PyTree) -> PyTree:
    """Puts parameters, or a tree with arrays like theirs, on the devices as `layout` says.

    Every process passes them whole.
    """
    return jax.tree.map(put, params, layout(mesh, params))


def put(x: ArrayLike, sharding: NamedSharding) -> jax.Array:
    """Puts an array, which every process passes whole, on the devices as `sharding` says."""
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def fetch(params: PyTree) -> PyTree:
    """Returns arrays that this process can read: as they are, or NumPy arrays of all processes'."""
    if jax.process_count() == 1:
        return params
    return multihost_utils.process_allgather(params, tiled=True)


def layout(mesh: Mesh, params: PyTree) -> PyTree:
    """The sharding of each array, or shape, of a tree of parameters.

    An array is split along "fsdp" in its largest dimension that divides evenly, and replicated if
    it is small or none divides. Source: big_vision's `fsdp` (its sharding.py).
    """
    shards = mesh.shape["fsdp"]
    return jax.tree.map(lambda x: NamedSharding(mesh, _split(x.shape, shards)), params)


def abstract(mesh: Mesh, params: PyTree) -> PyTree:
    """The shapes of a tree, placed as `layout` says, to compile for or to restore to."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        params,
        layout(mesh, params),
    )


def _split(shape: tuple[int, ...], shards: int) -> PartitionSpec:
    fitting = [size for size in shape if size % shards == 0]
    if shards == 1 or math.prod(shape) < _LEAST or not fitting:
        return PartitionSpec()
    return PartitionSpec(*(None,) * shape.index(max(fitting)), "fsdp")


def gathered(params: PyTree) -> PyTree:
    """Replicates arrays of `layout` inside a program; the gradients are sharded as `layout` says.

    Without it, the compiler would also split layers over "fsdp" and exchange their activations.
    """
    shards = dict(jax.sharding.get_abstract_mesh().shape).get("fsdp", 1)
    if shards == 1:
        return params
    constrain = jax.lax.with_sharding_constraint

    @jax.custom_vjp
    def gather(x: jax.Array) -> jax.Array:
        return constrain(x, PartitionSpec())

    gather.defvjp(
        lambda x: (gather(x), None), lambda _, g: (constrain(g, _split(g.shape, shards)),)
    )
    return jax.tree.map(gather, params)


def whole(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that is replicated on every device of the mesh."""
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
    """The sharding of an array [B,...] with rows split over all devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


@contextmanager
def portable() -> Iterator[None]:
    """Within it, programs are traced for any platform and any number of rows, for `jax.export`.

    `platform` is "any", and `map_rows` computes all rows at once.
    """
    before = _ANY.set(True)
    try:
        yield
    finally:
        _ANY.reset(before)


def platform() -> str:
    """The platform that a program is compiled for: "cpu", "gpu", "tpu", or "any" (`portable`).

    It is that of the current mesh (`jax.set_mesh`), which need not be this machine's.
    """
    if _ANY.get():
        return "any"
    device = jax.sharding.get_abstract_mesh().abstract_device
    return getattr(device, "platform", jax.default_backend())  # JAX before 0.10 names none


def batch_shards() -> int:
    """Number of shards of a batch on the current mesh (`jax.set_mesh`)."""
    return max(jax.sharding.get_abstract_mesh().size, 1)  # 0: no mesh is set


def by_device(function: Callable[..., PyTree], arrays: PyTree) -> PyTree:
    """Computes `function(*arrays)` on each device for its own rows.

    For hand-written kernels, which the compiler cannot shard. If the rows cannot be split evenly,
    every device computes all of them.

    Args:
      function: `(*arrays of some rows) -> tree of arrays with as many rows`.
      arrays: a tuple of trees, all leaves with the same first axis.
    """
    if batch_shards() == 1:
        return function(*arrays)
    batch = jax.tree.leaves(arrays)[0].shape[0]
    axes = jax.sharding.get_abstract_mesh().axis_names
    spec = PartitionSpec() if batch % batch_shards() else PartitionSpec(axes)
    return jax.shard_map(function, in_specs=spec, out_specs=spec, check_vma=False)(*arrays)


def map_rows(function: Callable[..., PyTree], arrays: PyTree, together: int) -> PyTree:
    """Maps a function over groups of rows, at most `together` rows per device at a time.

    Each device holds one contiguous run of rows. A group takes rows from every run, so that all
    devices work at the same time.

    Args:
      function: `(*arrays of some rows) -> tree of arrays with as many rows`.
      arrays: a tuple of trees, all leaves with the same first axis.
      together: largest number of rows per device and group.
    """
    if _ANY.get():
        return function(*arrays)
    batch = jax.tree.leaves(arrays)[0].shape[0]
    runs = math.gcd(batch, batch_shards())
    length = batch // runs
    group = max(n for n in range(1, length + 1) if length % n == 0 and n <= max(together, 1))

    def split(x: jax.Array) -> jax.Array:
        return rearrange(x, "(runs n group) ... -> n (runs group) ...", runs=runs, group=group)

    def join(x: jax.Array) -> jax.Array:
        return rearrange(x, "n (runs group) ... -> (runs n group) ...", runs=runs)

    out = jax.lax.map(lambda xs: function(*xs), jax.tree.map(split, arrays))
    return jax.tree.map(join, out)
