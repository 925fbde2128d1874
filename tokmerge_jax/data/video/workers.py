"""Worker processes that do not outlive a parent that was killed."""

import multiprocessing
import os
import signal
import threading


def end_with_parent(*_: int) -> None:
    """To be called first in a worker: ends it when its parent ends, however that happens.

    Without it, the workers of a killed run wait for their next task for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def follow_parent(*_: int) -> None:
    """To be called first in a worker that sends data: as `end_with_parent`, and by nothing else.

    A terminal's Ctrl-C and a scheduler's SIGTERM reach all processes at once. A worker that they
    ended in the middle of a message would leave the parent waiting for the rest of it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
