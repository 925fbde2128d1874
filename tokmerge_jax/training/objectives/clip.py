"""CLIP's objective: the symmetric contrastive loss of videos and texts.

Source: CLIP (ICML 2021), section 2.3; videos as means of their frames as in CLIP4Clip
(Neurocomputing 2022), section 3.3.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from tokmerge_jax.layers.functional import unit
from tokmerge_jax.training import losses
from tokmerge_jax.training.objectives import Normalise
from tokmerge_jax.training.parts import in_parts
from tokmerge_jax.types import Batch, Params


@runtime_checkable
class Encoder(Protocol):
    """A network that embeds frames and texts."""

    @property
    def logit_scale(self) -> jax.Array:
        """The logarithm of the factor of the cosines."""
        ...

    def encode_video(self, video: jax.Array, *, train: bool = False) -> jax.Array:
        """Encodes frames to embeddings [B,T,E], of any norm."""
        ...

    def encode_text(self, ids: jax.Array, *, train: bool = False) -> jax.Array:
        """Encodes texts to embeddings [B,E], of any norm."""
        ...


def retrieval(
    bind: Callable[[Params, jax.Array], Encoder],
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    parts: int = 1,
    normalise: Normalise = jnp.asarray,
    train: bool = True,
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Computes CLIP's contrastive loss over the whole batch.

    Args:
      bind: `(params, key) ->` the bound network; it has no dropout.
      params: the network's parameters.
      batch: `video` and `text_ids`; row i of one matches only row i of the other.
      key: passed to `bind`.
      parts: number of parts in which the batch is encoded, one after the other: less memory, the
        same gradient.
      normalise: maps frames to the pixels that the network reads.
      train: passed to the network.

    Returns:
      The loss and an empty dictionary of parts.
    """
    model = bind(params, key)

    def encode(video: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        frames = model.encode_video(normalise(video), train=train)
        return unit(frames).mean(axis=1), model.encode_text(ids, train=train)

    video, ids = jnp.asarray(batch["video"]), jnp.asarray(batch["text_ids"])
    video, text = in_parts(encode, parts, video, ids)
    rows = jnp.arange(len(text), dtype=jnp.int32)
    temperature = jnp.exp(-model.logit_scale)
    return losses.contrastive(video[:, None], text, rows, temperature)[0], {}
