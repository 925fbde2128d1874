"""Contrastive loss against momentum encoders and queues of earlier batches (MoCo, ALBEF).

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
"""The match id of a queue's row that matches nothing: it is empty, or its matches are unknown."""

_KEPT = 0.995  # momentum: the share of a momentum encoder that a step keeps


class Memory(flax.struct.PyTreeNode):
    """The state of the loss: momentum encoders and queues.

    Fields are typed loosely, as in `step.TrainState`.

    Attributes:
      params: parameters of the momentum encoders of videos and texts.
      videos: float32 [K,E] of unit norm, momentum embeddings of the last K rows.
      texts: float32 [K,E] of unit norm.
      ids: int32 [K], match ids of the rows, or `NO_ID`.
      place: int32 [], the queue's next position.
    """

    params: PyTree
    videos: PyTree
    texts: PyTree
    ids: PyTree
    place: PyTree


def begin(params: Params, embed_dim: int, length: int, key: PRNGKeyArray) -> Memory:
    """Makes copies of `params`, and queues of K = `length` random directions that match nothing."""
    videos, texts = unit(jax.random.normal(key, (2, length, embed_dim)))
    return Memory(
        jax.tree.map(jnp.array, params),  # separate buffers: a step donates both
        videos,
        texts,
        ids=jnp.full(length, NO_ID, jnp.int32),
        place=jnp.zeros((), jnp.int32),
    )


def ramp(alpha: float, epoch: Float[Array, ""], epochs: float) -> Float[Array, ""]:
    """Raises alpha linearly from 0 in the first `epochs` epochs; `epoch` may be fractional."""
    return alpha * jnp.minimum(1, epoch / epochs)


def follow(memory: Memory, params: Params) -> Memory:
    """Moves the momentum encoders towards `params`; no gradient flows."""
    towards = jax.lax.stop_gradient({name: params[name] for name in memory.params})
    moved = jax.tree.map(lambda x, y: _KEPT * x + (1 - _KEPT) * y, memory.params, towards)
    return memory.replace(params=moved)


def push(
    memory: Memory,
    videos: Float[Array, "B E"],
    texts: Float[Array, "B E"],
    ids: Int[Array, " B"],
) -> Memory:
    """Replaces the oldest rows of the queues by momentum embeddings; B must divide K.

    `ids` are the match ids of the rows for later batches; rows of `NO_ID` match nothing.
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
    """Computes the cross-entropy of each row's cosines with the momentum embeddings and the queue.

    The target is alpha times the softmax of the row's momentum embedding, plus 1 - alpha spread
    evenly over its matches. No gradient flows into targets and momentum embeddings.

    Args:
      memory: the queues before this batch is pushed.
      video: embeddings of unit norm of videos.
      text: embeddings of unit norm of their texts.
      slow_video: `video` by the momentum encoder.
      slow_text: `text` by the momentum encoder.
      match_id: rows of equal id match, in batch and queue. With different ids (0, 1, ...) and a
        queue of `NO_ID`, each row matches only itself.
      temperature: divisor of the cosines.
      alpha: from 0 to 1.

    Returns:
      The mean of both directions' losses.
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
