"""Action recognition in the user's own videos."""

import pathlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from tokmerge_jax import runtime
from tokmerge_jax.config import common, expect
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.data.datasets import action_lists, files, prepared, video_text
from tokmerge_jax.data.text import prompts
from tokmerge_jax.evaluation import Model, zero_shot
from tokmerge_jax.evaluation import actions as recognition
from tokmerge_jax.own_videos import ranking, videos
from tokmerge_jax.own_videos.search import check_texts
from tokmerge_jax.system import Recognition, System, ZeroShot
from tokmerge_jax.types import Json, UserError

Scores = Mapping[str, Float32[np.ndarray, " C"]]
"""Video -> probability of each action."""


def names_of(system: System, labels: str = "") -> Sequence[str]:
    """The names of the actions that a system tells apart.

    Those of a trained system without names are their numbers, which stderr reports.

    Args:
      system: the system.
      labels: for a system that recognises actions by prompts: a file of any names, one a line; ""
        = those of the prepared data set.

    Raises:
      UserError: if the system recognises no actions, there are no names, or they do not fit.
    """
    if system.zero_shot and not system.recognition:
        return _any_names(system, labels)
    system.task(Recognition)
    if labels:
        raise UserError(
            f"--labels={labels}: the system {system.name!r} tells apart what it was trained on;"
            " name these actions by --config.data.labels=FILE.csv (columns id and name)"
        )
    return _trained_names(system)


def _any_names(system: System, labels: str) -> Sequence[str]:
    """The names in a file, or of the prepared data set."""
    data = system.config.data
    if labels:
        names = [line for _, line in files.lines(pathlib.Path(labels))]
        (often, count), *_ = Counter(names).most_common(1)
        if count > 1:
            raise UserError(f"--labels={labels} names {often!r:.60} {count} times; leave it once")
        return names
    if video_text.labels_path(data.folder, data.dataset).is_file():
        names = prepared.labels(data)
        if not all(name.isdecimal() for name in names):
            return names
    raise UserError(
        f"the system {system.name!r} recognises actions by their names, of which"
        f" config.data.dataset={data.dataset!r} has none in {data.folder}; name them in a file, one"
        " a line: --labels=FILE"
    )


def _trained_names(system: System) -> Sequence[str]:
    config = expect(system.config, common.Recognition)
    data, classes = config.data, config.model.classes
    if data.labels:
        return action_lists.read_names(pathlib.Path(data.labels), classes)
    if video_text.labels_path(data.folder, data.dataset).is_file():
        names = prepared.labels(data)
        if len(names) == classes:
            return names
        raise UserError(
            f"config.model.classes={classes} is not {len(names)}, the number of actions of"
            f" config.data.dataset={data.dataset!r}; name the model's actions,"
            " config.data.labels=FILE.csv"
        )
    print(
        "actions are shown by number; for names, give config.data.labels=FILE.csv (columns id and"
        f" name), or prepare config.data.dataset={data.dataset!r} with it beside the lists",
        file=sys.stderr,
    )
    return [f"action {number}" for number in range(classes)]


def vectors_of(model: Model, zero: ZeroShot, names: Sequence[str]) -> Float32[np.ndarray, "K E"]:
    """The vectors of actions (`zero_shot.action_vectors`), by prompts about them.

    Args:
      model: the weights.
      zero: the system's functions.
      names: names of the K actions.

    Raises:
      UserError: if a name holds no word, or an embedding is not finite.
    """
    tokenize, texts = zero.retrieval.tokenize, prompts.about(names, zero.templates)
    check_texts(tokenize, names)
    tokenize.report_cut(texts, "prompts")
    encoded = ranking.encode_texts(
        model, zero.retrieval.encode_text, tokenize(texts), ["embedding"]
    )
    embedding = runtime.finite(encoded["embedding"], "embedding", prompt=texts)
    return zero_shot.action_vectors(zero, embedding, len(names))


def classify(
    system: System, names: Sequence[str], sources: Mapping[str, str]
) -> tuple[Scores, list[str]]:
    """Returns the actions' probabilities in each video, and a sentence per undecodable video.

    Args:
      system: the system.
      names: the names of its actions (`names_of`).
      sources: the result of `videos.sources`.

    Raises:
      UserError: if the weights cannot be read, or a probability is not finite.
    """
    model = videos.model(system)
    task = system.recognition
    if task is None:
        zero = system.task(ZeroShot)
        task = zero_shot.recognition(zero, vectors_of(model, zero, names))
    predict = model.compiled(lambda params, video, _: task.classify(params, video))
    faults, own = dict[str, str](), dict[str, list[float]]()
    for those, logits in videos.predictions(
        system, model, predict, sources, faults=faults, doing="recognising actions"
    ):
        of_views = recognition.view_scores(np.asarray(logits)[: len(those)], those)  # no padding
        own |= dict(zip(those, of_views.tolist(), strict=True))
    scores = videos.merged(sources, own)
    return (
        {name: np.array(each, np.float32) for name, each in scores.items()},
        [*videos.merged(sources, faults).values()],
    )


def likeliest(
    scores: Float32[np.ndarray, " C"], names: Sequence[str], count: int
) -> Iterator[dict[str, Json]]:
    """Yields the `count` most probable actions, best first; ties rank by action number."""
    for number in np.argsort(-scores, kind="stable")[:count].tolist():
        yield {"id": number, "name": names[number], "probability": float(scores[number])}


def record(
    system: System, name: str, scores: Scores, names: Sequence[str], count: int
) -> dict[str, Json]:
    """A JSON record of the `count` likeliest actions in each video, with their settings.

    Args:
      system: the system that was used.
      name: the name of its configuration.
      scores: the result of `classify`.
      names: names of the actions.
      count: number of actions per video.
    """
    return {
        **videos.facts(system, name),
        **_protocol(system),
        "videos": [
            {"video": video, "actions": [*likeliest(each, names, count)]}
            for video, each in scores.items()
        ],
    }


def _protocol(system: System) -> dict[str, Json]:
    """How actions are scored."""
    if system.recognition:
        return recognition.protocol(expect(system.config.data, ActionData))
    zero = system.task(ZeroShot)
    return {"prompts": [*zero.templates], "score": zero_shot.score(zero)}
