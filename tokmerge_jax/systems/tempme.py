"""TempMe, and plain CLIP: text-video retrieval by frames whose clips join and merge on the way.

Source: TempMe (ICLR 2025) on CLIP (ICML 2021), trained as CLIP4Clip; `docs/tempme.md`.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from tokmerge_jax.checkpoints.tables.clip import rules
from tokmerge_jax.config import clip
from tokmerge_jax.data.datasets.galleries import Row
from tokmerge_jax.data.pixels import normalise
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.layers.unit import unit
from tokmerge_jax.models.clip import CLIP, pooled
from tokmerge_jax.models.clip_text import CLIPText
from tokmerge_jax.signatures import Features, LearningRate, Loss
from tokmerge_jax.system import Retrieval, System, Training, Weights
from tokmerge_jax.systems import clip_vision, reranked
from tokmerge_jax.systems.inputs import text_checked, video_checked
from tokmerge_jax.training import losses, optimizer, parts
from tokmerge_jax.types import Batch, Params

_ADDED = ("/lora/", "_positions$")
"""Patterns of the parameters that are TempMe's rather than CLIP's."""


def build(config: clip.Retrieval) -> System:
    """The system of a retrieval configuration (`config.clip`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    config = clip_vision.sized(config)
    clip_vision.check(config)
    vision, words, rank = config.model.vision, config.model.text, config.model.lora_rank
    network = _network(config, rank)
    tokenize = tokenizers.Tokenizer(
        tokenizers.CLIP, config.data.vocabulary, config.data.max_text_length, words.vocab_size
    )

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenize.length), jnp.int32)
        return network.init(key, normalise.example(config), ids)["params"]

    def collate(rows: Sequence[Row]) -> dict[str, np.ndarray]:
        text_ids, text_mask = tokenize([row.caption for row in rows])
        return {"text_ids": text_ids, "text_mask": text_mask}

    joins = clip_vision.layers_with_positions(config)
    plain = _network(config, lora_rank=0)  # parameters are folded for it
    return System(
        name="tempme",
        config=config,
        network=network,
        weights=Weights(
            jax.eval_shape(init, jax.random.key(0)),
            init,
            rules(vision.depth, words.depth, rank > 0, joins),
            optional=("vision/join_",) if not joins else (),
        ),
        pixels=clip_vision.pixels_of(config),
        merging=clip_vision.merging_of(config),
        training=Training(
            contrastive_loss(network, config.train.parts),
            collate,
            _optimizer(config),
            trainable=() if config.train.backbone_rate else _ADDED,
        ),
        retrieval=_retrieval(config, plain, tokenize),
        trace_video=clip_vision.tracer(config, plain, clip_vision.stages_of(config)),
    )


def contrastive_loss(network: CLIP, in_parts: int = 1) -> Loss:
    """CLIP's symmetric contrast of videos and texts over the whole batch.

    Args:
      network: encodes videos and texts.
      in_parts: the batch is encoded in so many parts, one after the other, to the same gradient:
        what one part computes is all that is held at a time.

    Returns:
      `(params, batch, key, train) -> (loss, {})`; the batch holds `video` and `text_ids`, and row i
      of one belongs to row i of the other alone.
    """

    def loss(
        params: Params, batch: Batch, key: jax.Array, *, train: bool = True
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        del key  # nothing is dropped

        def encode(video: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
            run = nn.apply(
                lambda model, x, y: (
                    model.encode_video(x, train=train),
                    model.encode_text(y, train=train),
                ),
                network,
            )
            frames, words = run({"params": params}, clip_vision.pixels(video), ids)
            return pooled(frames), words

        video, words = parts.in_parts(
            encode, in_parts, jnp.asarray(batch["video"]), jnp.asarray(batch["text_ids"])
        )
        rows = jnp.arange(len(words), dtype=jnp.int32)
        temperature = jnp.exp(-params["logit_scale"])
        return losses.contrastive(video[:, None], words, rows, temperature)[0], {}

    return loss


def _retrieval(config: clip.Retrieval, network: CLIP, tokenize: tokenizers.Tokenizer) -> Retrieval:
    """Functions of the network without LoRA."""

    def encode_video(params: Params, video: ArrayLike) -> Features:
        folded, pixels = merge_lora(params), clip_vision.pixels(video)
        frames = reranked.run(network, network.encode_video, folded, pixels)
        return {"embedding": unit(pooled(frames))[:, None]}

    def encode_text(params: Params, text_ids: ArrayLike, text_mask: ArrayLike) -> Features:
        del text_mask  # the end token is found by its id
        words = reranked.run(network, network.encode_text, merge_lora(params), text_ids)
        return {"embedding": unit(words)}

    return Retrieval(
        tokenize, video_checked(encode_video, config), text_checked(encode_text, config)
    )


def _network(config: clip.Retrieval, lora_rank: int) -> CLIP:
    shared = clip_vision.shared(config, lora_rank)
    return CLIP(
        vision=clip_vision.transformer(config, lora_rank),
        text=CLIPText(**vars(config.model.text), **shared),
        embed_dim=config.model.embed_dim,
        dtype=shared["dtype"],
    )


def _optimizer(config: clip.Retrieval) -> Callable[[LearningRate], optax.GradientTransformation]:
    """TempMe's AdamW; CLIP's own parameters, where they are trained, at a rate of their own."""
    train = config.train

    def make(rate: LearningRate) -> optax.GradientTransformation:
        return optimizer.clipped_adamw(
            rate,
            train.weight_decay,
            clip_norm=train.clip_norm,
            gradient_scale=train.gradient_scale,
            share=lambda name: 1.0 if _added(name) else train.backbone_rate,
        )

    return make


def _added(name: str) -> bool:
    """Whether a parameter is TempMe's rather than CLIP's."""
    return any(re.search(pattern, name) for pattern in _ADDED)
