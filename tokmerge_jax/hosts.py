"""Several processes that are one run: how they join, exchange values and end together.

All of it goes through JAX's coordination service and needs no device, so that a process can wait
for hours while another one decodes. A single process is a run of one, without a service.
"""

import contextlib
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

import jax
import numpy as np
from jax._src import distributed  # the service's keys and barriers have no public name
from jaxtyping import Int

from tokmerge_jax import disk
from tokmerge_jax.types import Json, UserError

JOINING = 300.0
"""Seconds after which a process that could not join gives up."""

_HEARTBEAT = 30  # seconds without a sign of life after which JAX ends the other processes
_POLL = 0.5  # seconds between looks for the fault of another process
_ACKNOWLEDGING = 5_000  # milliseconds to wait until all processes have read the fault
_VISIBLE = 90.0  # seconds; NFS, for one, may show other hosts' new files after a minute
_EVER = 2**31 - 1  # milliseconds (24 days)
_BY_HAND = re.compile(r"(.+:\d+),(\d+),(\d+)")
_FAULT = "tokmerge_jax/fault"  # the key of the first fault
_FAULT_READ = "tokmerge_jax/fault_read"  # the barrier that processes reach once they have read it
_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")  # number of processes, where known

_Client = Any  # of jaxlib, which has no types

_exchanges = itertools.count()  # of `gather`, which all processes call equally often


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
      UserError: if `where` is none of these, no cluster is found, or the port is in use.
        After `JOINING` seconds of waiting, the process ends with such a sentence.
    """
    if where == "off":
        return
    settings = _settings(where)
    late = threading.Timer(JOINING, _give_up, [where])  # JAX would abort with a stack trace
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            **settings,
            initialization_timeout=int(2 * JOINING),
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except ValueError as error:
        raise UserError(
            f"--distributed={where}: no cluster is found here ({error}); give"
            " HOST:PORT,COUNT,NUMBER, or off"
        ) from error
    finally:
        late.cancel()


def _settings(where: str) -> dict[str, Any]:  # of different types
    """The arguments of JAX's start."""
    if where == "auto":
        return {}
    by_hand = _BY_HAND.fullmatch(where)
    if not by_hand or int(by_hand[3]) >= int(by_hand[2]):
        raise UserError(
            f"--distributed={where} must be auto, off or HOST:PORT,COUNT,NUMBER, with an address of"
            " process 0, the number of processes and this one's number, from 0"
        )
    if by_hand[3] == "0":  # JAX would crash
        try:
            socket.create_server(("", int(by_hand[1].rpartition(":")[2]))).close()
        except (OSError, OverflowError) as error:
            raise UserError(f"--distributed={where}: {error}; choose another port") from error
    return {
        "coordinator_address": by_hand[1],
        "num_processes": int(by_hand[2]),
        "process_id": int(by_hand[3]),
        "cluster_detection_method": "deactivate",
    }


def _give_up(where: str) -> NoReturn:
    print(
        f"--distributed={where}: not all processes have joined within {JOINING:g} seconds; check"
        " that each was started, that the address is one of process 0, and that no firewall closes"
        " the port",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Runs a block in all processes, which end together; only process 0 prints.

    If the block raises in one process, all of them end at once, with exit code 1 or that of a
    SystemExit. Process 0 prints the message; an unexpected error prints its stack trace in the
    process where it occurred.
    """
    client = distributed.global_state.client
    if client is None:
        yield
        return
    signal.signal(signal.SIGTERM, _terminated)  # JAX's handler would only record the signal
    # `os._exit` leaves semaphores and shared memory: Python's tracker removes them, and warns.
    sys.warnoptions.append("ignore:resource_tracker")
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=[client, ended], daemon=True)
    watch.start()
    try:
        with _only_first_prints():
            yield
        gather(None)
    except BaseException as error:
        ended.set()
        _fail(client, error)
    ended.set()
    watch.join()
    jax.distributed.shutdown()


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
    gather(None)
    return rows[number() :: count()]


@contextlib.contextmanager
def held(folder: pathlib.Path, name: str = "lock") -> Iterator[None]:
    """`disk.held` for all processes of the run: process 0 holds the lock until all have left.

    Raises:
      UserError: as `disk.held`; also if the folder is not the same for all processes.
    """
    lock = folder / name
    with contextlib.nullcontext() if number() else disk.held(folder, name):
        (holder, *_) = gather(None if number() else lock.read_text("utf-8"))
        wait_until_visible(folder, lambda: lock.exists() and lock.read_text("utf-8") == holder)
        gather(None)  # all have seen the lock: the block may change the folder
        yield
        gather(None)  # all have left: process 0 may release the lock


def wait_until_visible(folder: pathlib.Path, seen: Callable[[], bool]) -> None:
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
    with contextlib.ExitStack() as stack:
        if number():
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def _terminated(signum: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise SystemExit(f"stopped by {signal.Signals(signum).name}")


def _fail(client: _Client, error: BaseException) -> NoReturn:
    """Makes the fault of this process known and ends it."""
    code, cause = 1, error
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
        cause = error.__context__ or error
        if isinstance(error.code, str) and not number():  # Python would print it at exit
            print(error.code, file=sys.stderr)
    elif not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error)
    text = str(cause) if isinstance(cause, UserError | SystemExit) else repr(cause)
    fault = {"process": number(), "text": text, "code": code}
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # another process was first
        client.key_value_set(_FAULT, json.dumps(fault))
    _end(client, code)


def _watch(client: _Client, ended: threading.Event) -> None:
    """Ends this process soon after another one has failed."""
    while not ended.wait(_POLL):
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # no process has failed
            fault = json.loads(client.key_value_try_get(_FAULT))
            if not number():
                message = f"process {fault['process']} of {count()}: {fault['text']}"
                print(f"\n{message}", file=sys.stderr, flush=True)
            _end(client, fault["code"])


def _end(client: _Client, code: int) -> NoReturn:
    """Ends this process once all have read the fault, without waiting for them at exit."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # one may not answer any more
        client.wait_at_barrier(_FAULT_READ, _ACKNOWLEDGING)
    if not number():
        time.sleep(_POLL)  # the service ends with this process, and others would abort
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
