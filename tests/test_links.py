"""How the processes of a run meet: who is missing, who is there twice, what is no process."""

import contextlib
import functools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tokmerge_jax import links
from tokmerge_jax.types import UserError


def free_port():
    with socket.create_server(("", 0)) as free:
        return free.getsockname()[1]


def met(*processes, patience=0.5, host="localhost"):
    """What each (count, number) hears; "" if it has met the others."""
    address = f"{host}:{free_port()}"

    def meet(process):
        try:
            links.meet(address, process[0], process[1], patience)
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(processes)) as threads:
        return list(threads.map(meet, processes))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_all_meet(host):
    if host == "[::1]" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    assert met((3, 0), (3, 1), (3, 2), patience=20.0, host=host) == [""] * 3


def test_one_process_is_complete():
    assert met((1, 0)) == [""]


def test_missing_processes_are_named_to_all():
    assert set(met((4, 0), (4, 2))) == {
        "missing after 0.5 seconds: process 1, 3 (of 4); check that each was started, with the"
        " address of process 0"
    }


def test_a_number_given_twice_is_reported_to_all():
    fault = "NUMBER=1 was given twice; give each process its own"
    assert met((3, 0), (3, 1), (3, 1), patience=20.0) == [fault] * 3


def test_another_count_is_reported_to_all():
    fault = "process 2 was started with COUNT=3, but process 0 with COUNT=2; give all the same"
    assert met((2, 0), (3, 2), patience=20.0) == [fault] * 2


@pytest.mark.parametrize(
    ("host", "reason"), [("localhost", "refused"), ("no-such-host.invalid", "Errno -")]
)
def test_process_0_cannot_be_reached(host, reason):
    (fault,) = met((2, 1), host=host)
    assert fault.startswith(f"process 0 cannot be reached at {host}:")
    assert reason in fault
    assert "check that it was started" in fault


def test_something_else_answers():
    with socket.create_server(("localhost", 0)) as server:

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as stranger:
                        stranger.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(UserError, match=r"within 0\.5 seconds \(something else answers\)"):
            links.meet(f"localhost:{server.getsockname()[1]}", 2, 1, 0.5)
        server.shutdown(socket.SHUT_RDWR)


def test_strangers_and_a_process_that_comes_again_do_not_disturb():
    """A scanner that says nothing, one that talks, and a first process 1 that was ended."""
    port = free_port()
    with ThreadPoolExecutor() as threads:
        meet = functools.partial(links.meet, f"localhost:{port}", 3)
        first = threads.submit(meet, 0, 20.0)
        silent, talking, ended = (_connected(port) for _ in range(3))
        talking.sendall(b"GET / HTTP/1.1\r\n\r\n")
        hello = b"[3, 1]"
        ended.sendall(len(hello).to_bytes(4, "big") + hello)
        ended.close()
        second, third = threads.submit(meet, 1, 20.0), threads.submit(meet, 2, 20.0)
        for each in (first, second, third):
            each.result()
        for stranger in (silent, talking):
            stranger.close()


def _connected(port):
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("localhost", port))
        time.sleep(0.01)
