"""Action recognition by a network that classifies clips: what its systems share."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike

from tokmerge_jax.config import expect
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.data.datasets.galleries import ActionRow
from tokmerge_jax.data.pixels.actions import ResizeCrops
from tokmerge_jax.signatures import Augment
from tokmerge_jax.system import Pixels, Recognition
from tokmerge_jax.systems.towers import Tower
from tokmerge_jax.systems.validation import views_checked
from tokmerge_jax.types import Params


def pixels(tower: Tower, augment: Augment | None = None) -> Pixels:
    """How frames become the network's input: crops of resized frames.

    Args:
      tower: the video side of the network.
      augment: the training's; None = the evaluation's crops.

    Raises:
      UserError: if the number of crops or the scale cannot work.
    """
    vision, data = tower.config.model.vision, expect(tower.config.data, ActionData)
    crops = ResizeCrops(vision.image_size, data.scale, data.crops)
    return Pixels(tower.mean, tower.std, vision.image_size, vision.frames, crops, augment or crops)


def recognition(tower: Tower, logits: Callable[[Params, jax.Array], jax.Array]) -> Recognition:
    """Each view is classified as a clip of its own.

    Args:
      tower: the video side of the network.
      logits: `(params, clips) -> ` [B,K] of normalised clips [B,T M,S,S,3], M neighbouring frames
        for each of T.
    """
    length = tower.config.model.vision.frames * tower.config.data.neighbours

    def classify(params: Params, video: ArrayLike) -> jax.Array:
        clips = rearrange(tower.normalise(video), "b (v n) h w c -> (b v) n h w c", n=length)
        return rearrange(logits(params, clips), "(b v) k -> b v k", b=np.shape(video)[0])

    return Recognition(views_checked(classify, tower.config))


def collate(rows: Sequence[ActionRow]) -> dict[str, np.ndarray]:
    """What `objectives.actions` reads of training rows beside their videos."""
    return {"label": np.array([row.label for row in rows], np.int32)}
