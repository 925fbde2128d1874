"""Action recognition in the user's own videos."""

import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from tokmerge_jax.config import expect, tds_clip
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.data.datasets import action_lists, prepared, video_text
from tokmerge_jax.evaluation import actions as recognition
from tokmerge_jax.own_videos import videos
from tokmerge_jax.system import Recognition, System
from tokmerge_jax.types import Json, UserError

Scores = Mapping[str, Float32[np.ndarray, " C"]]
"""Video -> probability of each action."""


def names_of(system: System) -> Sequence[str]:
    """The names of the actions or, reported on stderr, their numbers.

    Raises:
      UserError: if the number of names is not the model's number of actions.
    """
    config = expect(system.config, tds_clip.Recognition)
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


def classify(
    system: System, task: Recognition, sources: Mapping[str, str]
) -> tuple[Scores, list[str]]:
    """Returns the actions' probabilities in each video, and a sentence per undecodable video.

    Raises:
      UserError: if the weights cannot be read, or a probability is not finite.
    """
    model = videos.model(system)
    predict = model.compiled(lambda params, video, _: task.classify(params, video))
    faults, own = dict[str, str](), dict[str, list[float]]()
    for names, logits in videos.predictions(
        system, model, predict, sources, faults=faults, doing="recognising actions"
    ):
        of_views = recognition.view_scores(np.asarray(logits)[: len(names)], names)  # no padding
        own |= dict(zip(names, of_views.tolist(), strict=True))
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
        **recognition.protocol(expect(system.config.data, ActionData)),
        "videos": [
            {"video": video, "actions": [*likeliest(each, names, count)]}
            for video, each in scores.items()
        ],
    }
