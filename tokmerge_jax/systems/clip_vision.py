"""The video side of CLIP's systems: pixels, the image transformer, its merging, cost and trace."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike

from tokmerge_jax import merging, runtime
from tokmerge_jax.checkpoints import torch_file
from tokmerge_jax.checkpoints.tables.clip import sizes
from tokmerge_jax.config import tds_clip
from tokmerge_jax.config.clip import Retrieval
from tokmerge_jax.data.pixels import clip, rand_augment
from tokmerge_jax.data.pixels.normalise import normalise
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.layers.mlp import gelu, quick_gelu
from tokmerge_jax.merging import Tokens, schedule, tempme
from tokmerge_jax.merging.tempme import Stage
from tokmerge_jax.models.clip_vit import CLIPViT
from tokmerge_jax.signatures import TraceVideo
from tokmerge_jax.system import Merging, Pixels
from tokmerge_jax.systems.inputs import video_checked
from tokmerge_jax.types import LayerCost, Params, Schedule, UserError

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

Framewise = Retrieval | tds_clip.Recognition
"""A configuration of either system whose mergers work in every frame apart."""

_ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu}


def transformer(config: Retrieval, lora_rank: int) -> CLIPViT:
    """The image transformer that `config.model` describes, with its mergers and joins.

    Raises:
      UserError: if the merging cannot work.
    """
    vision, stages = config.model.vision, stages_of(config)
    return CLIPViT(
        width=vision.width,
        heads=vision.heads,
        mergers=tuple(stage.merger for stage in stages),
        joins=tuple(stage.join for stage in stages),
        patch_size=vision.patch_size,
        proportional=config.model.merger.proportional,
        join_positions=config.model.join.positions,
        **shared(config, lora_rank),
    )


def shared(config: Retrieval, lora_rank: int) -> dict[str, Any]:  # fields of several types
    """What both transformers of a CLIP have in common."""
    return {
        "lora_rank": lora_rank,
        "activation": _ACTIVATIONS[config.model.activation],
        "remat": config.train.remat,
        "dtype": runtime.compute_dtype(config.dtype),
    }


def pixels_of(config: Retrieval) -> Pixels:
    """How frames become the network's input."""
    size, frames = config.model.vision.image_size, config.model.vision.frames
    augment = rand_augment.RandAugmentCrop if config.train.augment else clip.ResizeCrop
    return Pixels(MEAN, STD, size, frames, clip.ResizeCrop(size), augment(size))


def merging_of(config: Retrieval) -> Merging:
    """How many of a frame's tokens merge, and what encoding a video costs."""
    vision = config.model.vision

    def cost_of(r: Sequence[int]) -> tuple[LayerCost, ...]:
        patch, embed_dim = 3 * vision.patch_size**2, config.model.embed_dim
        return tempme.cost(_stages(config, r), vision.width, vision.heads, patch, embed_dim)

    most = merging.most(_in_frames(config), 1)
    return Merging(Schedule(_schedule(config), tokens_of_frame(config), most), cost_of)


def pixels(video: ArrayLike) -> jax.Array:
    """uint8 frames -> normalised float32; floats are taken to be normalised already."""
    return normalise(video, MEAN, STD)


def frame_stages(config: Framewise, r: Sequence[int]) -> tuple[Stage, ...]:
    """What each layer does where clips never join: a merger's `r` in every frame apart."""
    vision, counts = config.model.vision, schedule.token_counts(r, tokens_of_frame(config))
    mergers = merging.per_layer(config.model.merger.name, r, 1)
    return tuple(
        Stage(vision.frames, count, None, merger)
        for count, merger in zip(counts[:-1], mergers, strict=True)
    )


def tokens_of_frame(config: Framewise) -> int:
    """Its patches and its class token."""
    vision = config.model.vision
    return (vision.image_size // vision.patch_size) ** 2 + 1


def frame_schedule(config: Framewise, layers: int) -> tuple[int, ...]:
    """r of each of the first `layers` layers, in which frames are apart."""
    merger = config.model.merger
    r = 0 if merger.name == "none" else merger.r
    return schedule.resolve(r, layers, tokens_of_frame(config), merging.most(_in_frames(config), 1))


def layers_with_positions(config: Retrieval) -> list[int]:
    """The layers before which clips join that learned positions tell apart."""
    stages = stages_of(config) if config.model.join.positions else ()
    return [i for i, stage in enumerate(stages) if stage.join]


def sized(config: Retrieval) -> Retrieval:
    """The configuration, with the sizes of its checkpoint if it asks for those.

    Raises:
      UserError: if the checkpoint is no CLIP in PyTorch's names, or cannot be read.
    """
    if config.model.sizes == "config":
        return config
    try:
        found = sizes(torch_file.read(config.checkpoint))
    except KeyError as error:
        raise UserError(
            f"config.model.sizes=checkpoint: {config.checkpoint} is no CLIP in PyTorch's names"
            f" ({error}); name its .pt or .safetensors, or set config.model.sizes=config"
        ) from error
    keys = {f"model.{key}": size for key, size in found.items()}
    config = config.override({"model.sizes": "config", **keys})
    config.check()
    return config


def check(config: Retrieval) -> None:
    """Raises UserError unless the mergers are known."""
    own = ("none", "tempme")
    if config.model.merger.name not in own:
        merging.merger.find(config.model.merger.name, also=own)
    merging.merger.find(config.model.join.within, key="model.join.within", also=())


def stages_of(config: Retrieval) -> tuple[Stage, ...]:
    """What each layer does to the clips of a video, which may join."""
    return _stages(config, _schedule(config))


def tracer(config: Framewise, network: nn.Module, stages: Sequence[Stage]) -> TraceVideo:
    """`trace_video`, over the patches of all frames; parameters may have LoRA apart.

    Args:
      config: the system's.
      network: its `vision` is the transformer.
      stages: what its layers do.
    """
    tokens = tokens_of_frame(config)
    merging_layers = [
        i for i, stage in enumerate(stages) if stage.merger or (stage.join and stage.join.r)
    ]

    def trace_video(params: Params, video: ArrayLike) -> dict[str, list[jax.Array]]:
        trace = nn.apply(
            lambda model, x: model.vision(x, trace=True), network, mutable=["intermediates"]
        )
        _, seen = trace({"params": merge_lora(params)}, pixels(video))
        seen, videos = seen["intermediates"]["vision"], np.shape(video)[0]
        found: dict[str, list[jax.Array]] = {"saliency": [], "origin": [], "size": []}
        for i in merging_layers:
            block = seen[f"block_{i}"]
            (merged,) = block.get("after_merging") or seen[f"join_{i}"]
            for evidence in block.get("evidence", ()):
                if evidence.entropy is not None:
                    saliency = merging.vid_tldr.foreground(evidence.entropy[:, 1:])
                    saliency = jnp.pad(saliency, ((0, 0), (1, 0)), constant_values=1)
                    found["saliency"].append(rearrange(saliency, "(b f) n -> b (f n)", b=videos))
            found["origin"].append(_patch_origin(merged, videos, tokens))
            found["size"].append(rearrange(merged.size, "(b f) n -> b (f n)", b=videos))
        return found

    return video_checked(trace_video, config)


def _patch_origin(tokens: Tokens, videos: int, per_frame: int) -> jax.Array:
    """int32 [B,F P]: the place, among the tokens of all clips, of each frame's patches."""
    assert tokens.origin is not None
    length, clips = tokens.x.shape[1], len(tokens.x) // videos
    origin = rearrange(tokens.origin, "(b f) n -> b f n", b=videos)
    origin = origin + length * jnp.arange(clips, dtype=jnp.int32)[None, :, None]
    frames = rearrange(origin, "b f (t p) -> b (f t) p", p=per_frame)  # a frame: class, patches
    return rearrange(frames[:, :, 1:], "b t p -> b (t p)")


def _stages(config: Retrieval, r: Sequence[int]) -> tuple[Stage, ...]:
    """What each layer does: TempMe's plan, or another merger's `r` in every frame apart."""
    vision, join = config.model.vision, config.model.join
    if config.model.merger.name != "tempme":
        return frame_stages(config, r)
    return tempme.plan(
        vision.depth,
        vision.frames,
        tokens_of_frame(config),
        r,
        join.layers,
        join.clips,
        cross=join.cross,
        intra=join.intra,
        within=merging.merger.find(join.within, key="model.join.within"),
    )


def _in_frames(config: Framewise) -> str:
    """The name of what merges tokens within frames."""
    if isinstance(config, Retrieval) and config.model.merger.name == "tempme":
        return config.model.join.within
    return config.model.merger.name


def _schedule(config: Retrieval) -> tuple[int, ...]:
    """r of each layer before clips join, which only TempMe's do."""
    joins = config.model.merger.name == "tempme"
    layers = min(config.model.join.layers, default=0) if joins else config.model.vision.depth
    return frame_schedule(config, layers)
