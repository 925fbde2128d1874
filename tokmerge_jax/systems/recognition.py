"""Action recognition by a network that classifies clips: the parts that systems share."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike

from tokmerge_jax.config import expect
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.data.datasets.galleries import ActionRow
from tokmerge_jax.data.pixels.action_crops import ResizeCrops
from tokmerge_jax.signatures import Augment
from tokmerge_jax.system import Pixels, Recognition
from tokmerge_jax.systems.towers import Tower
from tokmerge_jax.systems.validation import views_checked
from tokmerge_jax.types import Params


def pixels(tower: Tower, augment: Augment | None = None) -> Pixels:
    """Makes the record of the network's input: crops of resized frames.

    Args:
      tower: the video side of the network.
      augment: the transform of training; None = the crops of evaluation.

    Raises:
      UserError: if the number of crops or the scale is invalid.
    """
    vision, data = tower.config.model.vision, expect(tower.config.data, ActionData)
    crops = ResizeCrops(vision.image_size, data.scale, data.crops)
    return Pixels(tower.mean, tower.std, vision.image_size, vision.frames, crops, augment or crops)


def recognition(tower: Tower, logits: Callable[[Params, jax.Array], jax.Array]) -> Recognition:
    """Makes the record of a network that classifies each view as a clip of its own.

    Args:
      tower: the video side of the network.
      logits: `(params, clips) ->` logits [B,K] of normalised clips [B,T M,S,S,3], with M
        neighbouring frames for each of T.
    """
    length = tower.config.model.vision.frames * tower.config.data.neighbours

    def classify(params: Params, video: ArrayLike) -> jax.Array:
        clips = rearrange(tower.normalise(video), "b (v n) h w c -> (b v) n h w c", n=length)
        return rearrange(logits(params, clips), "(b v) k -> b v k", b=np.shape(video)[0])

    return Recognition(views_checked(classify, tower.config))


def collate(rows: Sequence[ActionRow]) -> dict[str, np.ndarray]:
    """Makes the arrays that `objectives.actions` reads beside the videos."""
    return {"label": np.array([row.label for row in rows], np.int32)}
