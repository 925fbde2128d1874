"""TESTA's fine-tuning for retrieval: contrast with slow copies, matching with hard negatives.

Source: BLIP (ICML 2022), section 3.2, after ALBEF (NeurIPS 2021), as TESTA (Findings of EMNLP 2023)
trains with it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokmerge_jax.config.testa import Retrieval
from tokmerge_jax.models.testa import TESTA
from tokmerge_jax.signatures import StatefulLoss
from tokmerge_jax.systems import reranked, timesformer_vision
from tokmerge_jax.training import losses, momentum, parts
from tokmerge_jax.training.momentum import Memory
from tokmerge_jax.types import Batch, NegativeSampler, Params

_EMBEDDERS = ("vision", "text", "vision_projection", "text_projection")


def init_memory(config: Retrieval) -> Callable[[Params, jax.Array], Memory]:
    """`(params, key) -> ` the slow copies of what embeds, and queues as long as configured."""

    def begin(params: Params, key: jax.Array) -> Memory:
        embedders = {name: params[name] for name in _EMBEDDERS}
        return momentum.begin(embedders, config.model.embed_dim, config.train.queue, key)

    return begin


class Pairs(NamedTuple):
    """Videos and their texts.

    Attributes:
      tokens: of the videos [B,N,C].
      states: what matching the texts begins with [B,L,C].
      video: embeddings of unit norm [B,E].
      text: the same, of the texts.
      slow_video: the same, of the slow copies.
      slow_text: the same, of the slow copies.
    """

    tokens: jax.Array
    states: jax.Array
    video: jax.Array
    text: jax.Array
    slow_video: jax.Array
    slow_text: jax.Array


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Encodes a batch, also with the slow copies, and contrasts it with itself and the queues.

    Attributes:
      network: encodes videos and texts.
      alpha: the share of the targets that slow copies give.
      alpha_epochs: it rises from 0 for so many.
      in_parts: the videos are encoded in so many parts, one after the other, to the same gradient.
    """

    network: TESTA
    alpha: float
    alpha_epochs: float
    in_parts: int

    def __call__(
        self,
        params: Params,
        state: Memory,
        batch: Mapping[str, jax.Array],
        *,
        match_id: jax.Array,
        kept_id: jax.Array,
        keys: Sequence[jax.Array],
        epoch: jax.Array,
        train: bool,
    ) -> tuple[Pairs, jax.Array, Memory]:
        """The encoded batch, the loss, and the state after it, which knows the rows by `kept_id`.

        Args:
          params: the network's.
          state: before the batch.
          batch: of `video`, `text_ids` and `text_mask`.
          match_id: equal in rows that match one another.
          kept_id: the same, for later batches.
          keys: of the dropout of the network and of the slow copies.
          epoch: how many have finished.
          train: use dropout.
        """
        key, slow_key = keys
        (tokens, video), (states, text) = self._encode(params, batch, key, train)
        state = momentum.follow(state, params)
        slow_params = {**params, **state.params}
        (_, slow_video), (_, slow_text) = self._encode(slow_params, batch, slow_key, train)
        loss = momentum.contrast(
            state,
            video,
            text,
            slow_video,
            slow_text,
            match_id=match_id,
            temperature=params["temperature"],
            alpha=momentum.ramp(self.alpha, epoch, self.alpha_epochs),
        )
        state = momentum.push(state, slow_video, slow_text, kept_id)
        return Pairs(tokens, states, video, text, slow_video, slow_text), loss, state

    def _encode(
        self, params: Params, batch: Mapping[str, jax.Array], key: jax.Array, train: bool
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        """Tokens and embeddings of the videos, states and embeddings of the texts."""

        def see(video: jax.Array) -> tuple[jax.Array, jax.Array]:
            run = nn.apply(lambda model, x: model.encode_video(x, train=train), self.network)
            tokens, embedding = run({"params": params}, timesformer_vision.pixels(video))
            return tokens, embedding[:, 0]

        read = nn.apply(TESTA.encode_text, self.network)
        ids, mask = batch["text_ids"], batch["text_mask"]
        words = read({"params": params}, ids, mask, train=train, rngs={"dropout": key})
        return parts.in_parts(see, self.in_parts, batch["video"]), words


def retrieval_loss(
    network: TESTA,
    alpha: float = 0.4,
    alpha_epochs: float = 1.0,
    in_parts: int = 1,
    sampler: NegativeSampler = losses.categorical,
) -> StatefulLoss:
    """The sum of contrast ("vtc") and matching ("vtm"), over the whole batch.

    Args:
      network: encodes and matches.
      alpha: the share of contrast's targets that slow copies give.
      alpha_epochs: it rises from 0 for so many.
      in_parts: the videos are encoded in so many parts, one after the other, to the same gradient.
      sampler: draws a negative video for each text and a negative text for each video.

    Returns:
      `(params, state, batch, key, epoch, train) -> (loss, its parts, state)`; the batch holds
      `video`, `text_ids`, `text_mask` and `match_id` (equal = a true pair).
    """
    run = Contrast(network, alpha, alpha_epochs, in_parts)

    def match(
        model: TESTA,
        tokens: jax.Array,
        states: jax.Array,
        similarity: jax.Array,
        batch: Mapping[str, jax.Array],
        key: jax.Array,
        *,
        train: bool,
    ) -> jax.Array:
        seen = reranked.Seen(tokens, model.memory(tokens), states, batch["text_mask"])
        weights = losses.hard_negative_weights(similarity, batch["match_id"])
        return reranked.matching_loss(model, seen, weights, sampler, key, train=train)

    def loss(
        params: Params,
        state: Memory,
        batch: Batch,
        key: jax.Array,
        epoch: jax.Array,
        *,
        train: bool = True,
    ) -> tuple[jax.Array, Mapping[str, jax.Array], Memory]:
        arrays = jax.tree.map(jnp.asarray, batch)
        coins, *keys, dropout = jax.random.split(key, 4)
        match_id = arrays["match_id"]
        pairs, vtc, state = run(
            params,
            state,
            arrays,
            match_id=match_id,
            kept_id=match_id,
            keys=keys,
            epoch=epoch,
            train=train,
        )
        similarity = pairs.video @ pairs.text.T / params["temperature"]
        vtm = nn.apply(match, network)(
            {"params": params},
            pairs.tokens,
            pairs.states,
            similarity,
            arrays,
            coins,
            train=train,
            rngs={"dropout": dropout},
        )
        return vtc + vtm, {"vtc": vtc, "vtm": vtm}, state

    return loss
