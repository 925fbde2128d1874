"""TempMe, and plain CLIP: text-video retrieval by frames whose clips join and merge on the way.

Source: TempMe (ICLR 2025) on CLIP (ICML 2021), trained as CLIP4Clip; `docs/tempme.md`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from tokmerge_jax.config.clip import Retrieval
from tokmerge_jax.convert.tables.clip import rules
from tokmerge_jax.data import text
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.layers.unit import unit
from tokmerge_jax.models.clip import CLIP, pooled
from tokmerge_jax.models.clip_text import CLIPText
from tokmerge_jax.systems import clip_vision, pixels
from tokmerge_jax.systems.inputs import checked
from tokmerge_jax.training import losses, optimizer, parts
from tokmerge_jax.types import Batch, Loss, Params, Predict, System

_ADDED = ("/lora/", "_positions$")
"""Patterns of the parameters that are TempMe's rather than CLIP's."""


def build(config: Retrieval) -> System:
    """The system of a retrieval configuration (`config.clip`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    config = clip_vision.sized(config)
    clip_vision.check(config)
    vision, words, rank = config.model.vision, config.model.text, config.model.lora_rank
    module = _module(config, rank)
    tokenize = text.Tokenizer(
        text.CLIP, config.data.vocabulary, config.data.max_text_length, words.vocab_size
    )

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenize.length), jnp.int32)
        return module.init(key, pixels.example(config), ids)["params"]

    def collate(rows: Sequence[Any]) -> dict[str, np.ndarray]:
        text_ids, text_mask = tokenize([row.caption for row in rows])
        return {"text_ids": text_ids, "text_mask": text_mask}

    joins = clip_vision.layers_with_positions(config)
    return System(
        name="tempme",
        config=config,
        module=module,
        abstract_params=jax.eval_shape(init, jax.random.key(0)),
        init=init,
        predict=checked(config, _predict(config)),
        loss=contrastive_loss(module, config.train.parts),
        name_rules=rules(vision.depth, words.depth, rank > 0, joins),
        tokenize=tokenize,
        collate=collate,
        optimizer=_optimizer(config),
        trained=() if config.train.backbone_rate else _ADDED,
        training_only=("vision/join_",) if not joins else (),
        **clip_vision.fields(config),
    )


def contrastive_loss(module: CLIP, in_parts: int = 1) -> Loss:
    """CLIP's symmetric contrast of videos and texts over the whole batch.

    Args:
      module: the network.
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
                module,
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


def _predict(config: Retrieval) -> dict[str, Predict]:
    """Functions of the network without LoRA, which parameters are folded for."""
    module = _module(config, lora_rank=0)

    def run(method: str, params: Params, *arrays: Any) -> Any:
        arrays = jax.tree.map(jnp.asarray, arrays)
        return module.apply({"params": merge_lora(params)}, *arrays, method=method)

    def encode_video(params: Params, video: ArrayLike) -> dict[str, jax.Array]:
        frames = run("encode_video", params, clip_vision.pixels(video))
        return {"embedding": unit(pooled(frames))[:, None]}

    def encode_text(params: Params, text_ids: ArrayLike, text_mask: ArrayLike) -> dict[str, Any]:
        del text_mask  # the end token is found by its id
        return {"embedding": unit(run("encode_text", params, text_ids))}

    functions = (encode_video, encode_text)
    predict = {function.__name__: function for function in functions}
    stages, tokens = clip_vision.stages_of(config), clip_vision.tokens_of_frame(config)
    return {**predict, "trace_video": clip_vision.tracer(module, stages, tokens)}


def _module(config: Retrieval, lora_rank: int) -> CLIP:
    shared = clip_vision.shared(config, lora_rank)
    return CLIP(
        vision=clip_vision.transformer(config, lora_rank),
        text=CLIPText(**vars(config.model.text), **shared),
        embed_dim=config.model.embed_dim,
        dtype=shared["dtype"],
    )


def _optimizer(config: Retrieval) -> Callable[[optimizer.Schedule], Any]:
    """TempMe's AdamW; CLIP's own parameters, where they are trained, at a rate of their own."""
    train = config.train

    def make(rate: optimizer.Schedule) -> Any:
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
