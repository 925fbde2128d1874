"""UMT's objective for retrieval: contrast, matching with hard negatives, and masked words.

Source: Unmasked Teacher (ICCV 2023), section 3.3; matching is ALBEF's (NeurIPS 2021).
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import PyTree

from tokmerge_jax.training import losses
from tokmerge_jax.training.objectives import Normalise
from tokmerge_jax.training.objectives.matching import Encoder, matching
from tokmerge_jax.types import Batch, NegativeSampler, Params


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
