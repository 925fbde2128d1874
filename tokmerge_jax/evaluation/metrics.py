"""Recall and ranks of retrieval, in both directions; accuracy."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

Relevant = Sequence[Sequence[int]]
"""For each row of a score matrix, the columns that are right (at least one)."""


def order(scores: Float[np.ndarray, "R S"]) -> Int[np.ndarray, "R S"]:
    """Each row's columns, best first; of equal scores the larger index comes first."""
    return np.argsort(scores, axis=1, kind="stable")[:, ::-1]


def ranks(scores: Float[np.ndarray, "R S"], relevant: Relevant) -> Int[np.ndarray, " R"]:
    """The place of each row's best right column, counted from 0."""
    place = np.argsort(order(scores), axis=1)
    return np.array([place[row, list(right)].min() for row, right in enumerate(relevant)])


def recall(place: Int[np.ndarray, " R"]) -> dict[str, float]:
    """R@1, R@5 and R@10 in percent, median and mean rank counted from 1; two decimals."""
    values = {f"R@{k}": 100 * np.mean(place < k) for k in (1, 5, 10)}
    values |= {"MedR": np.median(place) + 1, "MeanR": np.mean(place) + 1}
    return {name: round(float(value), 2) for name, value in values.items()}


def percent(right: Bool[np.ndarray, " R"]) -> float:
    """The share of what is right, in percent to two decimals."""
    return round(100 * float(np.mean(right)), 2)


def both_directions(
    text_to_video: Float[np.ndarray, "Q V"],
    video_to_text: Float[np.ndarray, "V Q"],
    relevant: Relevant,
) -> Mapping[str, dict[str, float]]:
    """`recall` of each direction; `relevant` holds the right videos of each text.

    The original's names are `img_r*` for text-to-video and `txt_r*` for video-to-text.
    """
    texts: list[list[int]] = [[] for _ in video_to_text]
    for text, videos in enumerate(relevant):
        for video in videos:
            texts[video].append(text)
    return {
        "text_to_video": recall(ranks(text_to_video, relevant)),
        "video_to_text": recall(ranks(video_to_text, texts)),
    }
