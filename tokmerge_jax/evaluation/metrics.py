"""Recalls and ranks of retrieval in both directions, by the rules of each paper; accuracy."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from tokmerge_jax.evaluation.blocks import Matrix, map_blocks
from tokmerge_jax.runtime import finite
from tokmerge_jax.types import UserError

Relevant = Sequence[Sequence[int]]
"""For each row of a score matrix, its right columns (at least one)."""

_GROUP = 16  # approximate number of maxima for each candidate


def ranks(scores: Matrix, relevant: Relevant) -> Int[np.ndarray, " R"]:
    """The rank of each row's best right column, from 0; among ties the larger index comes first.

    Counts the columns in front: sorting would hold numbers three times as large as the scores.

    Raises:
      UserError: if a score is not finite.
    """

    def count(block: np.ndarray, relevant: Relevant) -> np.ndarray:
        place = np.empty(len(block), np.int64)
        for i, (row, right) in enumerate(zip(block, relevant, strict=True)):
            best = max(right, key=lambda column: (row[column], column))
            ties = np.count_nonzero(row[best + 1 :] == row[best])
            place[i] = np.count_nonzero(row > row[best]) + ties
        return place

    return _joined(count, scores, relevant)


def highest(scores: Float[np.ndarray, "R S"], count: int) -> Int[np.ndarray, "R K"]:
    """The `count` best columns of each row (all, if there are fewer), by the rule of `ranks`.

    Returns:
      Columns, ascending.

    Raises:
      UserError: if a score is not finite.
    """
    count = min(count, scores.shape[1])
    columns = np.empty((len(scores), count), np.int64)
    for row, chosen in zip(finite(scores, "score", row=None, column=None), columns, strict=True):
        high = np.flatnonzero(row >= _bound(row, count))
        values = row[high]
        least = np.partition(values, -count)[-count]
        marked = values > least
        ties = np.flatnonzero(values == least)
        marked[ties[np.count_nonzero(marked) - count :]] = True  # the last; at least one is missing
        chosen[:] = high[marked]
    return columns


def _bound(row: Float[np.ndarray, " S"], count: int) -> np.floating:
    """A number that at least `count` columns reach, and few more.

    In a row of 100,000 it is the `count`-th largest of a few thousand maxima, which takes a tenth
    of the time of a partial sort of the row.
    """
    groups = max(len(row) // (_GROUP * count), 1)
    largest = row[: len(row) // groups * groups].reshape(groups, -1).max(axis=0)
    return np.partition(largest, -count)[-count]


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
    text_to_video: Matrix, video_to_text: Matrix, relevant: Relevant
) -> Mapping[str, dict[str, float]]:
    """`recall` in each direction; `relevant` holds the right videos of each text.

    The original's names are `img_r*` for text-to-video and `txt_r*` for video-to-text.
    """
    texts = texts_of(relevant, video_to_text.shape[0])
    return {
        "text_to_video": recall(ranks(text_to_video, relevant)),
        "video_to_text": recall(ranks(video_to_text, texts)),
    }


def grouped(
    text_to_video: Matrix, video_to_text: Matrix, relevant: Relevant
) -> Mapping[str, dict[str, float]]:
    """Recalls in both directions by CLIP4Clip's rules, where ties never lower a rank.

    A text's rank is the number of videos that score higher than its best right one. A video ranks
    groups of texts (those of each video) by their best score. With several texts per video, the
    text-to-video median is the lower of the two middle ranks.
    """
    groups = texts_of(relevant, video_to_text.shape[0])
    lengths = [len(group) for group in groups]
    texts, begins = np.concatenate(groups), np.cumsum([0, *lengths[:-1]])

    def videos_in_front(block: np.ndarray, relevant: Relevant) -> np.ndarray:
        right = [row[list(videos)].max() for row, videos in zip(block, relevant, strict=True)]
        return (block > np.array(right)[:, None]).sum(axis=1)

    def groups_in_front(block: np.ndarray, own: np.ndarray) -> np.ndarray:
        of_group = np.maximum.reduceat(block[:, texts], begins, axis=1)
        return (of_group > _each(of_group, own)).sum(axis=1)

    place = _joined(videos_in_front, text_to_video, relevant)
    own_place = _joined(groups_in_front, video_to_text, np.arange(len(groups)))
    return {
        "text_to_video": _recall_to_50(place, lower_median=max(lengths) > 1),
        "video_to_text": _recall_to_50(own_place),
    }


def every_tie(
    text_to_video: Matrix, video_to_text: Matrix, relevant: Relevant
) -> Mapping[str, dict[str, float]]:
    """Recalls in both directions by the rules of TempMe's code, which counts each tie as a row.

    A row whose right score ties with n - 1 others counts n times, once at each of the n ranks.
    Without ties the numbers equal those of `grouped`. Each text must have a video of its own.
    """
    check("tempme", relevant, video_to_text.shape[0])

    def places(block: np.ndarray, own: np.ndarray) -> np.ndarray:
        right = _each(block, own)
        first, equal = (block > right).sum(axis=1), (block == right).sum(axis=1)
        return np.concatenate([f + np.arange(n) for f, n in zip(first, equal, strict=True)])

    own = np.arange(len(relevant))
    return {
        "text_to_video": _recall_to_50(_joined(places, text_to_video, own)),
        "video_to_text": _recall_to_50(_joined(places, video_to_text, own)),
    }


def texts_of(relevant: Relevant, videos: int) -> list[list[int]]:
    """The right texts of each video."""
    texts: list[list[int]] = [[] for _ in range(videos)]
    for text, right in enumerate(relevant):
        for video in right:
            texts[video].append(text)
    return texts


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


def _joined(
    count: Callable[..., np.ndarray], scores: Matrix, of_rows: Sequence[object] | np.ndarray
) -> np.ndarray:
    """The results of `map_blocks`, joined."""
    return np.concatenate(list(map_blocks(count, scores, of_rows)))


def _each(scores: Float[np.ndarray, "R S"], columns: Int[np.ndarray, " R"]) -> np.ndarray:
    """The score [R,1] of one column of each row."""
    return np.take_along_axis(scores, columns[:, None], axis=1)


def _recall_to_50(place: Int[np.ndarray, " R"], lower_median: bool = False) -> dict[str, float]:
    """`recall`, and R@50."""
    values = {**recall(place), "R@50": round(100 * float(np.mean(place < 50)), 2)}
    if lower_median:
        values["MedR"] = float(np.sort(place)[(len(place) - 1) // 2] + 1)
    order = ("R@1", "R@5", "R@10", "R@50", "MedR", "MeanR")
    return {name: values[name] for name in order}
