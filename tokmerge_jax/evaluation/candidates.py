"""The pairs of videos and texts that are re-ranked: the best of each text and of each video."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Int

from tokmerge_jax.evaluation import metrics
from tokmerge_jax.evaluation.blocks import Computed, Matrix, map_blocks
from tokmerge_jax.evaluation.scores import Similarity

NO_CANDIDATE = np.float32(-100)
"""The score of a pair that is not re-ranked, as in the original."""


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The K columns of each row of a matrix that are re-ranked.

    Attributes:
      columns: int32 [R,K], ascending.
      similarity: float32 [R,K], their similarities.
      width: number of columns of the matrix.
    """

    columns: Int[np.ndarray, "R K"]
    similarity: Float[np.ndarray, "R K"]
    width: int

    def ranked(self, scores: Float[np.ndarray, "R K"]) -> Computed:
        """The matrix [R,width] of the candidates' scores, with `NO_CANDIDATE` elsewhere."""

        def compute(rows: slice) -> np.ndarray:
            columns = self.columns[rows]
            block = np.full((len(columns), self.width), NO_CANDIDATE)
            np.put_along_axis(block, columns, scores[rows], axis=1)
            return block

        return Computed((len(self.columns), self.width), compute)


def best(similarity: Matrix, count: int) -> Candidates:
    """The `count` columns of each row with the highest similarity (all, if there are fewer)."""

    def select(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns = metrics.highest(block, count)
        return columns.astype(np.int32), np.take_along_axis(block, columns, axis=1)

    columns, values = zip(*map_blocks(select, similarity), strict=True)
    return Candidates(np.concatenate(columns), np.concatenate(values), similarity.shape[1])


class Pairs:
    """The pairs in which the video or the text is a candidate of the other, each once.

    Attributes:
      video: int64 [P], the video of each pair, ascending.
      text: int64 [P], its text, ascending among those of a video.
    """

    def __init__(self, similarity: Similarity, count: int) -> None:
        """Selects the `count` best texts of each video, and videos of each text."""
        self._of_video, self._of_text = best(similarity, count), best(similarity.T, count)
        self._numbers = np.union1d(self._numbers_of_video, self._numbers_of_text)
        self.video, self.text = np.divmod(self._numbers, self._of_video.width)

    @functools.cached_property
    def begins(self) -> Int[np.ndarray, " bounds"]:
        """The place of each video's first pair, and the number of pairs."""
        return np.searchsorted(self.video, np.arange(self._of_text.width + 1))

    def places(self, videos: Int[np.ndarray, " B"]) -> Int[np.ndarray, " N"]:
        """The places of all pairs of some videos, in their order."""
        return np.concatenate([np.arange(*self.begins[[v, v + 1]]) for v in videos])

    def ways(
        self, scores: Float[np.ndarray, " P"], plus_similarity: bool
    ) -> tuple[Computed, Computed]:
        """The final scores [Q,V] and [V,Q] from the matching scores of all pairs.

        `plus_similarity` adds each pair's similarity.
        """

        def ranked(candidates: Candidates, numbers: np.ndarray) -> Computed:
            values = scores[np.searchsorted(self._numbers, numbers)]
            return candidates.ranked(values + candidates.similarity if plus_similarity else values)

        return (
            ranked(self._of_text, self._numbers_of_text),
            ranked(self._of_video, self._numbers_of_video),
        )

    # The number of a pair is that of its place in a matrix [V,Q].
    @property
    def _numbers_of_video(self) -> Int[np.ndarray, "V K"]:
        columns, texts = self._of_video.columns, self._of_video.width
        return np.arange(len(columns))[:, None] * texts + columns

    @property
    def _numbers_of_text(self) -> Int[np.ndarray, "Q K"]:
        columns = self._of_text.columns
        return columns.astype(np.int64) * len(columns) + np.arange(len(columns))[:, None]
