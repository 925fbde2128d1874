"""What an evaluation of each task found: numbers by name, and the protocol that they came by."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import harmonic_mean

import numpy as np

from tokmerge_jax import runtime
from tokmerge_jax.config import Config, expect
from tokmerge_jax.config.common import ActionData, TextData
from tokmerge_jax.config.evaluation import (
    AnsweringOptions,
    GeneratingOptions,
    RetrievalOptions,
)
from tokmerge_jax.evaluation import actions as recognition
from tokmerge_jax.evaluation import metrics
from tokmerge_jax.evaluation.actions import Recognised
from tokmerge_jax.evaluation.answering import Ranking
from tokmerge_jax.evaluation.multiple_choice import CONTRAST, MATCH, Chosen
from tokmerge_jax.evaluation.retrieval import NO_CANDIDATE, Scores
from tokmerge_jax.evaluation.writing import Written
from tokmerge_jax.types import Actions, Choices, Gallery, Json, Questions


@dataclasses.dataclass(frozen=True)
class Findings:
    """The outcome of one evaluation.

    Attributes:
      headline: the one number to compare runs by, in percent, and its name.
      scores: metrics by row (a direction, a kind of question) and name.
      further: other things that JSON holds, for results.json.
      protocol: how the numbers came about, in the words of the papers.
      clips_per_second: videos encoded a second; None if too few were.
      arrays: what the numbers were computed from, for scores.npz.
    """

    headline: tuple[str, float]
    scores: Mapping[str, Mapping[str, float]]
    further: Mapping[str, Json]
    protocol: Mapping[str, Json]
    clips_per_second: float | None
    arrays: Mapping[str, np.ndarray]


def retrieval(scores: Scores, gallery: Gallery, config: Config, broken: Sequence[str]) -> Findings:
    """Both directions: the re-ranked ones if re-ranking was asked for, and the cosines alone."""
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
    return Findings(
        headline=("T2V R@1", final["text_to_video"]["R@1"]),
        scores=final,
        further={
            "harmonic_mean": {"R@1": harmonic_mean([row["R@1"] for row in final.values()])},
            "similarity_scores": plain,
            "equal_scores": _equal_scores(scores, relevant),
        },
        protocol=_protocol(config, gallery.videos, broken) | rules,
        clips_per_second=scores.clips_per_second,
        arrays={
            "similarity": scores.similarity,
            "text_to_video": scores.text_to_video,
            "video_to_text": scores.video_to_text,
        },
    )


def _equal_scores(scores: Scores, relevant: metrics.Relevant) -> dict[str, dict[str, int]]:
    """`metrics.equal_scores` of both directions; what is no candidate is not ranked."""
    right = np.zeros(scores.text_to_video.shape, bool)
    for text, videos in enumerate(relevant):
        right[text, list(videos)] = True
    ways = {"text_to_video": (scores.text_to_video, right)}
    ways["video_to_text"] = scores.video_to_text, right.T
    return {
        way: metrics.equal_scores(np.where(ranked == NO_CANDIDATE, -np.inf, ranked), theirs)
        for way, (ranked, theirs) in ways.items()
    }


def choices(chosen: Chosen, asked: Choices, config: Config, broken: Sequence[str]) -> Findings:
    """How often the right option was the best one."""
    right = chosen.scores.argmax(axis=1) == np.asarray(asked.answers)
    truth = np.arange(len(asked.options[0])) == np.asarray(asked.answers)[:, None]
    accuracy = metrics.percent(right)
    rules = {
        "options": len(asked.options[0]),
        "score": f"{MATCH} matching + {CONTRAST} contrast",
        "ties": "lower number first",
    }
    return Findings(
        headline=("accuracy", accuracy),
        scores={"all": {"accuracy": accuracy, "count": len(right)}},
        further={"equal_scores": {"all": metrics.equal_scores(chosen.scores, truth)}},
        protocol=_protocol(config, asked.videos, broken) | rules,
        clips_per_second=chosen.clips_per_second,
        arrays={"match": chosen.match, "contrast": chosen.contrast},
    )


def answers(ranking: Ranking, asked: Questions, config: Config, broken: Sequence[str]) -> Findings:
    """How often the best answer of the list is a right one; config.eval says how it was scored."""
    spelled = [[asked.answers[number] for number in row] for row in ranking.answers]
    truth = [
        [answer in truth for answer in row]
        for row, truth in zip(spelled, asked.truths, strict=True)
    ]
    known, smoothing = set(asked.answers), config.model.label_smoothing
    score = f"log p(answer), labels smoothed {smoothing:g}" if smoothing else "log p(answer)"
    twice = expect(config.eval, AnsweringOptions).first_piece == 2
    rules = {
        "answering": "rank",
        "answers": len(asked.answers),
        "truths_among_answers": metrics.percent(
            np.array([not known.isdisjoint(truth) for truth in asked.truths])
        ),
        "candidates": ranking.answers.shape[1],
        "score": f"log p(first piece) + {score}" if twice else score,
        "ties": "lower number first",
    }
    equal = {"equal_scores": {"all": metrics.equal_scores(ranking.scores, np.array(truth))}}
    return _accuracy(
        [row[0] for row in spelled],
        asked,
        equal,
        _protocol(config, asked.videos, broken) | rules,
        ranking.clips_per_second,
        {"answers": ranking.answers, "scores": ranking.scores},
    )


def written(
    found: Written,
    predicted: Sequence[str],
    asked: Questions,
    config: Config,
    broken: Sequence[str],
) -> Findings:
    """How often the answer `predicted`, which `found` spells, is a right one."""
    options = expect(config.eval, GeneratingOptions)
    rules = {
        "answering": "generate",
        "beams": options.beams,
        "max_length": options.max_length,
        "min_length": options.min_length,
        "question_padding": f"attended to, up to {found.padded_to} pieces",
    }
    return _accuracy(
        predicted,
        asked,
        {},
        _protocol(config, asked.videos, broken) | rules,
        found.clips_per_second,
        {"ids": found.ids, "scores": found.scores},
    )


def actions(found: Recognised, asked: Actions, config: Config, broken: Sequence[str]) -> Findings:
    """How often the right action was the best one, or among the best; of all, and of each.

    Actions without a video are not among `further["classes"]`.
    """
    labels = np.asarray(asked.labels)
    truth = np.arange(len(asked.names)) == labels[:, None]
    matrix = recognition.confusion(found.scores, labels)
    numbers = recognition.summary(found.scores, labels)
    each = zip(asked.names, recognition.by_class(matrix), matrix.sum(axis=1), strict=True)
    rules = {
        "actions": len(asked.names),
        "frames": config.model.vision.frames,
        **recognition.protocol(expect(config.data, ActionData)),
        "ties": "lower number first",
    }
    return Findings(
        headline=("top-1", numbers["top-1"]),
        scores={"all": {**numbers, "count": len(labels)}},
        further={
            "equal_scores": {"all": metrics.equal_scores(found.scores, truth)},
            "classes": {
                name: {"accuracy": round(float(accuracy), 2), "count": int(count)}
                for name, accuracy, count in each
                if count
            },
            "confused": [
                {"action": asked.names[true], "taken_for": asked.names[other], "count": count}
                for true, other, count in recognition.confused(matrix, _CONFUSED)
            ],
        },
        protocol=_protocol(config, asked.videos, broken) | rules,
        clips_per_second=found.clips_per_second,
        arrays={"scores": found.scores, "labels": labels, "confusion": matrix},
    )


def _accuracy(
    predicted: Sequence[str],
    asked: Questions,
    further: Mapping[str, Json],
    protocol: Mapping[str, Json],
    clips_per_second: float | None,
    arrays: Mapping[str, np.ndarray],
) -> Findings:
    """Accuracy by exact match, of all questions and of those that begin with the same word."""
    last = dict(zip(asked.ids, predicted, strict=True))  # of a question asked twice, the last one
    right = np.array([last[i] in truth for i, truth in zip(asked.ids, asked.truths, strict=True)])
    kinds = defaultdict(list)
    for question, correct in zip(asked.texts, right, strict=True):
        kinds[(question.lower().split() or [""])[0]].append(correct)
    common = sorted(kinds, key=lambda word: -len(kinds[word]))[:_KINDS]
    rows = {"all": right, **{f"{word} ...": np.array(kinds[word]) for word in common}}
    rules = {"questions": len(asked.texts), "match": "exact, case and spaces count"}
    return Findings(
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


_KINDS = 8  # first words of questions that have a row of their own
_CONFUSED = 20  # pairs of actions that are told


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
