"""Action recognition: the scores of a video's views, and what is counted of them.

Source: TDS-CLIP (2024), whose views' softmax is averaged, not their logits.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from tokmerge_jax import parallel
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.evaluation.context import Context
from tokmerge_jax.evaluation.metrics import percent
from tokmerge_jax.evaluation.speed import Speed
from tokmerge_jax.progress import Progress
from tokmerge_jax.runtime import finite
from tokmerge_jax.system import Recognition
from tokmerge_jax.types import Json


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What speaks for each action.

    Attributes:
      scores: float32 [V,C], see `view_scores`.
      clips_per_second: views classified a second, compiling apart; None if too few were.

    Raises:
      UserError: if a score is not finite.
    """

    scores: Float32[np.ndarray, "V C"]
    clips_per_second: float | None

    def __post_init__(self) -> None:
        finite(self.scores, "score", video=None, action=None)


def evaluate(
    context: Context,
    recognition: Recognition,
    videos: Sequence[str],
    *,
    views: int,
    classes: int,
    batch_size: int,
) -> Recognised:
    """Scores every video's actions.

    Args:
      context: the scores of whose videos that never come stay 0.
      recognition: the function to use.
      videos: their names.
      views: of a video.
      classes: number of actions.
      batch_size: videos at a time, each of all its views.

    Raises:
      UserError: naming a video whose scores are not finite.
    """
    model, store, watch = context.model, context.store, context.watch
    count = len(videos)
    rows = store.make("scores", (count, classes), np.float32, range(count))
    classify, size = (
        model.compiled(recognition.classify),
        parallel.batch_size(model.mesh, batch_size),
    )
    todo, speed = rows.todo, Speed(store)
    with Progress("recognising", count, "video", done=count - len(todo), compiles=True) as bar:
        for batch in context.batches(size, todo) if len(todo) else ():
            index, mask = np.asarray(batch["index"]), np.asarray(batch["mask"])
            with watch("classify videos"), speed(views * int(mask.sum())):
                logits = np.asarray(classify(np.asarray(batch["video"])))
            names = [videos[int(row)] for row in index[mask]]
            rows.write(index[mask], view_scores(logits[mask], names))
            bar.update(int(mask.sum()))
    return Recognised(np.array(rows.values), speed.clips_per_second)


def view_scores(
    logits: Float[np.ndarray, "B V C"], videos: Sequence[str] | None = None
) -> Float32[np.ndarray, "B C"]:
    """Each video's probabilities of C actions: the mean over its V views of their softmax.

    Raises:
      UserError: naming the first of the `videos` whose logits are not finite.
    """
    finite(logits, "logit", video=videos, view=None, action=None)
    exps = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return (exps / exps.sum(axis=-1, keepdims=True)).mean(axis=1).astype(np.float32)


def protocol(data: ActionData) -> dict[str, Json]:
    """How videos are looked at, by `config.data`, and scored, as JSON holds it."""
    return {
        **{key: getattr(data, key) for key in ("clips", "crops", "neighbours", "wrap")},
        "scale": data.scale if isinstance(data.scale, int) else list(data.scale),
        "score": "mean over views of softmax",
    }


def places(
    scores: Float[np.ndarray, "B C"], labels: Int[np.ndarray, " B"]
) -> Int[np.ndarray, " B"]:
    """The place of each video's action, from 0; of equal scores the smaller number comes first."""
    right = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1])[None] < labels[:, None]
    return ((scores > right) | ((scores == right) & earlier)).sum(axis=1)


def confusion(
    scores: Float[np.ndarray, "B C"], labels: Int[np.ndarray, " B"]
) -> Int[np.ndarray, "C C"]:
    """How many videos of each action (row) were taken for each (column)."""
    classes = scores.shape[1]
    pairs = labels * classes + scores.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def by_class(matrix: Int[np.ndarray, "C C"]) -> Float[np.ndarray, " C"]:
    """Per cent of each action's videos that were taken for it; NaN of actions without a video."""
    videos = matrix.sum(axis=1)
    return np.where(videos > 0, 100 * matrix.diagonal() / np.maximum(videos, 1), np.nan)


def confused(matrix: Int[np.ndarray, "C C"], most: int) -> list[tuple[int, int, int]]:
    """Which actions were taken for which others, and how often: the `most` frequent, these first.

    Of equally frequent ones those of smaller numbers come first.
    """
    classes = len(matrix)
    wrong = np.where(np.eye(classes, dtype=bool), 0, matrix).ravel()
    order = np.argsort(-wrong, kind="stable")[: min(most, np.count_nonzero(wrong))]
    return [(pair // classes, pair % classes, int(wrong[pair])) for pair in order.tolist()]


def summary(scores: Float[np.ndarray, "B C"], labels: Int[np.ndarray, " B"]) -> dict[str, float]:
    """What share of the videos has its action first, and among the first five; per cent.

    "mean class" is the mean over the actions that have videos of the first, as each counts alike.
    """
    place = places(scores, labels)
    found: dict[str, Bool[np.ndarray, " B"]] = {f"top-{k}": place < k for k in (1, 5)}
    each = by_class(confusion(scores, labels))
    return {name: percent(right) for name, right in found.items()} | {
        "mean class": round(float(np.nanmean(each)), 2)
    }
