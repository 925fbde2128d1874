"""Worker processes that do not outlive a parent that was killed."""

import multiprocessing
import os
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
