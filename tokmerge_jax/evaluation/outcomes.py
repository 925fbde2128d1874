"""The outcome of an evaluation for each task: metrics by name, and the protocol behind them."""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import harmonic_mean

import numpy as np

from tokmerge_jax import runtime
from tokmerge_jax.config import Config, expect
from tokmerge_jax.config.common import TextData
from tokmerge_jax.config.evaluation import (
    AnsweringOptions,
    GeneratingOptions,
    RetrievalOptions,
)
from tokmerge_jax.evaluation import actions as action_metrics
from tokmerge_jax.evaluation import metrics
from tokmerge_jax.evaluation.actions import ActionScores
from tokmerge_jax.evaluation.answering import Ranking
from tokmerge_jax.evaluation.blocks import Matrix, map_blocks
from tokmerge_jax.evaluation.candidates import NO_CANDIDATE
from tokmerge_jax.evaluation.multiple_choice import CONTRAST, MATCH, OptionScores
from tokmerge_jax.evaluation.scores import Scores
from tokmerge_jax.evaluation.writing import WrittenAnswers
from tokmerge_jax.types import Actions, Choices, Gallery, Json, Questions

PAIRS = 2**26
"""The largest number of pairs of videos and texts whose scores are kept: 768 MiB."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of one evaluation.

    Attributes:
      headline: name and value, in percent, of the metric to compare runs by.
      scores: row (a direction, a kind of question) -> metric -> value.
      further: other JSON values for results.json.
      protocol: the rules behind the numbers, in the papers' terms.
      clips_per_second: videos encoded per second; None if not measured.
      arrays: the arrays that the numbers were computed from, for scores.npz; none if too large.
    """

    headline: tuple[str, float]
    scores: Mapping[str, Mapping[str, float]]
    further: Mapping[str, Json]
    protocol: Mapping[str, Json]
    clips_per_second: float | None
    arrays: Mapping[str, np.ndarray]


def retrieval(scores: Scores, gallery: Gallery, config: Config, broken: Sequence[str]) -> Outcome:
    """Recalls in both directions, by the final scores and by cosine similarity alone."""
    options = expect(config.eval, RetrievalOptions)
    reranking = options.reranking
    relevant, counting = gallery.relevant, metrics.PROTOCOLS[options.metrics]
    final = counting.both_directions(scores.text_to_video, scores.video_to_text, relevant)
    plain = counting.both_directions(scores.similarity.T, scores.similarity, relevant)
    rules = {
        "texts": len(gallery.texts),
        "paragraph": expect(config.data, TextData).paragraph,
        "reranked": reranking is not None,
        "candidates": reranking.top_k if reranking else None,
        "plus_similarity": reranking.plus_similarity if reranking else None,
        "dual_softmax": options.dual_softmax,
        "metrics": options.metrics,
        "ties": counting.ties,
        "captions_of_a_video": counting.captions,
    }
    return Outcome(
        headline=("T2V R@1", final["text_to_video"]["R@1"]),
        scores=final,
        further={
            "harmonic_mean": {"R@1": harmonic_mean([row["R@1"] for row in final.values()])},
            "similarity_scores": plain,
            "equal_scores": _equal_scores(scores, relevant),
        },
        protocol=_protocol(config, gallery.videos, broken) | rules,
        clips_per_second=scores.clips_per_second,
        arrays=_arrays(scores),
    )


def _arrays(scores: Scores) -> dict[str, np.ndarray]:
    """The matrices of a gallery of at most `PAIRS` pairs."""
    if math.prod(scores.similarity.shape) > PAIRS:
        return {}
    matrices = {
        "similarity": scores.similarity,
        "text_to_video": scores.text_to_video,
        "video_to_text": scores.video_to_text,
    }
    return {name: matrix[:] for name, matrix in matrices.items()}


def _equal_scores(scores: Scores, relevant: metrics.Relevant) -> dict[str, dict[str, int]]:
    """`metrics.equal_scores` in both directions; pairs that are not candidates do not count."""

    def count(block: np.ndarray, relevant: metrics.Relevant) -> dict[str, int]:
        right = np.zeros(block.shape, bool)
        for row, columns in zip(right, relevant, strict=True):
            row[list(columns)] = True
        return metrics.equal_scores(np.where(block == NO_CANDIDATE, -np.inf, block), right)

    def total(ranked: Matrix, relevant: metrics.Relevant) -> dict[str, int]:
        counted = Counter()
        for part in map_blocks(count, ranked, relevant):
            counted.update(part)
        return dict(counted)

    texts = metrics.texts_of(relevant, scores.similarity.shape[0])
    return {
        "text_to_video": total(scores.text_to_video, relevant),
        "video_to_text": total(scores.video_to_text, texts),
    }


def choices(
    chosen: OptionScores, gallery: Choices, config: Config, broken: Sequence[str]
) -> Outcome:
    """Accuracy of the best option."""
    right = chosen.scores.argmax(axis=1) == np.asarray(gallery.answers)
    truth = np.arange(len(gallery.options[0])) == np.asarray(gallery.answers)[:, None]
    parts = {"match": chosen.match, "contrast": chosen.contrast}
    accuracy = metrics.percent(right)
    rules = {
        "options": len(gallery.options[0]),
        "score": "contrast" if chosen.match is None else f"{MATCH} matching + {CONTRAST} contrast",
        "ties": "lower number first",
    }
    return Outcome(
        headline=("accuracy", accuracy),
        scores={"all": {"accuracy": accuracy, "count": len(right)}},
        further={"equal_scores": {"all": metrics.equal_scores(chosen.scores, truth)}},
        protocol=_protocol(config, gallery.videos, broken) | rules,
        clips_per_second=chosen.clips_per_second,
        arrays={name: x for name, x in parts.items() if x is not None},
    )


def answers(ranking: Ranking, gallery: Questions, config: Config, broken: Sequence[str]) -> Outcome:
    """Accuracy of the best answer in the list; `config.eval` decides how answers are scored."""
    spelled = [[gallery.answers[number] for number in row] for row in ranking.answers]
    truth = [
        [answer in truth for answer in row]
        for row, truth in zip(spelled, gallery.truths, strict=True)
    ]
    known, smoothing = set(gallery.answers), config.model.label_smoothing
    score = f"log p(answer), labels smoothed {smoothing:g}" if smoothing else "log p(answer)"
    twice = expect(config.eval, AnsweringOptions).first_piece == 2
    rules = {
        "answering": "rank",
        "answers": len(gallery.answers),
        "truths_among_answers": metrics.percent(
            np.array([not known.isdisjoint(truth) for truth in gallery.truths])
        ),
        "candidates": ranking.answers.shape[1],
        "score": f"log p(first piece) + {score}" if twice else score,
        "ties": "lower number first",
    }
    equal = {"equal_scores": {"all": metrics.equal_scores(ranking.scores, np.array(truth))}}
    return _accuracy(
        [row[0] for row in spelled],
        gallery,
        equal,
        _protocol(config, gallery.videos, broken) | rules,
        ranking.clips_per_second,
        {"answers": ranking.answers, "scores": ranking.scores},
    )


def written(
    answers_written: WrittenAnswers,
    predicted: Sequence[str],
    gallery: Questions,
    config: Config,
    broken: Sequence[str],
) -> Outcome:
    """Accuracy of generated answers; `predicted` are the texts of `answers_written`."""
    options = expect(config.eval, GeneratingOptions)
    rules = {
        "answering": "generate",
        "beams": options.beams,
        "max_length": options.max_length,
        "min_length": options.min_length,
        "question_padding": f"attended to, up to {answers_written.padded_to} pieces",
    }
    return _accuracy(
        predicted,
        gallery,
        {},
        _protocol(config, gallery.videos, broken) | rules,
        answers_written.clips_per_second,
        {"ids": answers_written.ids, "scores": answers_written.scores},
    )


def actions(
    scored: ActionScores,
    gallery: Actions,
    config: Config,
    broken: Sequence[str],
    scoring: Mapping[str, Json],
) -> Outcome:
    """Top-1 and top-5 accuracy, overall and per action.

    `further["classes"]` leaves out actions without a video. `scoring` is the part of the protocol
    that says how actions were scored.
    """
    labels = np.asarray(gallery.labels)
    truth = np.arange(len(gallery.names)) == labels[:, None]
    matrix = action_metrics.confusion(scored.scores, labels)
    numbers = action_metrics.summary(scored.scores, labels)
    each = zip(gallery.names, action_metrics.by_class(matrix), matrix.sum(axis=1), strict=True)
    rules = {
        "actions": len(gallery.names),
        "frames": config.model.vision.frames,
        **scoring,
        "ties": "lower number first",
    }
    return Outcome(
        headline=("top-1", numbers["top-1"]),
        scores={"all": {**numbers, "count": len(labels)}},
        further={
            "equal_scores": {"all": metrics.equal_scores(scored.scores, truth)},
            "classes": {
                name: {"accuracy": round(float(accuracy), 2), "count": int(count)}
                for name, accuracy, count in each
                if count
            },
            "confused": [
                {"action": gallery.names[true], "taken_for": gallery.names[other], "count": count}
                for true, other, count in action_metrics.confused(matrix, _CONFUSED)
            ],
        },
        protocol=_protocol(config, gallery.videos, broken) | rules,
        clips_per_second=scored.clips_per_second,
        arrays={"scores": scored.scores, "labels": labels, "confusion": matrix},
    )


def _accuracy(
    predicted: Sequence[str],
    gallery: Questions,
    further: Mapping[str, Json],
    protocol: Mapping[str, Json],
    clips_per_second: float | None,
    arrays: Mapping[str, np.ndarray],
) -> Outcome:
    """Accuracy by exact match, over all questions and over those with the same first word."""
    last = dict(zip(gallery.ids, predicted, strict=True))  # a repeated question keeps the last
    right = np.array(
        [last[i] in truth for i, truth in zip(gallery.ids, gallery.truths, strict=True)]
    )
    kinds = defaultdict(list)
    for question, correct in zip(gallery.texts, right, strict=True):
        kinds[(question.lower().split() or [""])[0]].append(correct)
    common = sorted(kinds, key=lambda word: -len(kinds[word]))[:_KINDS]
    rows = {"all": right, **{f"{word} ...": np.array(kinds[word]) for word in common}}
    rules = {"questions": len(gallery.texts), "match": "exact, case and spaces count"}
    return Outcome(
        headline=("accuracy", metrics.percent(right)),
        scores={
            name: {"accuracy": metrics.percent(part), "count": len(part)}
            for name, part in rows.items()
        },
        further={"predictions": last, **further},
        protocol={**protocol, **rules},
        clips_per_second=clips_per_second,
        arrays=arrays,
    )


_KINDS = 8  # number of first words that have a row of their own
_CONFUSED = 20  # number of confused pairs of actions that are listed


def _protocol(config: Config, videos: Sequence[str], broken: Sequence[str]) -> dict[str, Json]:
    data = config.data
    return {
        "dataset": data.dataset,
        "split": data.split,
        "videos": len(set(videos)),
        "left_out": sorted(broken),
        "trim_seconds": data.trim_seconds,
        "sampling": data.sampling,
        "decode_size": data.decode_size,
        "compute": np.dtype(runtime.compute_dtype(config.dtype)).name,
    }
