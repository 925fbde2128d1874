"""Progress of long work: a bar in a terminal, or a few lines per minute in a log file."""

import contextlib
import contextvars
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

_LINE = "{desc}: {n_fmt} of {total_fmt} ({percentage:.0f} %), {rate_fmt}, {remaining} left{postfix}"
_INTERVAL = 20.0  # seconds between lines
_COMPILING = "compiling for the first batch"
_SILENT = contextvars.ContextVar("silent", default=False)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Shows no progress of what runs inside, in this thread: work of which there is too much."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


class Progress(tqdm):
    """`tqdm` on stderr, as a bar in a terminal and as lines elsewhere.

    A terminal's bar overwrites itself; a file would collect thousands of copies of it.
    """

    _shown: float = -1  # the count in the last line

    def __init__(
        self,
        desc: str,
        total: int,
        unit: str,
        *,
        done: int = 0,
        compiles: bool = False,
    ) -> None:
        """Shows the start of the work.

        Args:
          desc: description, for example "encoding videos".
          total: number of units of the whole work.
          unit: name of a unit.
          done: number of units done by an earlier run.
          compiles: whether the first unit waits for a compilation.
        """
        plain = not sys.stderr.isatty()
        silence: dict[str, Any] = {"disable": True} if _SILENT.get() else {}  # else: environment's
        super().__init__(
            desc=desc,
            total=total,
            initial=done,
            unit=unit,
            postfix=_COMPILING if compiles and done < total else None,
            bar_format=_LINE if plain else None,
            mininterval=_INTERVAL if plain else 0.1,
            miniters=1 if plain else None,
            **silence,
        )

    def update(self, n: int | float | None = 1) -> bool | None:
        """Counts `n` more units; the first ones remove the note about compilation."""
        if not self.disable and self.postfix == _COMPILING:  # TQDM_DISABLE: no state is kept
            self.set_postfix_str("", refresh=False)
        return super().update(n)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Shows the state, but never two lines for the same count."""
        if self.fp.isatty() or self.n != self._shown:
            super().display(msg, pos)
        self._shown = self.n

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:  # Any: an untyped wrapper of tqdm
        """Returns a function that prints a state: over the last one in a terminal, else below."""
        if file.isatty():
            return tqdm.status_printer(file)
        states = itertools.count()

        def write(text: str) -> None:
            file.write(f"\n{text}" if next(states) else text)  # closing ends the last line
            file.flush()

        return write


def tracked(items: Iterable[T], desc: str, total: int, unit: str) -> Iterator[T]:
    """Yields the items and counts each when the next one is requested."""
    with Progress(desc, total, unit) as bar:
        for item in items:
            yield item
            bar.update()
