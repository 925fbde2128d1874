"""Several processes that are one run: how they join, exchange values and end together.

All of it goes through JAX's coordination service and needs no device, so that a process can wait
for hours while another one decodes. A single process is a run of one, without a service.
"""

import contextlib
import itertools
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import jax
import numpy as np
from jax._src import clusters, distributed  # whose keys and places have no public name
from jaxtyping import Int

from tokmerge_jax import disk, links
from tokmerge_jax.links import Links
from tokmerge_jax.objects import Place
from tokmerge_jax.types import Json, UserError

JOINING = 300.0
"""Seconds after which a process that could not join gives up."""

_HEARTBEAT = 30  # seconds without a sign of life after which JAX ends the other processes
_OTHERS_FIRST = 2.0  # seconds after an unexpected error for news that another process caused it
_VISIBLE = 90.0  # seconds; NFS, for one, may show other hosts' new files after a minute
_EVER = 2**31 - 1  # milliseconds (24 days)
_BY_HAND = re.compile(r"(.+:(\d+)),(\d+),(\d+)")
_LAST_PORT = 2**16 - 1
_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")  # number of processes, where known

_exchanges = itertools.count()  # of `gather`, which all processes call equally often
_links: Links | None = None  # with the other processes, from `join` on


def count() -> int:
    """Number of processes of the run."""
    return distributed.global_state.num_processes


def number() -> int:
    """This process's number, from 0."""
    return distributed.global_state.process_id


def detected() -> str:
    """How to `join`, by the environment: "auto" for one process of several, else "off"."""
    several = any(os.environ.get(name, "1") != "1" for name in _SIZES)
    several = several or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")  # GKE
    return "auto" if several else "off"


def join(where: str) -> None:
    """Joins the other processes of the run; must come before the first use of a device.

    Args:
      where: "off"; "auto" for what JAX finds itself (Slurm, Open MPI, Kubernetes, TPU slices); or
        "HOST:PORT,COUNT,NUMBER": an address of process 0, number of processes, this one's number.

    Raises:
      UserError: if `where` is none of these, no cluster is found, or the processes do not meet
        within `JOINING` seconds (`links.meet`).
    """
    if where == "off":
        return
    global _links
    try:
        address, count, number, devices = _place(where)
        _links = links.meet(address, count, number, JOINING)
        _links.watch()
        jax.distributed.initialize(
            *(address, count, number, devices),
            cluster_detection_method="deactivate",
            initialization_timeout=int(JOINING),
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except UserError as error:
        raise UserError(f"--distributed={where}: {error}") from error
    except RuntimeError as error:
        raise UserError(
            f"--distributed={where}: JAX does not connect the processes ({error!s:.200}); choose"
            " another port"
        ) from error
    _links.end_on_sigterm()  # JAX's handler would only record the signal


def _place(where: str) -> tuple[str, int, int, Sequence[int] | None]:
    """Address of process 0, number of processes, this one's number and devices (None = all)."""
    if where == "auto":
        return _detected_place()
    by_hand = _BY_HAND.fullmatch(where)
    if by_hand:
        port, count, number = map(int, by_hand.groups()[1:])
        if port <= _LAST_PORT and number < count:
            return by_hand[1], count, number, None
    raise UserError(
        "it must be auto, off or HOST:PORT,COUNT,NUMBER, with an address of process 0, the number"
        " of processes and this one's number, from 0"
    )


def _detected_place() -> tuple[str, int, int, Sequence[int] | None]:
    """What JAX finds; its variables have priority, as in `jax.distributed.initialize`."""
    given = os.environ.get("JAX_COORDINATOR_ADDRESS")
    try:
        address, count, number, devices = clusters.ClusterEnv.auto_detect_unset_distributed_params(
            given, None, None, None, None, int(JOINING)
        )
    except Exception as error:  # each kind of cluster fails with errors of its own
        raise UserError(f"the cluster gives no address of process 0 ({error})") from error
    if address is None or count is None or number is None:
        raise UserError("no cluster is found here; give HOST:PORT,COUNT,NUMBER, or off")
    return address, count, number, None if "JAX_LOCAL_DEVICE_IDS" in os.environ else devices


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Runs a block in all processes, which end together; only process 0 prints.

    If the block raises in one process, all of them end at once, with exit code 1 or that of a
    SystemExit. Process 0 prints the message; an unexpected error prints its stack trace in the
    process where it occurred.
    """
    if _links is None:
        yield
        return
    # `os._exit` leaves semaphores and shared memory: Python's tracker removes them, and warns.
    sys.warnoptions.append("ignore:resource_tracker")
    try:
        with _only_first_prints():
            yield
        wait()
    except BaseException as error:
        _fail(_links, error)
    _links.finish()
    jax.distributed.shutdown()


def wait() -> None:
    """Waits until all processes are here; all must call it equally often."""
    gather(None)


def gather(value: Json) -> list[Json]:
    """Waits for all processes and returns the value of each, in their order.

    All processes must call it equally often. Values are short: they pass through one host's memory.
    """
    client = distributed.global_state.client
    if client is None:
        return [value]
    exchange, folder = next(_exchanges), "tokmerge_jax/gather"
    client.key_value_set(f"{folder}/{exchange}/{number()}", json.dumps(value))
    texts = [
        client.blocking_key_value_get(f"{folder}/{exchange}/{other}", _EVER)
        for other in range(count())
    ]
    if exchange:  # all are at this exchange, so all have read the one before
        client.key_value_delete(f"{folder}/{exchange - 1}/{number()}")
    return [json.loads(text) for text in texts]


def share(rows: Int[np.ndarray, " N"]) -> Int[np.ndarray, " M"]:
    """This process's share of `rows`, the same list in every process; all shares are all rows.

    Waits for all processes first, so that none changes what another is still listing.
    """
    wait()
    return rows[number() :: count()]


@contextlib.contextmanager
def held(folder: Place, name: str = "lock") -> Iterator[None]:
    """`disk.held` for all processes of the run: process 0 holds the lock until all have left.

    Raises:
      UserError: as `disk.held`; also if the folder is not the same for all processes.
    """
    with disk.explained(folder) if number() else disk.held(folder, name):
        (holder, *_) = gather(None if number() else disk.holder(folder, name))
        wait_until_visible(folder, lambda: disk.holder(folder, name) == holder)
        wait()  # all have seen the lock: the block may change the folder
        yield
        wait()  # all have left: process 0 may release the lock


def wait_until_visible(folder: Place, seen: Callable[[], bool]) -> None:
    """Waits until `seen()`: other hosts' writes may appear late in a shared folder.

    Raises:
      UserError: if it does not after a while, since the folder is not shared.
    """
    until = time.monotonic() + _VISIBLE
    while not seen():
        if time.monotonic() > until:
            raise UserError(
                f"{folder}: what other processes write does not appear here; name a folder that all"
                " of them share"
            )
        time.sleep(1)


@contextlib.contextmanager
def _only_first_prints() -> Iterator[None]:
    """Discards what Python prints in other processes than process 0."""
    if not number():
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def _fail(run: Links, error: BaseException) -> NoReturn:
    """Ends all processes for the fault of this one."""
    code, cause = 1, error
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
        cause = error.__context__ or error
        if isinstance(error.code, str) and not number():  # Python would print it at exit
            print(error.code, file=sys.stderr)
    elif not isinstance(error, KeyboardInterrupt):
        time.sleep(_OTHERS_FIRST)
        traceback.print_exception(error)
    run.fail(str(cause) if isinstance(cause, UserError | SystemExit) else repr(cause), code)
