"""Answers the questions of all requests from one index, with one model in one thread."""

import concurrent.futures
import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from tokmerge_jax import progress
from tokmerge_jax.disk import RefusedError
from tokmerge_jax.own_videos import settings
from tokmerge_jax.own_videos.damage import DamageError
from tokmerge_jax.own_videos.filters import Filter
from tokmerge_jax.own_videos.ranking import Hit
from tokmerge_jax.own_videos.search import Searcher
from tokmerge_jax.serving.batching import Batches
from tokmerge_jax.serving.catalogue import Catalogue
from tokmerge_jax.tasks import kept
from tokmerge_jax.types import UserError

_BATCH = 16  # the texts of one program
_WAITING = 512  # questions that may wait
_PAUSE = 5.0  # seconds until an index that could not be opened is tried again
_DEPTHS = (51, 201, 1001, 10_001)  # one more than is shown, since an answer says whether it is all

T = TypeVar("T")


class UnreadableError(Exception):
    """The index cannot be read for now; the reason is on stderr."""

    def __init__(self) -> None:
        super().__init__("the index cannot be read for now; the output of the server says why")


class Kind(NamedTuple):
    """What questions have in common that are answered together.

    Attributes:
      count: number of hits of each.
      rerank: whether the matching head ranks the best candidates.
      where: the condition on videos.
    """

    count: int
    rerank: bool
    where: Filter


class Engine:
    """An open index.

    Attributes:
      place: its folder.
      searcher: searches it.
      system: name of the system that made it.
      catalogue: its videos.
      texts: the texts that wait to be searched for.
      examples: the hits and embeddings that wait to be compared.
    """

    def __init__(self, place: pathlib.Path) -> None:
        """Opens the index in `place` and loads its model.

        Raises:
          UserError: if there is no index, or it cannot be used.
        """
        self.place, self._rest = place, 0.0
        self._open()
        self.searcher(["a video"], 1, rerank=False)  # compiles before the first request
        self.catalogue = Catalogue(place)
        thread = concurrent.futures.ThreadPoolExecutor(1)
        self.texts = Batches(self._find, thread, size=_BATCH, waiting=_WAITING)
        self.examples = Batches(self._compare, thread, size=_BATCH, waiting=_WAITING)

    def _open(self) -> None:
        system = settings.about(self.place)["config"]["system"]
        identity, searcher = self._identity(), Searcher(self.place, kept.build)
        self._opened, self.searcher, self.system = identity, searcher, system

    async def search(
        self, texts: Sequence[str], depth: int, rerank: bool, where: Filter
    ) -> list[list[Hit]]:
        """Returns the moments that fit each text best, more than `depth` if the index holds more.

        The matching head re-ranks the configuration's `eval.top_k` windows, which are all hits.

        Raises:
          UserError: if a text holds no word.
          FullError: if too many questions are waiting.
          UnreadableError: if the index cannot be read.
        """
        self.searcher.check(texts)
        rerank = rerank and self.searcher.reranked > 0
        count = self.searcher.reranked if rerank else _rounded(depth)
        return await self.texts.ask(Kind(count, rerank, where), texts)

    async def similar(self, source: Hit | np.ndarray, depth: int, where: Filter) -> list[Hit]:
        """Returns the moments most similar to a hit or an embedding [E], as `search`.

        Raises:
          UserError: if the hit is no longer in the index.
          FullError: if too many questions are waiting.
          UnreadableError: if the index cannot be read.
        """
        (hits,) = await self.examples.ask(Kind(_rounded(depth), False, where), [source])
        return hits

    def _find(self, kind: Kind, texts: Sequence[str]) -> list[list[Hit]]:
        return self._answered(lambda: self.searcher(texts, *kind))

    def _compare(self, kind: Kind, sources: Sequence[Hit | np.ndarray]) -> list[list[Hit]]:
        return self._answered(lambda: self.searcher.like(sources, kind.count, kind.where))

    def _answered(self, ask: Callable[[], T]) -> T:
        """The answer; the index is opened again if it was made anew, or cannot be read."""
        with progress.silent(), contextlib.suppress(DamageError, RefusedError, OSError):
            if self._identity() == self._opened:
                return ask()
        if time.monotonic() < self._rest:
            raise UnreadableError
        try:
            self._open()
            with progress.silent():
                return ask()
        except (UserError, OSError) as error:
            self._rest = time.monotonic() + _PAUSE
            print(error, file=sys.stderr)
            raise UnreadableError from error

    def _identity(self) -> tuple[int, int]:
        """What changes if the table is made anew; it may also change at other times."""
        known = (self.place / "videos.lance").stat()
        return known.st_ino, known.st_mtime_ns


def _rounded(depth: int) -> int:
    """The number of hits to search for: one of a few, so that different questions share a batch."""
    return next(each for each in _DEPTHS if each > depth)
