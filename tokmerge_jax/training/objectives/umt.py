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
    """A network that reads a video's tokens to match a text with it."""

    def memory(self, tokens: jax.Array) -> PyTree:
        """What reading a text needs to know of videos' tokens [G,N,C]."""
        ...

    def match(
        self, memory: PyTree, states: jax.Array, mask: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Logits [B,2] (no match, match) of texts' states [B,L,C]."""
        ...


@runtime_checkable
class Encoder(Matcher, Protocol):
    """A network that embeds videos and texts, too."""

    @property
    def temperature(self) -> jax.Array:
        """What cosines are divided by."""
        ...

    def encode_video(self, video: jax.Array, *, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Tokens [B,N,C] and embeddings [B,F,E] of frames."""
        ...

    def encode_text(
        self, ids: jax.Array, mask: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """States [B,L,C] and embeddings [B,E] of texts."""
        ...


@runtime_checkable
class WordReader(Encoder, Protocol):
    """A network that predicts the words of a text, too."""

    @property
    def vocabulary(self) -> int:
        """W, the number of words that it knows."""
        ...

    def predict_words(
        self, ids: jax.Array, mask: jax.Array, memory: PyTree, *, train: bool = False
    ) -> jax.Array:
        """Logits [B,L,W] of texts that are read with videos."""
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
    """The weighted sum of UMT's losses; those of weight 0 are not computed.

    Args:
      bind: gives the network, by its parameters and the key of its dropout.
      params: the network's.
      batch: `video`, `text_ids`, `text_mask` and `match_id` (equal = a true pair).
      key: of all that is random.
      weights: of "vtc" (contrast), "vtm" (matching, with hard negatives) and "mlm" (words that
        were masked, read with the video).
      mask_id: returns the id that stands for a masked word; called while the loss is compiled,
        for it may read the vocabulary.
      normalise: makes frames what the network reads.
      sampler: draws a negative video for each text and a negative text for each video.
      train: use dropout.

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
    """Cross-entropy of true pairs, each text with another video, each video with another text.

    Args:
      model: bound to its parameters.
      videos: tokens of B videos, and `model.memory` of these.
      texts: states and mask of the text of each.
      key: of the draws.
      weights: how likely another is drawn, [text, video] and [video, text].
      sampler: draws one for each.
      train: use dropout.
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
