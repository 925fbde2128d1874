"""Captions for the user's own videos."""

from collections.abc import Mapping

import jax
import numpy as np

from tokmerge_jax import runtime
from tokmerge_jax.config import expect
from tokmerge_jax.config.testa import Pretraining
from tokmerge_jax.own_videos import videos
from tokmerge_jax.signatures import Features
from tokmerge_jax.system import Captioning, System
from tokmerge_jax.types import Json, Params

Captions = Mapping[str, tuple[str, float]]
"""Video -> (caption, score)."""


def write(
    system: System, captioning: Captioning, sources: Mapping[str, str]
) -> tuple[Captions, list[str]]:
    """Returns captions of the videos, and a sentence per undecodable video.

    Raises:
      UserError: if the weights cannot be read, or a score is not finite.
    """
    model = videos.model(system)
    key = jax.random.key(system.config.seed)

    def caption(params: Params, video: jax.Array, places: jax.Array) -> Features:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)  # whatever else is in the batch
        return captioning.caption(params, video, keys)

    faults, own = dict[str, str](), dict[str, tuple[str, float]]()
    for names, written in videos.predictions(
        system,
        model,
        model.compiled(caption),
        sources,
        faults=faults,
        doing="writing captions",
    ):
        texts = captioning.spell(np.asarray(written["ids"]))
        scores = runtime.finite(written["score"][: len(names)], "score of a caption", video=names)
        own |= dict(zip(names, zip(texts, scores.tolist(), strict=False), strict=True))
    captions = {name: (text, score) for name, (text, score) in videos.merged(sources, own).items()}
    return captions, [*videos.merged(sources, faults).values()]


def record(system: System, name: str, captions: Captions) -> dict[str, Json]:
    """A JSON record of the captions with their settings; `name` is the configuration's."""
    config = expect(system.config, Pretraining)
    search = config.caption.to_dict()
    return {
        **videos.facts(system, name),
        "search": search | ({"seed": config.seed} if search["top_p"] else {}),
        "captions": [
            {"video": video, "caption": caption, "score": score}
            for video, (caption, score) in captions.items()
        ],
    }
