"""The scores of a gallery, computed when they are read: similarities, and dual softmax."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float

from tokmerge_jax.evaluation.blocks import Computed, Matrix, map_blocks


@dataclasses.dataclass(frozen=True)
class Similarity:
    """The cosine similarities [V,Q] of all videos and texts.

    Attributes:
      videos: float32 [V,E], embeddings, averaged over those of a video.
      texts: float32 [Q,E], embeddings.
    """

    videos: Float[np.ndarray, "V E"]
    texts: Float[np.ndarray, "Q E"]

    @property
    def shape(self) -> tuple[int, int]:
        """(V, Q)."""
        return len(self.videos), len(self.texts)

    def __getitem__(self, rows: slice, /) -> Float[np.ndarray, "B Q"]:
        """Computes the similarities of some videos."""
        return self.videos[rows] @ self.texts.T

    @property
    def T(self) -> Computed:
        """The same [Q,V], of which the rows of texts are computed."""

        def compute(rows: slice) -> np.ndarray:
            return np.ascontiguousarray((self.videos @ self.texts[rows].T).T)

        videos, texts = self.shape
        return Computed((texts, videos), compute)


@dataclasses.dataclass(frozen=True)
class Scores:
    """All scores of a gallery.

    Attributes:
      similarity: float32 [V,Q], cosine similarity, averaged over a video's embeddings.
      text_to_video: float32 [Q,V], scores by which texts rank videos. With re-ranking, matching
        scores of the candidates and `NO_CANDIDATE` elsewhere; otherwise the similarity, after
        `dual_softmax` if configured.
      video_to_text: float32 [V,Q], scores by which videos rank texts.
      clips_per_second: videos encoded per second, without compilation; None if not measured.
    """

    similarity: Similarity | np.ndarray
    text_to_video: Matrix
    video_to_text: Matrix
    clips_per_second: float | None


def dual_softmax(similarity: Matrix, scale: float) -> Computed:
    """Multiplies each score by its column's softmax over all rows.

    Columns that are similar to every row count less. It uses all queries of the gallery at once, so
    the results cannot be compared with those of other protocols. Source: CAMoE (arXiv 2109.04290),
    section 3.4.

    Args:
      similarity: similarity [R,S] of queries (rows) and ranked items (columns).
      scale: factor of the similarities in the softmax; CLIP's is 100.
    """
    factor = np.float32(scale)
    parts = map_blocks(lambda block: block.max(axis=0), similarity)
    largest = factor * functools.reduce(np.maximum, parts)

    def weights(block: np.ndarray) -> np.ndarray:
        return np.exp(factor * block - largest)

    parts = map_blocks(lambda block: weights(block).sum(axis=0), similarity)
    total = functools.reduce(np.add, parts)

    def compute(rows: slice) -> np.ndarray:
        block = similarity[rows]
        return block * (weights(block) / total)

    rows, columns = similarity.shape
    return Computed((rows, columns), compute)
