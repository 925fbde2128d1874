"""What retrieval asks of a network that embeds videos and texts, and reads both to match them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike
from jaxtyping import PyTree

from tokmerge_jax.config import Config
from tokmerge_jax.layers.attention import KeysValues
from tokmerge_jax.models.matcher import Matcher
from tokmerge_jax.models.testa import TESTA
from tokmerge_jax.models.umt import UMT
from tokmerge_jax.signatures import Features, Memory, Tokenize
from tokmerge_jax.system import Matching, Retrieval
from tokmerge_jax.systems.inputs import text_checked, video_checked
from tokmerge_jax.training import losses
from tokmerge_jax.types import NegativeSampler, Params

T = TypeVar("T")


class Seen(NamedTuple):
    """Videos' tokens, and what the layers read of them; the states and mask of their texts."""

    tokens: jax.Array
    memory: tuple[KeysValues, ...]
    states: jax.Array
    mask: jax.Array


def retrieval(
    config: Config,
    network: UMT | TESTA,
    pixels: Callable[[ArrayLike], jax.Array],
    tokenize: Tokenize,
) -> Retrieval:
    """The functions of a network that has a matching head.

    Args:
      config: the system's.
      network: encodes and matches.
      pixels: makes frames what the network reads.
      tokenize: makes ids of captions.
    """

    def encode_video(params: Params, video: ArrayLike) -> Features:
        tokens, embedding = run(network, network.encode_video, params, pixels(video))
        return {"embedding": embedding, "tokens": tokens}

    def encode_text(params: Params, text_ids: ArrayLike, text_mask: ArrayLike) -> Features:
        states, embedding = run(network, network.encode_text, params, text_ids, text_mask)
        return {"embedding": embedding, "states": states}

    return Retrieval(
        tokenize,
        video_checked(encode_video, config),
        text_checked(encode_text, config),
        matching(network),
    )


def matching(network: Matcher) -> Matching:
    """The functions of a matching head."""

    def video_memory(params: Params, tokens: ArrayLike) -> Memory:
        return run(network, network.memory, params, tokens)

    def match(params: Params, memory: Memory, states: ArrayLike, text_mask: ArrayLike) -> jax.Array:
        return match_logits(network, params, memory, states, text_mask)[..., 1]

    return Matching(video_memory, match)


def match_logits(
    network: Matcher, params: Params, memory: Memory, states: ArrayLike, text_mask: ArrayLike
) -> jax.Array:
    """Logits [B,P,2] (no match, match) of P texts with each video."""
    flat = (
        rearrange(jnp.asarray(states), "b p l c -> (b p) l c"),
        rearrange(jnp.asarray(text_mask), "b p l -> (b p) l"),
    )
    logits = run(network, network.match, params, memory, *flat)
    return rearrange(logits, "(b p) two -> b p two", b=np.shape(states)[0])


def matching_loss(
    model: Matcher,
    seen: Seen,
    weights: tuple[jax.Array, jax.Array],
    sampler: NegativeSampler,
    key: jax.Array,
    *,
    train: bool,
) -> jax.Array:
    """Tells true pairs from each text with another video, and each video with another text.

    Args:
      model: the network, bound to its parameters.
      seen: B videos, and the text of each.
      weights: how likely another is drawn, [text, video] and [video, text].
      sampler: draws one for each.
      key: of the draws.
      train: use dropout.
    """
    tokens, memory, states, mask = seen
    keys = jax.random.split(key)
    other_video, other_text = (sampler(k, w) for k, w in zip(keys, weights, strict=True))
    match = partial(model.match, train=train)
    logits = [
        match(memory, states, mask),
        match(model.memory(tokens[other_video]), states, mask),  # smaller to gather than `memory`
        match(memory, states[other_text], mask[other_text]),
    ]
    return losses.matching(jnp.concatenate(logits))


def run(network: nn.Module, method: Callable[..., T], params: Params, *arrays: PyTree) -> T:
    """A method of the network, by its parameters, on arrays of any kind."""
    arrays = jax.tree.map(jnp.asarray, arrays)
    return cast(T, network.apply({"params": params}, *arrays, method=method))
