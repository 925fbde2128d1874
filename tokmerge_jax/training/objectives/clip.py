"""CLIP's objective: the symmetric contrast of videos and texts.

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
        """Logarithm of what cosines are multiplied by."""
        ...

    def encode_video(self, video: jax.Array, *, train: bool = False) -> jax.Array:
        """Embeddings of each frame [B,T,E], of any norm."""
        ...

    def encode_text(self, ids: jax.Array, *, train: bool = False) -> jax.Array:
        """Embeddings of texts [B,E], of any norm."""
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
    """CLIP's contrast over the whole batch.

    Args:
      bind: gives the network, by its parameters and the key of its dropout, of which it has none.
      params: the network's.
      batch: `video` and `text_ids`; row i of one belongs to row i of the other alone.
      key: passed to `bind`.
      parts: number of parts that the batch is encoded in, one after the other, to the same
        gradient: what one part computes is all that is held at a time.
      normalise: makes frames what the network reads.
      train: as in training.

    Returns:
      The loss, and no parts of it.
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
