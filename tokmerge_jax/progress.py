"""Progress of long work: a bar in a terminal; elsewhere, as in a log file, a few lines a minute."""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

_LINE = "{desc}: {n_fmt} of {total_fmt} ({percentage:.0f} %), {rate_fmt}, {remaining} left{postfix}"
_INTERVAL = 20.0  # seconds between lines
_COMPILING = "compiling for the first batch"


class Progress(tqdm):
    """`tqdm` on stderr, in the form that suits where it is shown.

    A terminal's bar overwrites itself; a file would collect thousands of copies of it.
    """

    _shown: float = -1  # the count of the last line

    def __init__(
        self,
        desc: str,
        total: int,
        unit: str,
        *,
        done: int = 0,
        compiles: bool = False,
    ) -> None:
        """Shows that the work begins.

        Args:
          desc: what is done, for example "encoding videos".
          total: number of units of the whole work.
          unit: what is counted.
          done: units that an earlier run did.
          compiles: whether the first of these units has to wait for a program to be compiled.
        """
        plain = not sys.stderr.isatty()
        super().__init__(
            desc=desc,
            total=total,
            initial=done,
            unit=unit,
            postfix=_COMPILING if compiles and done < total else None,
            bar_format=_LINE if plain else None,
            mininterval=_INTERVAL if plain else 0.1,
            miniters=1 if plain else None,
        )

    def update(self, n: int | float | None = 1) -> bool | None:
        """Counts `n` units more; the first ones end the note that a program is compiled."""
        if not self.disable and self.postfix == _COMPILING:  # TQDM_DISABLE: no state is kept
            self.set_postfix_str("", refresh=False)
        return super().update(n)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Shows the state; no second line for the same count."""
        if self.fp.isatty() or self.n != self._shown:
            super().display(msg, pos)
        self._shown = self.n

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:  # a wrapper of tqdm's, of no type
        """The function that shows a state: over the last one in a terminal, below it elsewhere."""
        if file.isatty():
            return tqdm.status_printer(file)
        states = itertools.count()

        def write(text: str) -> None:
            file.write(f"\n{text}" if next(states) else text)  # closing ends the last line
            file.flush()

        return write


def tracked(items: Iterable[T], desc: str, total: int, unit: str) -> Iterator[T]:
    """The items one after the other, each counted when the next one is asked for."""
    with Progress(desc, total, unit) as bar:
        for item in items:
            yield item
            bar.update()
