"""Contrast with what slow copies of the encoders make of this batch, and made of earlier ones.

Source: MoCo (CVPR 2020), section 3.1; ALBEF (NeurIPS 2021), sections 3.2 and 3.3, whose soft
targets BLIP (ICML 2022) and TESTA (Findings of EMNLP 2023) train with. Arrays that are sharded over
a mesh count as one batch.
"""

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from tokmerge_jax.layers.functional import unit
from tokmerge_jax.types import Params

NO_ID = -100
"""The id of a queue's place that matches no row: nothing has filled it yet, or nobody knows."""

_KEPT = 0.995  # share of a slow copy that a step leaves as it was


class Memory(flax.struct.PyTreeNode):
    """What a contrastive loss carries from step to step.

    Fields are typed loosely, as `step.TrainState`'s.

    Attributes:
      params: the slow copies of what embeds videos and texts.
      videos: float32 [K,E] of unit norm, the slow embeddings of the last K rows.
      texts: float32 [K,E] of unit norm.
      ids: int32 [K], the rows' match ids, or `NO_ID`.
      place: int32 [], where the next rows go.
    """

    params: PyTree
    videos: PyTree
    texts: PyTree
    ids: PyTree
    place: PyTree


def begin(params: Params, embed_dim: int, length: int, key: PRNGKeyArray) -> Memory:
    """Copies of `params`, and queues of K = `length` random directions that match nothing."""
    videos, texts = unit(jax.random.normal(key, (2, length, embed_dim)))
    return Memory(
        jax.tree.map(jnp.array, params),  # buffers of their own: a step is given both to overwrite
        videos,
        texts,
        ids=jnp.full(length, NO_ID, jnp.int32),
        place=jnp.zeros((), jnp.int32),
    )


def ramp(alpha: float, epoch: Float[Array, ""], epochs: float) -> Float[Array, ""]:
    """`alpha` after `epochs` finished ones (with their fraction); before, its even rise from 0."""
    return alpha * jnp.minimum(1, epoch / epochs)


def follow(memory: Memory, params: Params) -> Memory:
    """The slow copies move a little towards their namesakes in `params`; no gradient flows."""
    towards = jax.lax.stop_gradient({name: params[name] for name in memory.params})
    moved = jax.tree.map(lambda x, y: _KEPT * x + (1 - _KEPT) * y, memory.params, towards)
    return memory.replace(params=moved)


def push(
    memory: Memory,
    videos: Float[Array, "B E"],
    texts: Float[Array, "B E"],
    ids: Int[Array, " B"],
) -> Memory:
    """Slow embeddings take the place of the oldest; B must divide K.

    `ids` tell which rows match in later batches; of `NO_ID` alone, none do.
    """

    def put(queue: jax.Array, rows: jax.Array) -> jax.Array:
        rows = jax.lax.stop_gradient(rows).astype(queue.dtype)
        return jax.lax.dynamic_update_slice_in_dim(queue, rows, memory.place, axis=0)

    return memory.replace(
        videos=put(memory.videos, videos),
        texts=put(memory.texts, texts),
        ids=put(memory.ids, ids),
        place=(memory.place + len(ids)) % len(memory.ids),
    )


def contrast(
    memory: Memory,
    video: Float[Array, "B E"],
    text: Float[Array, "B E"],
    slow_video: Float[Array, "B E"],
    slow_text: Float[Array, "B E"],
    *,
    match_id: Int[Array, " B"],
    temperature: Float[Array, ""] | float,
    alpha: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """Cross-entropy of each row's cosines with the slow embeddings of batch and queue.

    The target is, for a share `alpha`, what the row's own slow embedding finds there; the rest goes
    to its matches evenly. No gradient flows into targets and slow embeddings.

    Args:
      memory: the queues before this batch is pushed.
      video: embeddings of unit norm.
      text: their texts'.
      slow_video: the same, of the slow copies.
      slow_text: the same, of the slow copies.
      match_id: rows of equal id match one another; so do those of the queue. All different (0, 1,
        ...) with a queue of `NO_ID` alone, each row matches its own.
      temperature: what the cosines are divided by.
      alpha: from 0 to 1.

    Returns:
      The loss, both directions' mean.
    """
    match = match_id[:, None] == jnp.concatenate([match_id, memory.ids])[None]
    hard = match / match.sum(axis=1, keepdims=True)

    def loss(rows: jax.Array, slow_rows: jax.Array, others: jax.Array) -> jax.Array:
        soft = alpha * jax.nn.softmax(slow_rows @ others.T / temperature) + (1 - alpha) * hard
        logits = rows @ others.T / temperature
        return optax.softmax_cross_entropy(logits, jax.lax.stop_gradient(soft)).mean()

    slow_video, slow_text = jax.lax.stop_gradient((slow_video, slow_text))
    videos = jnp.concatenate([slow_video, memory.videos])
    texts = jnp.concatenate([slow_text, memory.texts])
    return (loss(video, slow_video, texts) + loss(text, slow_text, videos)) / 2
