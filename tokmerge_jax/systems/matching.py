"""Retrieval by a network that embeds videos and texts, and matches them by reading both."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike
from jaxtyping import PyTree

from tokmerge_jax.data.datasets.galleries import Row
from tokmerge_jax.signatures import Features, Memory, Tokenize
from tokmerge_jax.system import Matching, Retrieval
from tokmerge_jax.systems.towers import Tower
from tokmerge_jax.systems.validation import text_checked, video_checked
from tokmerge_jax.training.objectives.matching import Matcher
from tokmerge_jax.types import Params

T = TypeVar("T")


@runtime_checkable
class Network(Protocol):
    """A Flax module, as far as `run` needs it."""

    def apply(
        self, variables: Mapping[str, PyTree], *arrays: PyTree, method: Callable[..., PyTree]
    ) -> PyTree:
        """Calls a method of the module with variables."""
        ...


@runtime_checkable
class MatchingNetwork(Matcher, Network, Protocol):
    """A network with a matching head."""


@runtime_checkable
class EmbeddingNetwork(MatchingNetwork, Protocol):
    """A network that embeds videos and texts, with a matching head."""

    def encode_video(self, video: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encodes frames to tokens [B,N,C] and embeddings [B,F,E]."""
        ...

    def encode_text(self, ids: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encodes texts to states [B,L,C] and embeddings [B,E]."""
        ...


def retrieval(tower: Tower, network: EmbeddingNetwork, tokenize: Tokenize) -> Retrieval:
    """Makes the record of a network with a matching head.

    Args:
      tower: the video side of the network.
      network: the network.
      tokenize: captions -> ids.
    """

    def encode_video(params: Params, video: ArrayLike) -> Features:
        tokens, embedding = run(network, network.encode_video, params, tower.normalise(video))
        return {"embedding": embedding, "tokens": tokens}

    def encode_text(params: Params, text_ids: ArrayLike, text_mask: ArrayLike) -> Features:
        states, embedding = run(network, network.encode_text, params, text_ids, text_mask)
        return {"embedding": embedding, "states": states}

    return Retrieval(
        tokenize,
        video_checked(encode_video, tower.config),
        text_checked(encode_text, tower.config),
        matching(network),
    )


def collate(tokenize: Tokenize, rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Makes the arrays that an objective with a matching loss reads beside the videos."""
    text_ids, text_mask = tokenize([row.caption for row in rows])
    match_id = np.array([row.match_id for row in rows], np.int32)
    return {"text_ids": text_ids, "text_mask": text_mask, "match_id": match_id}


def matching(network: MatchingNetwork) -> Matching:
    """Makes the record of a matching head."""

    def video_memory(params: Params, tokens: ArrayLike) -> Memory:
        return run(network, network.memory, params, tokens)

    def match(params: Params, memory: Memory, states: ArrayLike, text_mask: ArrayLike) -> jax.Array:
        return match_logits(network, params, memory, states, text_mask)[..., 1]

    return Matching(video_memory, match)


def contrast(video: ArrayLike, text: ArrayLike, temperature: ArrayLike) -> jax.Array:
    """The softmax [B,P] over a video's P options of cosine / temperature, frames averaged.

    Args:
      video: unit embeddings [B,F,E].
      text: unit embeddings [B,P,E] of each video's options.
      temperature: the number that divides cosines.
    """
    cosine = jnp.einsum("vfe,vpe->vpf", video, text).mean(axis=-1)
    return jax.nn.softmax(cosine / temperature)


def match_logits(
    network: MatchingNetwork,
    params: Params,
    memory: Memory,
    states: ArrayLike,
    text_mask: ArrayLike,
) -> jax.Array:
    """Returns logits [B,P,2] (no match, match) of P texts with each video."""
    logits = run(
        network,
        network.match,
        params,
        memory,
        rearrange(jnp.asarray(states), "b p l c -> (b p) l c"),
        rearrange(jnp.asarray(text_mask), "b p l -> (b p) l"),
    )
    return rearrange(logits, "(b p) two -> b p two", b=np.shape(states)[0])


def run(network: Network, method: Callable[..., T], params: Params, *arrays: PyTree) -> T:
    """Calls a method of the network with these parameters, on arrays of NumPy or JAX."""
    arrays = jax.tree.map(jnp.asarray, arrays)
    return cast(T, network.apply({"params": params}, *arrays, method=method))
