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
from ml_collections import ConfigDict

from tokmerge_jax import merging, runtime
from tokmerge_jax.convert import torch_file
from tokmerge_jax.convert.tables.clip import rules, sizes
from tokmerge_jax.data import clip_pixels, rand_augment, text
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.layers.mlp import gelu, quick_gelu
from tokmerge_jax.merging import MERGERS, Tokens, schedule, temporal
from tokmerge_jax.merging.temporal import Stage
from tokmerge_jax.models.clip import CLIP, pooled
from tokmerge_jax.models.clip_text import CLIPText
from tokmerge_jax.models.clip_vit import CLIPViT
from tokmerge_jax.systems import checks, pixels
from tokmerge_jax.training import losses, optimizer, parts
from tokmerge_jax.types import Batch, LayerCost, Loss, Params, Predict, Schedule, System, UserError

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

_ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu}


def build(config: ConfigDict) -> System:
    """The system of a retrieval configuration (`configs/base/clip.py`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    config = _sized(config)
    _check(config)
    vision, words = config.model.vision, config.model.text
    stages = _stages(config, _schedule(config))
    module = _module(config, stages, config.model.lora_rank)
    tokenize = text.Tokenizer(
        text.CLIP, config.data.vocabulary, config.data.max_text_length, words.vocab_size
    )

    def init(key: jax.Array) -> Params:
        shape = 1, vision.frames, vision.image_size, vision.image_size, 3
        return module.init(key, jnp.zeros(shape), jnp.zeros((1, tokenize.length), jnp.int32))[
            "params"
        ]

    def collate(rows: Sequence[Any]) -> dict[str, np.ndarray]:
        text_ids, text_mask = tokenize([row.caption for row in rows])
        return {"text_ids": text_ids, "text_mask": text_mask}

    def cost_of(r: Sequence[int]) -> tuple[LayerCost, ...]:
        return temporal.cost(
            _stages(config, r),
            vision.width,
            vision.heads,
            3 * vision.patch_size**2,
            config.model.embed_dim,
        )

    joins = [i for i, stage in enumerate(stages) if stage.join and config.model.join.positions]
    return System(
        name="tempme",
        config=config,
        module=module,
        abstract_params=jax.eval_shape(init, jax.random.key(0)),
        init=init,
        predict=_predict(_module(config, stages, 0), stages),
        loss=contrastive_loss(module, config.train.parts),
        name_rules=rules(vision.depth, words.depth, config.model.lora_rank > 0, joins),
        constants={
            "mean": MEAN,
            "std": STD,
            "image_size": vision.image_size,
            "frames": vision.frames,
        },
        transform=clip_pixels.ResizeCrop(vision.image_size),
        augment=_augment(config),
        tokenize=tokenize,
        collate=collate,
        schedule=Schedule(_schedule(config), _tokens(config), protected=1),
        cost=cost_of(_schedule(config)),
        cost_of=cost_of,
        optimizer=_optimizer(config),
        trained=() if config.train.backbone_rate else _ADDED,
        training_only=("vision/join_",) if not joins else (),
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
            frames, words = run({"params": params}, pixels.normalise(video, MEAN, STD), ids)
            return pooled(frames), words

        video, words = parts.in_parts(
            encode, in_parts, jnp.asarray(batch["video"]), jnp.asarray(batch["text_ids"])
        )
        rows = jnp.arange(len(words), dtype=jnp.int32)
        temperature = jnp.exp(-params["logit_scale"])
        return losses.contrastive(video[:, None], words, rows, temperature)[0], {}

    return loss


def _predict(module: CLIP, stages: Sequence[Stage]) -> dict[str, Predict]:
    """Functions of the network without LoRA, which parameters are folded for."""

    def run(method: str, params: Params, *arrays: Any) -> Any:
        arrays = jax.tree.map(jnp.asarray, arrays)
        return module.apply({"params": merge_lora(params)}, *arrays, method=method)

    def encode_video(params: Params, video: ArrayLike) -> dict[str, jax.Array]:
        frames = run("encode_video", params, pixels.normalise(video, MEAN, STD))
        return {"embedding": _unit(pooled(frames))[:, None]}

    def encode_text(params: Params, text_ids: ArrayLike, text_mask: ArrayLike) -> dict[str, Any]:
        del text_mask  # the end token is found by its id
        return {"embedding": _unit(run("encode_text", params, text_ids))}

    functions = (encode_video, encode_text)
    predict = {function.__name__: function for function in functions}
    return {**predict, "trace_video": _tracer(module, stages)}


def _tracer(module: CLIP, stages: Sequence[Stage]) -> Predict:
    """`trace_video`: what merged in each layer, over the patches of all frames."""
    merging_layers = [
        i for i, stage in enumerate(stages) if stage.merger or (stage.join and stage.join.r)
    ]

    def trace_video(params: Params, video: ArrayLike) -> dict[str, list[jax.Array]]:
        trace = nn.apply(
            lambda model, x: model.vision(x, trace=True), module, mutable=["intermediates"]
        )
        _, seen = trace({"params": merge_lora(params)}, pixels.normalise(video, MEAN, STD))
        seen, videos = seen["intermediates"]["vision"], np.shape(video)[0]
        found: dict[str, list[jax.Array]] = {"saliency": [], "origin": [], "size": []}
        for i in merging_layers:
            block = seen[f"block_{i}"]
            (tokens,) = block.get("after_merging") or seen[f"join_{i}"]
            for evidence in block.get("evidence", ()):
                if evidence.entropy is not None:
                    saliency = merging.saliency.foreground(evidence.entropy[:, 1:])
                    saliency = jnp.pad(saliency, ((0, 0), (1, 0)), constant_values=1)
                    found["saliency"].append(saliency.reshape(videos, -1))
            found["origin"].append(_patch_origin(tokens, videos, stages[0].tokens))
            found["size"].append(tokens.size.reshape(videos, -1))
        return found

    return trace_video


def _patch_origin(tokens: Tokens, videos: int, per_frame: int) -> jax.Array:
    """int32 [B,F P]: the place, among the tokens of all clips, of each frame's patches."""
    assert tokens.origin is not None
    length, clips = tokens.x.shape[1], len(tokens.x) // videos
    origin = tokens.origin.reshape(videos, clips, -1)
    origin = origin + length * jnp.arange(clips, dtype=jnp.int32)[None, :, None]
    return origin.reshape(videos, -1, per_frame)[:, :, 1:].reshape(videos, -1)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _module(config: ConfigDict, stages: Sequence[Stage], lora_rank: int) -> CLIP:
    vision, dtype = config.model.vision, runtime.compute_dtype(config.dtype)
    shared = {
        "lora_rank": lora_rank,
        "activation": _ACTIVATIONS[config.model.activation],
        "remat": config.train.remat,
        "dtype": dtype,
    }
    return CLIP(
        vision=CLIPViT(
            width=vision.width,
            heads=vision.heads,
            mergers=tuple(stage.merger for stage in stages),
            joins=tuple(stage.join for stage in stages),
            patch_size=vision.patch_size,
            proportional=config.model.merger.proportional,
            join_positions=config.model.join.positions,
            **shared,
        ),
        text=CLIPText(**config.model.text, **shared),
        embed_dim=config.model.embed_dim,
        dtype=dtype,
    )


def _stages(config: ConfigDict, r: Sequence[int]) -> tuple[Stage, ...]:
    """What each layer does: TempMe's plan, or another merger's `r` in every frame apart."""
    vision, join, name = config.model.vision, config.model.join, config.model.merger.name
    if name == "tempme":
        return temporal.plan(
            vision.depth,
            vision.frames,
            _tokens(config),
            r,
            join.layers,
            join.clips,
            join.cross,
            join.intra,
        )
    counts = schedule.token_counts(r, _tokens(config))
    mergers = merging.per_layer(name, r, 1)
    return tuple(
        Stage(vision.frames, count, None, merger)
        for count, merger in zip(counts[:-1], mergers, strict=True)
    )


def _tokens(config: ConfigDict) -> int:
    """Of a frame, its class token included."""
    vision = config.model.vision
    return (vision.image_size // vision.patch_size) ** 2 + 1


def _schedule(config: ConfigDict) -> tuple[int, ...]:
    """r of each layer in which frames are still apart."""
    merger, layers = config.model.merger, config.model.vision.depth
    if merger.name == "tempme":
        layers = min(config.model.join.layers, default=0)
    return schedule.resolve(
        0 if merger.name == "none" else merger.r, layers, _tokens(config), protected=1
    )


def _sized(config: ConfigDict) -> ConfigDict:
    """The configuration, with the sizes of its checkpoint if it asks for those."""
    if config.model.sizes == "config":
        return config
    if config.model.sizes != "checkpoint":
        raise UserError(
            f"config.model.sizes={config.model.sizes!r} is neither config nor checkpoint"
        )
    try:
        found = sizes(torch_file.read(config.checkpoint))
    except (KeyError, IsADirectoryError) as error:
        raise UserError(
            f"config.model.sizes=checkpoint: {config.checkpoint} is no CLIP in PyTorch's names"
            f" ({error}); name its .pt or .safetensors, or set config.model.sizes=config"
        ) from error
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.sizes = "config"
        config.update_from_flattened_dict({f"model.{key}": size for key, size in found.items()})
    return config


def _optimizer(config: ConfigDict) -> Callable[[optimizer.Schedule], Any]:
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


def _augment(config: ConfigDict) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    kind = rand_augment.RandAugmentCrop if config.train.augment else clip_pixels.ResizeCrop
    return kind(config.model.vision.image_size)


_ADDED = ("/lora/", "_positions$")


def _added(name: str) -> bool:
    """Whether a parameter is TempMe's rather than CLIP's."""
    return any(re.search(pattern, name) for pattern in _ADDED)


def _check(config: ConfigDict) -> None:
    """Raises UserError, naming the keys, unless names are known and sizes go together."""
    vision, words, merger = config.model.vision, config.model.text, config.model.merger.name
    known = ("none", "tempme", *sorted(MERGERS))
    if merger not in known:
        raise UserError(f"config.model.merger.name={merger!r} is none of {', '.join(known)}")
    if config.model.activation not in _ACTIVATIONS:
        raise UserError(
            f"config.model.activation={config.model.activation!r} is none of"
            f" {', '.join(_ACTIVATIONS)}"
        )
    join = config.model.join
    if not all(isinstance(number, int) for number in (*join.layers, *join.clips)):
        raise UserError(
            f"config.model.join.layers={join.layers} and config.model.join.clips={join.clips} must"
            " hold ints"
        )
    checks.positive(config, "model.vision", "model.text", "model.embed_dim", "train.parts")
    checks.at_least_zero(config, "model.lora_rank", "train.backbone_rate", "train.clip_norm")
    if config.train.gradient_scale <= 0:
        raise UserError(
            f"config.train.gradient_scale={config.train.gradient_scale} must be above 0"
        )
    checks.relations(
        config,
        ("model.vision.image_size", "a multiple of", "model.vision.patch_size",
         vision.image_size % vision.patch_size == 0),
        ("model.vision.width", "a multiple of", "model.vision.heads",
         vision.width % vision.heads == 0),
        ("model.text.width", "a multiple of", "model.text.heads", words.width % words.heads == 0),
        ("data.max_text_length", "at most", "model.text.max_positions",
         config.data.max_text_length <= words.max_positions),
    )  # fmt: skip
