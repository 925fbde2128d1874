"""The matching loss that UMT and TESTA share, and the networks that it reads.

Source: ALBEF (NeurIPS 2021), section 3.2.
"""

from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tokmerge_jax.training import losses
from tokmerge_jax.types import NegativeSampler


@runtime_checkable
class Matcher(Protocol):
    """A network that scores how well a text matches a video."""

    def memory(self, tokens: jax.Array) -> PyTree:
        """Returns the keys and values of videos' tokens [G,N,C], for `match`."""
        ...

    def match(
        self, memory: PyTree, states: jax.Array, mask: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Returns logits [B,2] (no match, match) of texts' states [B,L,C]."""
        ...


@runtime_checkable
class Encoder(Matcher, Protocol):
    """A `Matcher` that also embeds videos and texts."""

    @property
    def temperature(self) -> jax.Array:
        """The divisor of the cosines."""
        ...

    def encode_video(self, video: jax.Array, *, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Encodes frames to tokens [B,N,C] and embeddings [B,F,E]."""
        ...

    def encode_text(
        self, ids: jax.Array, mask: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes texts to states [B,L,C] and embeddings [B,E]."""
        ...


def matching(
    model: Matcher,
    videos: tuple[jax.Array, PyTree],
    texts: tuple[jax.Array, jax.Array],
    key: jax.Array,
    *,
    weights: tuple[jax.Array, jax.Array],
    sampler: NegativeSampler = losses.categorical,
    train: bool,
) -> jax.Array:
    """Computes the matching loss of true pairs and of hard negatives, drawn for texts and videos.

    Args:
      model: the bound network.
      videos: tokens of B videos, and their `model.memory`.
      texts: states and mask of their texts.
      key: key of the draws.
      weights: weights of drawing a negative, [text, video] and [video, text].
      sampler: draws one negative for each row.
      train: whether to use dropout.
    """
    (tokens, memory), (states, mask) = videos, texts
    keys = jax.random.split(key)
    other_video, other_text = (sampler(k, w) for k, w in zip(keys, weights, strict=True))
    match = partial(model.match, train=train)
    logits = [
        match(memory, states, mask),
        match(model.memory(tokens[other_video]), states, mask),  # smaller to gather than `memory`
        match(memory, states[other_text], mask[other_text]),
    ]
    return losses.matching(jnp.concatenate(logits))
