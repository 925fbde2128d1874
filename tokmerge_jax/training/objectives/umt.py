"""UMT's objective for retrieval: contrast, matching with hard negatives, and masked words.

Source: Unmasked Teacher (ICCV 2023), section 3.3; matching is ALBEF's (NeurIPS 2021).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import PyTree

from tokmerge_jax.training import losses
from tokmerge_jax.training.objectives import Normalise
from tokmerge_jax.types import Batch, NegativeSampler, Params


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


@runtime_checkable
class WordReader(Encoder, Protocol):
    """An `Encoder` that also predicts the words of a text."""

    @property
    def vocabulary(self) -> int:
        """The size W of the vocabulary."""
        ...

    def predict_words(
        self, ids: jax.Array, mask: jax.Array, memory: PyTree, *, train: bool = False
    ) -> jax.Array:
        """Returns logits [B,L,W] of the words of texts, given the videos."""
        ...


def retrieval(
    bind: Callable[[Params, jax.Array], WordReader],
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    weights: Mapping[str, float] = FrozenDict(vtc=1.0, vtm=1.0, mlm=0.0),
    mask_id: Callable[[], int] = lambda: 0,
    normalise: Normalise = jnp.asarray,
    sampler: NegativeSampler = losses.categorical,
    train: bool = True,
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Computes the weighted sum of UMT's losses, without those of weight 0.

    Args:
      bind: `(params, key of the dropout) ->` the bound network.
      params: the network's parameters.
      batch: `video`, `text_ids`, `text_mask` and `match_id` (equal = a true pair).
      key: key of all random draws.
      weights: weights of "vtc" (contrast), "vtm" (matching, with hard negatives) and "mlm" (masked
        words, predicted with the video).
      mask_id: returns the id of a masked word; called only while the loss is compiled, as it may
        read the vocabulary.
      normalise: maps frames to the pixels that the network reads.
      sampler: draws a negative video for each text and a negative text for each video.
      train: whether to use dropout.

    Returns:
      The loss and its parts.
    """
    coins, dropout = jax.random.split(key)
    negatives_key, words_key = jax.random.split(coins)
    model, arrays = bind(params, dropout), jax.tree.map(jnp.asarray, batch)
    ids, mask, match_id = arrays["text_ids"], arrays["text_mask"], arrays["match_id"]
    tokens, video = model.encode_video(normalise(arrays["video"]), train=train)
    states, text = model.encode_text(ids, mask, train=train)
    memory, parts = model.memory(tokens), {}
    parts["vtc"], similarity = losses.contrastive(video, text, match_id, model.temperature)
    if weights["vtm"]:
        parts["vtm"] = matching(
            model,
            (tokens, memory),
            (states, mask),
            negatives_key,
            weights=losses.hard_negative_weights(similarity, match_id),
            sampler=sampler,
            train=train,
        )
    if weights["mlm"]:
        masked, chosen = losses.mask_words(words_key, ids, mask, mask_id(), model.vocabulary)
        logits = model.predict_words(masked, mask, memory, train=train)
        parts["mlm"] = losses.word_prediction(logits, ids, chosen)
    total = jnp.stack([weights[name] * value for name, value in parts.items()]).sum()
    return total, parts


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
