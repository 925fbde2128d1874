"""Ranks the rows of an index for queries: by cosine, then by the matching head."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt64

from tokmerge_jax import parallel
from tokmerge_jax.evaluation import metrics
from tokmerge_jax.evaluation.context import Model, ahead
from tokmerge_jax.evaluation.matching import match
from tokmerge_jax.evaluation.retrieval import text_batches
from tokmerge_jax.evaluation.rows import Places
from tokmerge_jax.signatures import EncodeText
from tokmerge_jax.system import Retrieval

if TYPE_CHECKING:
    from tokmerge_jax.own_videos.table import Table

EXACT = 100_000
"""The largest number of rows that are all compared with a query (10 ms on 2 free cores)."""

_TEXTS = 16  # texts per batch, fixed so that one compiled program serves all queries


@dataclasses.dataclass(frozen=True)
class Hit:
    """A moment of a video in the result of a search: a window, neighbours, or all of the video.

    Attributes:
      path: the video's path, relative to the indexed folder.
      start: start of the moment in seconds.
      stop: its end in seconds.
      duration: length of the video in seconds.
      cosine: product of the embeddings (the cosine where both have unit norm), for the best of its
        windows.
      score: score of the matching head for that window, by which hits are ranked; None without a
        matching head.
    """

    path: str
    start: float
    stop: float
    duration: float
    cosine: float
    score: float | None

    @property
    def rank(self) -> float:
        """The number by which hits are ranked, the highest first."""
        return self.cosine if self.score is None else self.score


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The rows that are most similar to at least one query.

    Attributes:
      ids: ids of the rows.
      cosine: similarity of each query and row, where `wanted`.
      wanted: marks the rows most similar to each query.
    """

    ids: UInt64[np.ndarray, " V"]
    cosine: Float32[np.ndarray, "Q V"]
    wanted: Bool[np.ndarray, "Q V"]

    def hits(
        self, table: "Table", scores: Float32[np.ndarray, "Q V"] | None = None
    ) -> list[list[Hit]]:
        """The hits of each query, best first, by the scores or else the cosines."""
        spans = [(os.fsdecode(path), *times) for path, *times in table.spans(self.ids)]
        rankings = []
        for q, wanted in enumerate(self.wanted):
            windows = [
                Hit(
                    *spans[v],
                    cosine=float(self.cosine[q, v]),
                    score=None if scores is None else float(scores[q, v]),
                )
                for v in np.flatnonzero(wanted)
            ]
            windows.sort(key=lambda hit: (-hit.rank, hit.path, hit.start))
            rankings.append(joined(windows))
        return rankings


def joined(windows: Sequence[Hit]) -> list[Hit]:
    """Joins neighbours among windows, best first.

    Let b be the score (`Hit.rank`) of a better moment that the window overlaps or touches, w the
    worst window's. A window scoring at least b - (b - w) / 4 extends the moment; a lower one is
    dropped, since it only repeats part of it.
    """
    moments: dict[int, Hit] = {}  # by the number of their best window
    of_video: dict[str, list[int]] = {}
    for number, window in enumerate(windows):
        others = of_video.setdefault(window.path, [])
        near = [each for each in others if _touch(moments[each], window)]
        if not near:
            moments[number] = window
            others.append(number)
        elif window.rank >= (3 * moments[near[0]].rank + windows[-1].rank) / 4:
            whole = [*(moments[each] for each in near), window]
            start, stop = min(hit.start for hit in whole), max(hit.stop for hit in whole)
            moments[near[0]] = dataclasses.replace(whole[0], start=start, stop=stop)
            for each in near[1:]:
                del moments[each]
                others.remove(each)
    return [*moments.values()]


def _touch(moment: Hit, window: Hit) -> bool:
    return moment.start <= window.stop and window.start <= moment.stop


def candidates(
    table: "Table", queries: Float32[np.ndarray, "Q E"], count: int, condition: str
) -> Candidates:
    """Selects the `count` rows most similar to each query (fewer if the table holds fewer).

    All rows are compared, unless the table holds more than `EXACT`: then its vector index proposes
    rows, which need not hold all of the true ones (docs/own_videos.md has the measured share).

    Args:
      table: the table.
      queries: embeddings; similarity is the product of the embeddings (the cosine where both have
        unit norm).
      count: number of rows per query.
      condition: condition in SQL that rows must meet; "" = none.

    Raises:
      UserError: if a similarity is not finite, or the table is damaged.
    """
    if len(table) > EXACT:
        return _proposed(table, queries, count, condition)
    ids, embedding = table.embeddings()
    cosine = queries @ embedding.T
    if condition:  # after the product: embeddings would be copied
        kept = np.isin(ids, table.where(condition))
        ids, cosine = ids[kept], cosine[:, kept]
    if not len(ids):
        return Candidates(ids, cosine, cosine > 0)
    wanted = np.zeros(cosine.shape, bool)
    np.put_along_axis(wanted, metrics.highest(cosine, count), True, axis=1)
    some = np.flatnonzero(wanted.any(axis=0))
    return Candidates(ids[some], cosine[:, some], wanted[:, some])


def _proposed(
    table: "Table", queries: Float32[np.ndarray, "Q E"], count: int, condition: str
) -> Candidates:
    """The candidates that the table's vector index proposes."""
    nearest = [table.nearest(query, count, condition) for query in queries]
    ids = np.unique(np.concatenate([rows for rows, _ in nearest]))
    cosine, wanted = np.zeros((len(queries), len(ids)), np.float32), []
    for row, (those, products) in zip(cosine, nearest, strict=True):
        row[np.searchsorted(ids, those)] = products
        wanted.append(np.isin(ids, those))
    return Candidates(ids, cosine, np.stack(wanted))


def rematched(
    table: "Table",
    chosen: Candidates,
    model: Model,
    retrieval: Retrieval,
    texts: tuple[Float32[np.ndarray, "Q L C"], Bool[np.ndarray, "Q L"]],
    *,
    shape: tuple[int, ...],
    memory_gib: float,
) -> Float32[np.ndarray, "Q V"]:
    """Computes the matching head's scores of the candidates.

    Args:
      table: the table.
      chosen: the candidates.
      model: the model that the index was made with.
      retrieval: its functions, with a matching head.
      texts: states of the texts, and their mask (False on padding).
      shape: shape [N,C] of a video's tokens.
      memory_gib: memory limit of matching, in GiB.

    Raises:
      UserError: if a score is not finite, or tokens are missing or damaged.
    """
    assert retrieval.matching is not None
    scores = np.zeros(chosen.wanted.shape, np.float32)

    def write(rows: np.ndarray, of_rows: Sequence[np.ndarray]) -> None:
        for row, of_row in zip(rows, of_rows, strict=True):
            scores[chosen.wanted[:, row], row] = of_row

    match(
        model,
        retrieval.matching,
        _Tokens(table, chosen.ids, shape),
        texts,
        wanted=[np.flatnonzero(of_row) for of_row in chosen.wanted.T],
        todo=np.arange(len(chosen.ids)),
        write=write,
        memory_gib=memory_gib,
        names=[os.fsdecode(path) for (path,) in table.rows(chosen.ids, "path")],
    )
    return scores


@dataclasses.dataclass(frozen=True)
class _Tokens:
    """The tokens of candidates, read on demand."""

    table: "Table"
    ids: UInt64[np.ndarray, " V"]
    shape: tuple[int, ...]

    def __getitem__(self, places: Places, /) -> np.ndarray:
        return self.table.tokens(self.ids[np.ravel(places)], self.shape)


def encode_texts(
    model: Model,
    encode: EncodeText,
    texts: tuple[Int[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]],
    names: Sequence[str],
) -> Mapping[str, np.ndarray]:
    """Computes the named features of all texts: "embedding" [Q,E], "states" [Q,L,C]."""
    size = parallel.batch_size(model.mesh, _TEXTS)
    parts = [
        [np.asarray(read[name], np.float32)[: len(rows)] for name in names]
        for rows, read in ahead(model.compiled(encode), text_batches(texts, size))
    ]
    return dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
