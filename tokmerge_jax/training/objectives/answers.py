"""The objective of question answering: the likelihood of right answers."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import PyTree

from tokmerge_jax.training.objectives import Normalise
from tokmerge_jax.types import Batch, Params


@runtime_checkable
class Answerer(Protocol):
    """A network that reads questions about videos and scores answers."""

    def encode_video(self, video: jax.Array, *, train: bool = False) -> jax.Array:
        """Encodes frames to tokens [B,N,C]."""
        ...

    def memory(self, tokens: jax.Array) -> PyTree:
        """Returns the keys and values of videos' tokens, for `read`."""
        ...

    def read(
        self, memory: PyTree, ids: jax.Array, mask: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Encodes questions to states [G,L,C]."""
        ...

    def answer_memory(self, states: jax.Array) -> PyTree:
        """Returns the keys and values of questions' states, for `log_likelihood`."""
        ...

    def log_likelihood(
        self, memory: PyTree, question_mask: jax.Array, ids: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Returns log-probabilities of answers, the same number for each question."""
        ...


def likelihood(
    bind: Callable[[Params, jax.Array], Answerer],
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    normalise: Normalise = jnp.asarray,
    train: bool = True,
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Computes the weighted negative log-likelihood of answers, averaged over questions.

    Args:
      bind: `(params, key of the dropout) ->` the bound network, whose label smoothing is used.
      params: the network's parameters.
      batch: `video`; `text_ids` and `text_mask` [B,P,L] of P questions about each video;
        `answer_ids` int32 [B,P,J,L] and `answer_weights` [B,P,J], 0 where there are fewer answers
        or questions.
      key: key of the dropout.
      normalise: maps frames to the pixels that the network reads.
      train: whether to use dropout.

    Returns:
      The loss and an empty dictionary of parts.
    """
    model, arrays = bind(params, key), jax.tree.map(jnp.asarray, batch)
    tokens = model.encode_video(normalise(arrays["video"]), train=train)
    ids, mask = (rearrange(arrays[name], "b p l -> (b p) l") for name in ("text_ids", "text_mask"))
    states = model.read(model.memory(tokens), ids, mask, train=train)
    memory, weights = model.answer_memory(states), arrays["answer_weights"]
    answers = rearrange(arrays["answer_ids"], "b p j l -> (b p j) l")
    logs = model.log_likelihood(memory, mask, answers, train=train)
    asked = (weights.sum(axis=-1) > 0).sum()
    return -(weights * logs.reshape(weights.shape)).sum() / asked, {}
