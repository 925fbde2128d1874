"""A kind of input whose reader does all that a reader must not do, to test what watches it."""

import os
import pathlib
import signal
from collections.abc import Callable

import numpy as np

from tests.fuzz.kind import Kind
from tokmerge_jax.types import UserError


def _fail(case: pathlib.Path, error: Exception) -> None:
    raise error


def _compute(case: pathlib.Path) -> None:
    while True:
        pass


_DEEDS: dict[str, Callable[[pathlib.Path], object]] = {
    "reads": lambda case: (case / "written").write_text("beside the input is allowed"),
    "refuses": lambda case: _fail(case, UserError("one short sentence")),
    "raises": lambda case: _fail(case, ValueError("a fault")),
    "chatters": lambda case: _fail(case, UserError("x" * 1000)),
    "crashes": lambda case: os.kill(os.getpid(), signal.SIGSEGV),
    "computes": _compute,
    "waits": lambda case: signal.pause(),
    "grows": lambda case: np.ones(2**25),
    "writes": lambda case: (case.parents[2] / "written").write_text(""),
    "makes": lambda case: (case.parent / "made").mkdir(),
    "runs": lambda case: os.system("true"),
}

SAID = {
    "reads": "",
    "refuses": "one short sentence",
    "raises": "ValueError: a fault",
    "chatters": "says at length: 'x",
    "crashes": "crashed: SIGSEGV",
    "computes": "SIGXCPU",
    "waits": "hangs",
    "grows": "MiB for a file of 0.0 MiB",
    "writes": "did: open ",
    "makes": "wrote ['made']",
    "runs": "did: os.system ",
}
"""What reading does -> a part of what must be said of it."""


def make(folder: pathlib.Path) -> None:
    for deed in _DEEDS:
        (folder / deed).mkdir(parents=True)
        (folder / deed / "deed").write_text(deed)


def read(case: pathlib.Path, good: pathlib.Path) -> None:
    _DEEDS[(case / "deed").read_text()](case)


KIND = Kind("misdeeds", make, read, limit_s=1, limit_mib=100, inputs=len(_DEEDS))
