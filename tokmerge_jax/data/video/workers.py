"""Initialisers of worker processes, which must not outlive a killed parent."""

import multiprocessing
import os
import signal
import threading


def end_with_parent(*_: int) -> None:
    """Ends this worker when its parent ends, however that happens; call it first in a worker.

    Without it, the workers of a killed run wait forever for their next task.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def follow_parent(*_: int) -> None:
    """Ends this worker with its parent and ignores signals; call it first in a worker.

    A terminal's Ctrl-C and a scheduler's SIGTERM reach all processes at once. A worker that they
    ended in the middle of a message would leave the parent waiting for the rest of it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
