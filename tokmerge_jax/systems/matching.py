"""Retrieval by a network that embeds videos and texts, and reads both to match them."""

from collections.abc import Callable
from typing import TypeVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike
from jaxtyping import PyTree

from tokmerge_jax.models.testa import TESTA
from tokmerge_jax.models.umt import UMT, Matcher
from tokmerge_jax.signatures import Features, Memory, Tokenize
from tokmerge_jax.system import Matching, Retrieval
from tokmerge_jax.systems.towers import Tower
from tokmerge_jax.systems.validation import text_checked, video_checked
from tokmerge_jax.types import Params

T = TypeVar("T")


def retrieval(tower: Tower, network: UMT | TESTA, tokenize: Tokenize) -> Retrieval:
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


def matching(network: Matcher) -> Matching:
    """Makes the record of a matching head."""

    def video_memory(params: Params, tokens: ArrayLike) -> Memory:
        return run(network, network.memory, params, tokens)

    def match(params: Params, memory: Memory, states: ArrayLike, text_mask: ArrayLike) -> jax.Array:
        return match_logits(network, params, memory, states, text_mask)[..., 1]

    return Matching(video_memory, match)


def match_logits(
    network: Matcher, params: Params, memory: Memory, states: ArrayLike, text_mask: ArrayLike
) -> jax.Array:
    """Returns logits [B,P,2] (no match, match) of P texts with each video."""
    flat = (
        rearrange(jnp.asarray(states), "b p l c -> (b p) l c"),
        rearrange(jnp.asarray(text_mask), "b p l -> (b p) l"),
    )
    logits = run(network, network.match, params, memory, *flat)
    return rearrange(logits, "(b p) two -> b p two", b=np.shape(states)[0])


def run(network: nn.Module, method: Callable[..., T], params: Params, *arrays: PyTree) -> T:
    """Calls a method of the network with these parameters, on arrays of any kind."""
    arrays = jax.tree.map(jnp.asarray, arrays)
    return cast(T, network.apply({"params": params}, *arrays, method=method))
