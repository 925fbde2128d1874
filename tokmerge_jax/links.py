"""Connections of process 0 with the others of a run: who has come, and whose fault ends all.

They are made before JAX's own, on the same port: JAX would end a process with a stack trace if
another one has its number or is lost.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import NamedTuple, NoReturn

from tokmerge_jax.types import Json, UserError

_OWN_FIRST = 1.0  # seconds that process 0 has to report its own fault, often the same as another's
_RETRY = 0.2  # seconds between attempts to reach process 0
_ENDING = 5.0  # seconds for other processes to end after a fault
_LONGEST_TEXT, _LONGEST = 10_000, 200_000  # characters of a fault, bytes of a message
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds until a silent host is probed and between probes, and number of probes until it is lost:
earlier than JAX's service ends the processes."""


class _Fault(NamedTuple):
    """The end of a run: the process at fault, a sentence, and the exit code of all."""

    process: int
    text: str
    code: int


class Links:
    """The connections of a process, through which a fault in one process ends all."""

    def __init__(self, number: int, count: int, links: Mapping[Connection, int]) -> None:
        """Takes the connections of process `number` of `count`, with the numbers of the others."""
        self._number, self._count, self._links = number, count, dict(links)
        self._over, self._ending = threading.Event(), threading.Lock()

    def watch(self) -> None:
        """From now on, ends this process if another one fails or is lost, whatever it is doing."""
        signals, caught = socket.socketpair()
        caught.setblocking(False)
        signal.set_wakeup_fd(caught.detach(), warn_on_full_buffer=False)
        if self._number:  # JAX aborts if process 0 is lost: sleep(SIGABRT) lets `_watch` report it
            libc = ctypes.CDLL(None)
            libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))
        threading.Thread(target=self._watch, args=[signals], daemon=True).start()

    def end_on_sigterm(self) -> None:
        """From now on, SIGTERM ends all processes, even while the main thread is in native code."""
        signal.signal(signal.SIGTERM, _wait_for_end)

    def fail(self, text: str, code: int) -> NoReturn:
        """Ends all processes with this exit code; process 0 reports the text, if not its own."""
        self._over.set()
        self._end(_Fault(self._number, text, code))

    def finish(self) -> None:
        """From now on, connections may close: all processes have finished."""
        self._over.set()

    def _watch(self, signals: socket.socket) -> None:
        while not self._over.is_set():
            for source in wait([signals, *self._links]):
                if isinstance(source, Connection):
                    self._hear_fault(source)
                elif signal.SIGTERM in signals.recv(64):
                    fault = _Fault(self._number, "stopped by SIGTERM", 1)
                    if not self._number:
                        self._report(fault)
                    self._end(fault)

    def _hear_fault(self, source: Connection) -> None:
        heard, number = _hear(source), self._links[source]
        lost = "lost (it was killed, or its host has failed); run the same command again"
        fault = _Fault(number, lost, 1) if heard is None else _Fault(*heard)
        if not self._over.wait(0 if self._number else _OWN_FIRST):
            if heard is None or not self._number:
                self._report(fault)
            self._end(fault)

    def _report(self, fault: _Fault) -> None:
        text = f"\nprocess {fault.process} of {self._count}: {fault.text}"
        print(text, file=sys.__stderr__, flush=True)

    def _end(self, fault: _Fault) -> NoReturn:
        """Makes the fault known and ends this process; process 0, which JAX needs, ends last."""
        with self._ending:
            _send(self._links, fault._replace(text=fault.text[:_LONGEST_TEXT]))
            others, until = [] if self._number else [*self._links], time.monotonic() + _ENDING
            while others and (ready := wait(others, max(0, until - time.monotonic()))):
                others = [link for link in others if link not in ready or _hear(link) is not None]
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(fault.code)


def meet(address: str, count: int, number: int, patience: float) -> Links:
    """Connects process 0 with all others, once each has come.

    Args:
      address: "HOST:PORT" of process 0; the port is free again when all have come.
      count: number of processes.
      number: this one's number, from 0.
      patience: seconds to wait for others.

    Raises:
      UserError: if the port is in use, process 0 cannot be reached, another process does not come,
        or two have the same number or different counts.
    """
    host, _, port = address.rpartition(":")
    if number:
        link = _reach(host.strip("[]"), int(port), (count, number), patience)
        return Links(number, count, {link: 0})
    links: dict[Connection, int] = {}
    try:
        with _listening(int(port)) as server:
            _receive(server, count, links, patience)
    except UserError as error:
        _send(links, str(error))
        raise
    _send(links, "")
    return Links(0, count, links)


def _listening(port: int) -> socket.socket:
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise UserError(f"{error}; choose another port") from error


def _receive(
    server: socket.socket, count: int, links: dict[Connection, int], patience: float
) -> None:
    """Accepts connections until `links` has all other processes."""
    unknown, until = set[Connection](), time.monotonic() + patience
    while len(links) < count - 1:
        ready = set(wait([server, *unknown, *links], max(0, until - time.monotonic())))
        if not ready:
            missing = sorted({*range(1, count)} - {*links.values()})
            raise UserError(
                f"missing after {patience:g} seconds: process {', '.join(map(str, missing))} (of"
                f" {count}); check that each was started, with the address of process 0"
            )
        for link in links.keys() & ready:  # its process has ended, and may be started again
            del links[link]
        for link in unknown & ready:
            unknown.remove(link)
            _greet(link, count, links)
        if server in ready:
            unknown.add(_connection(server.accept()[0]))


def _greet(link: Connection, count: int, links: dict[Connection, int]) -> None:
    """Adds the connection of a process that says its count and number."""
    match _hear(link):
        case [int(its_count), int(number)]:
            known = number in links.values()
            links[link] = number
            if its_count != count:
                raise UserError(
                    f"process {number} was started with COUNT={its_count}, but process 0 with"
                    f" COUNT={count}; give all the same"
                )
            if known:
                raise UserError(f"NUMBER={number} was given twice; give each process its own")


def _reach(host: str, port: int, hello: tuple[int, int], patience: float) -> Connection:
    """Connects to process 0, and waits until all have come."""
    until, reason = time.monotonic() + patience, ""
    while (left := until - time.monotonic()) > 0:
        try:
            link = _connection(socket.create_connection((host, port), left))
            _send([link], hello)
            answer = _hear(link) if link.poll(patience + _ENDING) else None
            if answer == "":
                return link
            if isinstance(answer, str):
                raise UserError(answer)
            reason = "something else answers"
        except OSError as error:
            reason = str(error)
        time.sleep(_RETRY)
    raise UserError(
        f"process 0 cannot be reached at {host}:{port} within {patience:g} seconds ({reason});"
        " check that it was started, that the address is its own, and that no firewall closes the"
        " port"
    )


def _connection(connected: socket.socket) -> Connection:
    connected.settimeout(None)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Connection(connected.detach())


def _send(links: Iterable[Connection], message: Json) -> None:
    for link in links:
        with contextlib.suppress(OSError):  # it has ended
            link.send_bytes(json.dumps(message).encode())


def _hear(link: Connection) -> Json:
    """The next message; None if the other process has ended, or is none of a run."""
    try:
        return json.loads(link.recv_bytes(_LONGEST))
    except (EOFError, OSError, ValueError):
        return None


def _wait_for_end(signum: int, frame: FrameType | None) -> None:
    """Does no more: `Links` has the signal's number too, and ends the process."""
    del signum, frame
    time.sleep(_ENDING)
