"""Work at which no more files can be opened; a worker process finds it by its name."""

import errno


def at_two(item):
    """Returns any item but 2."""
    if item == 2:
        raise OSError(errno.EMFILE, "Too many open files", "b.mp4")
    return item
