"""Action recognition: scores of videos from several views, and the metrics.

Source: TDS-CLIP (2024), which averages the softmax of the views, not their logits.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from tokmerge_jax import hosts, parallel
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.evaluation.context import Context, Speed
from tokmerge_jax.evaluation.metrics import percent
from tokmerge_jax.progress import Progress
from tokmerge_jax.runtime import finite
from tokmerge_jax.system import Recognition
from tokmerge_jax.types import Json


@dataclasses.dataclass(frozen=True)
class ActionScores:
    """The score of each action in each video.

    Attributes:
      scores: float32 [V,C], see `view_scores`.
      clips_per_second: views classified per second, without compilation; None if not measured.

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
) -> ActionScores:
    """Scores every video's actions.

    Args:
      context: model, videos, store and stopwatch; scores of videos that are left out stay 0.
      recognition: the system's functions.
      videos: names of the V videos.
      views: number of views per video.
      classes: C, number of actions.
      batch_size: number of videos per batch, each with all its views.

    Raises:
      UserError: if a score is not finite; the message names the video.
    """
    model, store, watch = context.model, context.store, context.watch
    count = len(videos)
    rows = store.make("scores", (count, classes), np.float32, range(count))
    classify, size = (
        model.compiled(recognition.classify),
        parallel.batch_size(model.mesh, batch_size),
    )
    todo, speed = hosts.share(rows.todo), Speed(store)
    with Progress("recognising", count, "video", done=count - len(todo), compiles=True) as bar:
        for batch in context.batches(size, todo) if len(todo) else ():
            index, mask = np.asarray(batch["index"]), np.asarray(batch["mask"])
            with watch("classify videos"), speed(views * int(mask.sum())):
                logits = np.asarray(classify(np.asarray(batch["video"])))
            names = [videos[int(row)] for row in index[mask]]
            rows.write(index[mask], view_scores(logits[mask], names))
            bar.update(int(mask.sum()))
    return ActionScores(store.whole("scores", range(count)), speed.clips_per_second)


def view_scores(
    logits: Float[np.ndarray, "B V C"], videos: Sequence[str] | None = None
) -> Float32[np.ndarray, "B C"]:
    """Each video's probabilities of C actions: the softmax, averaged over its V views.

    Raises:
      UserError: if a logit is not finite; the message names the video.
    """
    finite(logits, "logit", video=videos, view=None, action=None)
    exps = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return (exps / exps.sum(axis=-1, keepdims=True)).mean(axis=1).astype(np.float32)


def protocol(data: ActionData) -> dict[str, Json]:
    """The protocol for results.json: views (from `config.data`) and score."""
    return {
        **{key: getattr(data, key) for key in ("clips", "crops", "neighbours", "wrap")},
        "scale": data.scale if isinstance(data.scale, int) else list(data.scale),
        "score": "mean over views of softmax",
    }


def places(
    scores: Float[np.ndarray, "B C"], labels: Int[np.ndarray, " B"]
) -> Int[np.ndarray, " B"]:
    """The rank of each video's true action, from 0; ties rank by action number."""
    right = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1])[None] < labels[:, None]
    return ((scores > right) | ((scores == right) & earlier)).sum(axis=1)


def confusion(
    scores: Float[np.ndarray, "B C"], labels: Int[np.ndarray, " B"]
) -> Int[np.ndarray, "C C"]:
    """Counts videos by true action (row) and predicted action (column)."""
    classes = scores.shape[1]
    pairs = labels * classes + scores.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def by_class(matrix: Int[np.ndarray, "C C"]) -> Float[np.ndarray, " C"]:
    """Accuracy of each action in percent; NaN for actions without a video."""
    videos = matrix.sum(axis=1)
    return np.where(videos > 0, 100 * matrix.diagonal() / np.maximum(videos, 1), np.nan)


def confused(matrix: Int[np.ndarray, "C C"], most: int) -> list[tuple[int, int, int]]:
    """Returns the `most` frequent confusions (true action, predicted action, count).

    The most frequent come first; ties are in the order of action numbers.
    """
    classes = len(matrix)
    wrong = np.where(np.eye(classes, dtype=bool), 0, matrix).ravel()
    order = np.argsort(-wrong, kind="stable")[: min(most, np.count_nonzero(wrong))]
    return [(pair // classes, pair % classes, int(wrong[pair])) for pair in order.tolist()]


def summary(scores: Float[np.ndarray, "B C"], labels: Int[np.ndarray, " B"]) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent, and the mean top-1 accuracy over actions.

    "mean class" weights all actions that have videos equally.
    """
    place = places(scores, labels)
    among: dict[str, Bool[np.ndarray, " B"]] = {f"top-{k}": place < k for k in (1, 5)}
    each = by_class(confusion(scores, labels))
    return {name: percent(right) for name, right in among.items()} | {
        "mean class": round(float(np.nanmean(each)), 2)
    }
