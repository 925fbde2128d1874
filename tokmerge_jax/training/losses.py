"""Losses on arrays: contrast of videos and texts, matching and its negatives, words, actions.

Source: Unmasked Teacher (ICCV 2023), section 3.3; the hard negatives are ALBEF's (NeurIPS 2021).
Arrays that are sharded over a mesh count as one batch: contrast and negatives reach over all of
it, where the original draws its negatives separately on each device.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tokmerge_jax.layers.functional import unit

_HIDDEN = 0.5  # share of the words that are masked
_SMOOTHING = 0.1  # share of the target that a language model spreads over all words


def contrastive(
    video: Float[Array, "B F E"],
    text: Float[Array, "B E"],
    match_id: Int[Array, " B"],
    temperature: Float[Array, ""] | float,
) -> tuple[Float[Array, ""], Float[Array, "B B"]]:
    """Cross-entropy between each row's cosines and its true matches, both directions' mean.

    Args:
      video: F embeddings per video, of any norm; the cosines are averaged over F.
      text: embeddings of the texts.
      match_id: rows of equal id match one another and share the target evenly.
      temperature: divisor of the cosines.

    Returns:
      The loss, and the similarities [video, text] over the temperature (float32).
    """
    cosine = jnp.einsum("vfe,te->vtf", unit(video), unit(text)).mean(axis=-1)
    similarity = cosine / temperature
    match = _matches(match_id)
    target = match / match.sum(axis=1, keepdims=True)
    losses = [optax.softmax_cross_entropy(s, target) for s in (similarity, similarity.T)]
    return jnp.stack(losses).mean(), similarity


def hard_negative_weights(
    similarity: Float[Array, "B B"], match_id: Int[Array, " B"]
) -> tuple[Float[Array, "B B"], Float[Array, "B B"]]:
    """Returns the weights of drawing each non-match as a negative: the softmax of its row.

    Args:
      similarity: [video, text] over the temperature.
      match_id: rows of equal id match one another and are never drawn (weight 0).

    Returns:
      Weights [text, video] and weights [video, text]; no gradient flows through them. A NaN
      becomes 0.01. If the weights of all non-matches of a row underflow to 0, the row gets the
      softmax over its non-matches alone.
    """

    def weights(rows: jax.Array) -> jax.Array:
        match = _matches(match_id)
        share = jnp.where(match, 0, jnp.nan_to_num(jax.nn.softmax(rows, axis=1), nan=0.01))
        apart = jnp.nan_to_num(jax.nn.softmax(jnp.where(match, -jnp.inf, rows), axis=1), nan=0)
        return jnp.where(share.any(axis=1, keepdims=True), share, apart)

    similarity = jax.lax.stop_gradient(similarity)
    return weights(similarity.T), weights(similarity)


def matching(logits: Float[Array, "R 2"]) -> Float[Array, ""]:
    """Cross-entropy of (no match, match) logits whose first third are matches, the rest not."""
    rows = logits.shape[0]
    labels = (jnp.arange(rows) < rows // 3).astype(jnp.int32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def mask_words(
    key: PRNGKeyArray,
    ids: Int[Array, "B L"],
    mask: Bool[Array, "B L"],
    mask_id: int,
    vocab_size: int,
) -> tuple[Int[Array, "B L"], Bool[Array, "B L"]]:
    """Hides half of the words: 80 % of them as `mask_id`, 10 % as a random word, 10 % unchanged.

    Source: BERT (NAACL 2019), section 3.1; the share is UMT's (ICCV 2023).

    Args:
      key: random key.
      ids: texts; position 0, the start token, is never hidden.
      mask: False on padding, which is not hidden either.
      mask_id: the word that stands for a hidden one.
      vocab_size: random words are below it.

    Returns:
      The ids with hidden words replaced, and a mask of the chosen positions.
    """
    which, how, word = jax.random.split(key, 3)
    hideable = mask & (jnp.arange(ids.shape[1]) > 0)[None]
    chosen = (jax.random.uniform(which, ids.shape) < _HIDDEN) & hideable
    coin = jax.random.uniform(how, ids.shape)
    random = jax.random.randint(word, ids.shape, 0, vocab_size, ids.dtype)
    hidden = jnp.where(coin < 0.8, mask_id, jnp.where(coin < 0.9, random, ids))
    return jnp.where(chosen, hidden, ids), chosen


def word_prediction(
    logits: Float[Array, "B L W"], ids: Int[Array, "B L"], chosen: Bool[Array, "B L"]
) -> Float[Array, ""]:
    """Mean cross-entropy of the chosen words (0 if there are none)."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
    return _mean(jnp.where(chosen, losses, 0), chosen)


def language_model(
    logits: Float[Array, "B L W"], ids: Int[Array, "B L"], mask: Bool[Array, "B L"]
) -> tuple[Float[Array, ""], Float[Array, " B"]]:
    """Cross-entropy of every word but the first, given those before, its label smoothed by 0.1.

    Source: BLIP (ICML 2022), section 3.2; smoothing is Inception's (CVPR 2016), section 7: a tenth
    of the target goes to all words alike.

    Args:
      logits: logits of the word after each position; the last position is not read.
      ids: the texts.
      mask: False on padding, which is no target.

    Returns:
      The mean over all target words (0 if there are none), and each text's sum.
    """
    logits, ids, mask = logits[:, :-1], ids[:, 1:], mask[:, 1:]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
    said = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    losses += _SMOOTHING * (said - logits.mean(axis=-1))
    losses = jnp.where(mask, losses, 0)
    return _mean(losses, mask), losses.sum(axis=1)


def cross_entropy(logits: Float[Array, "B K"], targets: Float[Array, "B K"]) -> Float[Array, ""]:
    """Computes the mean cross-entropy of K actions with soft targets (`mixing.smooth_targets`)."""
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), targets).mean()


def categorical(key: PRNGKeyArray, weights: Float[Array, "R S"]) -> Int[Array, " R"]:
    """Draws a column of each row in proportion to its weight (column 0 if all weights are 0)."""
    return jax.random.categorical(key, jnp.log(weights)).astype(jnp.int32)


def _mean(losses: Float[Array, "B L"], chosen: Bool[Array, "B L"]) -> Float[Array, ""]:
    """The mean over the chosen, of losses that are 0 elsewhere (0 if there are none)."""
    return losses.sum() / jnp.maximum(chosen.sum(), 1)


def _matches(match_id: Int[Array, " B"]) -> Bool[Array, "B B"]:
    return match_id[:, None] == match_id[None, :]
