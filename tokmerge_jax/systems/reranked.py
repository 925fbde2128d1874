"""What retrieval asks of a network that embeds videos and texts, and reads both to match them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from tokmerge_jax.layers.attention import KeysValues
from tokmerge_jax.models.matcher import Matcher
from tokmerge_jax.training import losses
from tokmerge_jax.types import NegativeSampler, Params, Predict


class Seen(NamedTuple):
    """Videos' tokens, and what the layers read of them; the states and mask of their texts."""

    tokens: jax.Array
    memory: tuple[KeysValues, ...]
    states: jax.Array
    mask: jax.Array


def functions(module: nn.Module, pixels: Callable[[ArrayLike], jax.Array]) -> dict[str, Predict]:
    """`encode_video`, `encode_text`, `video_memory` and `match` of `types.System.predict`.

    Args:
      module: has methods `encode_video`, `encode_text`, `memory` and `match` (`models.umt`).
      pixels: makes frames what the network reads.
    """

    def encode_video(params: Params, video: ArrayLike) -> dict[str, jax.Array]:
        tokens, embedding = run(module, "encode_video", params, pixels(video))
        return {"embedding": embedding, "tokens": tokens}

    def encode_text(params: Params, text_ids: ArrayLike, text_mask: ArrayLike) -> dict[str, Any]:
        states, embedding = run(module, "encode_text", params, text_ids, text_mask)
        return {"embedding": embedding, "states": states}

    def video_memory(params: Params, tokens: ArrayLike) -> Any:
        return run(module, "memory", params, tokens)

    def match(params: Params, memory: Any, states: ArrayLike, text_mask: ArrayLike) -> jax.Array:
        return match_logits(module, params, memory, states, text_mask)[..., 1]

    predict = (encode_video, encode_text, video_memory, match)
    return {function.__name__: function for function in predict}


def match_logits(
    module: nn.Module, params: Params, memory: Any, states: ArrayLike, text_mask: ArrayLike
) -> jax.Array:
    """Logits [B,P,2] (no match, match) of P texts with each video."""
    videos, texts, length, width = np.shape(states)
    flat = jnp.reshape(states, (-1, length, width)), jnp.reshape(text_mask, (-1, length))
    return run(module, "match", params, memory, *flat).reshape(videos, texts, 2)


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


def run(module: nn.Module, method: str, params: Params, *arrays: Any) -> Any:
    """A method of the network on arrays of any kind."""
    return module.apply({"params": params}, *jax.tree.map(jnp.asarray, arrays), method=method)
