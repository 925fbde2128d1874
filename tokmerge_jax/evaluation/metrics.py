"""Recalls and ranks of retrieval in both directions, by the rules of each paper; accuracy."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from tokmerge_jax.runtime import finite
from tokmerge_jax.types import UserError

Relevant = Sequence[Sequence[int]]
"""For each row of a score matrix, its right columns (at least one)."""


def ranks(scores: Float[np.ndarray, "R S"], relevant: Relevant) -> Int[np.ndarray, " R"]:
    """The rank of each row's best right column, from 0; among ties the larger index comes first.

    Counts the columns in front, a row at a time: sorting would hold numbers three times as large as
    the scores of a large gallery.

    Raises:
      UserError: if a score is not finite.
    """
    place = np.empty(len(scores), np.int64)
    for i, (row, right) in enumerate(zip(_finite(scores), relevant, strict=True)):
        best = max(right, key=lambda column: (row[column], column))
        place[i] = np.sum(row > row[best]) + np.sum(row[best + 1 :] == row[best])
    return place


def highest(scores: Float[np.ndarray, "R S"], count: int) -> Bool[np.ndarray, "R S"]:
    """Marks the `count` best columns of each row (all, if there are fewer), by the rule of `ranks`.

    Raises:
      UserError: if a score is not finite.
    """
    marks = np.ones(scores.shape, bool)
    if count < scores.shape[1]:
        for row, marked in zip(_finite(scores), marks, strict=True):
            least = np.partition(row, -count)[-count]
            marked[:] = row > least
            ties = np.flatnonzero(row == least)
            marked[ties[marked.sum() - count :]] = True  # the last ones; at least one is missing
    return marks


def recall(place: Int[np.ndarray, " R"]) -> dict[str, float]:
    """R@1, R@5 and R@10 in percent, median and mean rank from 1, all with two decimals."""
    values = {f"R@{k}": 100 * np.mean(place < k) for k in (1, 5, 10)}
    values |= {"MedR": np.median(place) + 1, "MeanR": np.mean(place) + 1}
    return {name: round(float(value), 2) for name, value in values.items()}


def equal_scores(
    scores: Float[np.ndarray, "R S"], right: Bool[np.ndarray, "R S"]
) -> dict[str, int]:
    """Counts the rows whose rank depends on the rule for ties.

    Args:
      scores: score of each column; -inf = not ranked.
      right: marks the right columns.

    Returns:
      "right_and_wrong": number of rows whose best right column ties with a wrong one; "all": number
      of rows whose columns (more than one) all have the same score.
    """
    ranked = scores > -np.inf
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    tied = ((scores == best) & ~right & ranked).any(axis=1)
    least = np.where(ranked, scores, np.inf).min(axis=1)
    flat = (least == scores.max(axis=1)) & (ranked.sum(axis=1) > 1)
    return {"right_and_wrong": int(tied.sum()), "all": int(flat.sum())}


def percent(right: Bool[np.ndarray, " R"]) -> float:
    """The share of True, in percent with two decimals."""
    return round(100 * float(np.mean(right)), 2)


def both_directions(
    text_to_video: Float[np.ndarray, "Q V"],
    video_to_text: Float[np.ndarray, "V Q"],
    relevant: Relevant,
) -> Mapping[str, dict[str, float]]:
    """`recall` in each direction; `relevant` holds the right videos of each text.

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


def grouped(
    text_to_video: Float[np.ndarray, "Q V"],
    video_to_text: Float[np.ndarray, "V Q"],
    relevant: Relevant,
) -> Mapping[str, dict[str, float]]:
    """Recalls in both directions by CLIP4Clip's rules, where ties never lower a rank.

    A text's rank is the number of videos that score higher than its best right one. A video ranks
    groups of texts (those of each video) by their best score. With several texts per video, the
    text-to-video median is the lower of the two middle ranks.
    """
    groups: list[list[int]] = [[] for _ in _finite(video_to_text)]
    for text, videos in enumerate(relevant):
        for video in videos:
            groups[video].append(text)
    of_group = np.stack([video_to_text[:, group].max(axis=1) for group in groups], axis=1)
    right = np.array(
        [
            row[list(videos)].max()
            for row, videos in zip(_finite(text_to_video), relevant, strict=True)
        ]
    )
    place = (text_to_video > right[:, None]).sum(axis=1)
    several = any(len(group) > 1 for group in groups)
    return {
        "text_to_video": _recall_to_50(place, lower_median=several),
        "video_to_text": _recall_to_50((of_group > np.diag(of_group)[:, None]).sum(axis=1)),
    }


def every_tie(
    text_to_video: Float[np.ndarray, "Q V"],
    video_to_text: Float[np.ndarray, "V Q"],
    relevant: Relevant,
) -> Mapping[str, dict[str, float]]:
    """Recalls in both directions by the rules of TempMe's code, which counts each tie as a row.

    A row whose right score ties with n - 1 others counts n times, once at each of the n ranks.
    Without ties the numbers equal those of `grouped`. Each text must have a video of its own.
    """

    def places(scores: np.ndarray) -> np.ndarray:
        right = np.diag(_finite(scores))[:, None]
        first, equal = (scores > right).sum(axis=1), (scores == right).sum(axis=1)
        return np.concatenate([f + np.arange(n) for f, n in zip(first, equal, strict=True)])

    check("tempme", relevant, len(video_to_text))
    return {
        "text_to_video": _recall_to_50(places(text_to_video)),
        "video_to_text": _recall_to_50(places(video_to_text)),
    }


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules by which a paper computes recalls.

    Attributes:
      both_directions: computes the recalls.
      ties: its rule for equal scores, in words.
      captions: its rule for several captions of a video in video-to-text, in words.
    """

    both_directions: Callable[..., Mapping[str, dict[str, float]]]
    ties: str
    captions: str


def check(name: str, relevant: Relevant, videos: int) -> None:
    """Raises UserError unless the protocol `name` applies to a gallery of `videos` videos."""
    if name == "tempme" and [list(v) for v in relevant] != [[i] for i in range(videos)]:
        raise UserError("config.eval.metrics='tempme' needs one text per video; use 'clip4clip'")


PROTOCOLS: Mapping[str, Protocol] = {
    "umt": Protocol(both_directions, "larger index first", "its best one among all"),
    "clip4clip": Protocol(grouped, "in nobody's way", "one group, its best score"),
    "tempme": Protocol(every_tie, "each counts", "none"),
}
"""Value of `config.eval.metrics` -> rules."""


def _finite(scores: Float[np.ndarray, "R S"]) -> Float[np.ndarray, "R S"]:
    return finite(scores, "score", row=None, column=None)


def _recall_to_50(place: Int[np.ndarray, " R"], lower_median: bool = False) -> dict[str, float]:
    """`recall`, and R@50."""
    values = {**recall(place), "R@50": round(100 * float(np.mean(place < 50)), 2)}
    if lower_median:
        values["MedR"] = float(np.sort(place)[(len(place) - 1) // 2] + 1)
    order = ("R@1", "R@5", "R@10", "R@50", "MedR", "MeanR")
    return {name: values[name] for name in order}
