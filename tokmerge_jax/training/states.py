"""Checkpoints of a training: by orbax in a folder of a file system, or as objects on a store.

orbax takes `s3://` for a local folder, and knows no AWS_ENDPOINT_URL; so the second kind is ours,
for all stores. Both are written and read by any number of processes.
"""

import collections
import contextlib
import functools
import json
import pathlib
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from tokmerge_jax import disk, hosts, objects, parallel, runtime
from tokmerge_jax.objects import Place
from tokmerge_jax.training.step import TrainState

_COMPLETE = "complete.json"


@runtime_checkable
class States(Protocol):
    """Checkpoints by their number of finished steps, of which the last ones are kept."""

    def latest(self) -> int:
        """Number of finished steps at the last complete checkpoint; 0 without one."""
        ...

    def save(self, step: int, state: TrainState) -> None:
        """Writes a checkpoint; returns when it is stored."""
        ...

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """Reads a checkpoint, with the dtypes and shardings of `abstract`."""
        ...


def states(folder: Place, keep: int) -> States:
    """The checkpoints in a folder, of which the last `keep` are kept."""
    if isinstance(folder, pathlib.Path):
        return OrbaxStates(folder, keep)
    return ObjectStates(folder, keep)


class OrbaxStates:
    """`States` in a folder that all processes share."""

    def __init__(self, folder: pathlib.Path, keep: int) -> None:
        self._folder = folder
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True, enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(folder, options=options)

    def latest(self) -> int:
        """See `States`."""
        return self._manager.latest_step() or 0

    def save(self, step: int, state: TrainState) -> None:
        """See `States`."""
        disk.check_room(self._folder, sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
        self._manager.save(step, args=ocp.args.StandardSave(state), force=True)

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """See `States`."""
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))


class ObjectStates:
    """`States` on an object store.

    Process N writes what its devices hold first as STEP/N.npz: an array NAME@I,J for each piece of
    the array NAME, which begins at [I,J]. STEP/complete.json comes last, with the number of
    processes: a checkpoint without it does not count.
    """

    def __init__(self, folder: epath.Path, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def latest(self) -> int:
        """See `States`."""
        return max(self._complete(), default=0)

    def save(self, step: int, state: TrainState) -> None:
        """See `States`."""
        place = self._folder / str(step)
        with disk.replaced(place / f"{hosts.number()}.npz") as file:
            _pack(file, state)
        hosts.wait()  # all have written
        if not hosts.number():
            runtime.write_text(place / _COMPLETE, json.dumps({"processes": hosts.count()}))
            for old in self._complete()[: -self._keep]:
                (self._folder / str(old) / _COMPLETE).unlink()
                disk.remove(self._folder / str(old))

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """See `States`; every process reads all objects, by a copy in `TMPDIR`."""
        place = self._folder / str(step)
        names = range(json.loads((place / _COMPLETE).read_bytes())["processes"])
        with contextlib.ExitStack() as opened:
            copies = pathlib.Path(opened.enter_context(tempfile.TemporaryDirectory()))
            objects.get(place, copies)
            parts = [opened.enter_context(np.load(copies / f"{name}.npz")) for name in names]
            read = functools.partial(_read, _pieces(parts))
            return jax.tree_util.tree_map_with_path(read, abstract)

    def _complete(self) -> list[int]:
        return sorted(int(mark.parent.name) for mark in self._folder.glob(f"*/{_COMPLETE}"))


_Pieces = Mapping[str, Sequence[tuple[Sequence[int], np.lib.npyio.NpzFile, str]]]
"""Name of an array -> for each piece of it, where it begins, and its file and name there."""


def _pack(file: pathlib.Path, state: TrainState) -> None:
    """Writes the pieces of which this process holds the first copy."""
    with zipfile.ZipFile(file, "w") as pack:
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            for shard in leaf.addressable_shards:
                if shard.replica_id:
                    continue
                begins = ",".join(str(part.start or 0) for part in shard.index)
                name = f"{jax.tree_util.keystr(path)}@{begins}.npy"
                with pack.open(name, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(shard.data))


def _pieces(parts: Sequence[np.lib.npyio.NpzFile]) -> _Pieces:
    pieces = collections.defaultdict(list)
    for part in parts:
        for key in part.files:
            name, _, begins = key.rpartition("@")
            pieces[name].append(([int(begin) for begin in begins.split(",") if begin], part, key))
    return pieces


def _read(pieces: _Pieces, path: jax.tree_util.KeyPath, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    """Puts an array together, and on the devices.

    Raises:
      ValueError: if pieces are missing.
    """
    name, whole, held = jax.tree_util.keystr(path), np.empty(leaf.shape, leaf.dtype), 0
    for begins, part, key in pieces.get(name, ()):
        piece = part[key].view(leaf.dtype)  # NumPy's files do not know bfloat16
        ends = map(sum, zip(begins, piece.shape, strict=True))
        whole[tuple(map(slice, begins, ends))] = piece
        held += piece.size
    if held != whole.size:
        raise ValueError(f"it holds {held} of {whole.size} numbers of {name}")
    return parallel.put(whole, leaf.sharding)
