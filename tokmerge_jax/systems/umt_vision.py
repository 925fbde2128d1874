"""The video side of UMT's systems: pixels, the transformer and its merging, its cost and trace."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import optax
from jax.typing import ArrayLike

from tokmerge_jax import merging, runtime
from tokmerge_jax.config.umt import Config
from tokmerge_jax.data.pixels import umt
from tokmerge_jax.data.pixels.normalise import normalise
from tokmerge_jax.merging import costs, schedule
from tokmerge_jax.models.umt_vit import UMTViT
from tokmerge_jax.signatures import LearningRate, TraceVideo
from tokmerge_jax.system import Merging, Pixels
from tokmerge_jax.systems.inputs import video_checked
from tokmerge_jax.training import optimizer
from tokmerge_jax.types import LayerCost, Params, Schedule

MEAN = (0.485, 0.456, 0.406)  # ImageNet's
STD = (0.229, 0.224, 0.225)


def transformer(config: Config) -> UMTViT:
    """The video transformer that `config.model` describes, with its mergers.

    Raises:
      UserError: if the merging schedule cannot work.
    """
    vision = config.model.vision
    return UMTViT(
        width=vision.width,
        heads=vision.heads,
        mergers=merging.per_layer(config.model.merger.name, _schedule(config)),
        patch_size=vision.patch_size,
        table_frames=vision.table_frames or vision.frames,
        drop_path=config.model.drop_path,
        remat=config.train.remat,
        dtype=runtime.compute_dtype(config.dtype),
    )


def pixels_of(config: Config) -> Pixels:
    """How frames become the network's input."""
    vision, train = config.model.vision, config.train
    return Pixels(
        MEAN,
        STD,
        vision.image_size,
        vision.frames,
        transform=umt.Resize(vision.image_size),
        augment=umt.RandomResizedCrop(
            vision.image_size, min_scale=train.image_size_min_scale, flip=train.flip
        ),
    )


def merging_of(config: Config) -> Merging:
    """How many of a video's tokens merge, and what encoding it costs."""
    vision, tokens, name = config.model.vision, _tokens(config), config.model.merger.name

    def cost_of(r: Sequence[int]) -> tuple[LayerCost, ...]:
        return costs.vit(
            merging.per_layer(name, r),
            tokens,
            width=vision.width,
            heads=vision.heads,
            patch_inputs=3 * vision.patch_size**2,
        )

    return Merging(Schedule(_schedule(config), tokens, merging.most(name)), cost_of)


def optimizer_of(config: Config) -> Callable[[LearningRate], optax.GradientTransformation]:
    """The training's optimiser, from the learning rate of each step."""
    return partial(optimizer.adamw, weight_decay=config.train.weight_decay)


def pixels(video: ArrayLike) -> jax.Array:
    """uint8 frames -> normalised float32; floats are taken to be normalised already."""
    return normalise(video, MEAN, STD)


def tracer(config: Config, network: nn.Module) -> TraceVideo:
    """`trace_video` of a network whose `vision` is the transformer."""

    def trace_video(params: Params, video: ArrayLike) -> dict[str, list[jax.Array]]:
        trace = nn.apply(
            lambda model, x: model.vision(x, trace=True), network, mutable=["intermediates"]
        )
        _, record = trace({"params": params}, pixels(video))
        return _trace(record["intermediates"]["vision"])

    return video_checked(trace_video, config)


def _trace(blocks: Params) -> dict[str, list[jax.Array]]:
    """What each merging block recorded, in order: saliency of its input, origin, size after it."""
    trace: dict[str, list[jax.Array]] = {"saliency": [], "origin": [], "size": []}
    for i in range(len(blocks)):
        block = blocks[f"block_{i}"]
        if "after_merging" not in block:
            continue
        (evidence,), (tokens,) = block["evidence"], block["after_merging"]
        if evidence.entropy is not None:
            trace["saliency"].append(merging.vid_tldr.foreground(evidence.entropy))
        trace["origin"].append(tokens.origin)
        trace["size"].append(tokens.size)
    return trace


def _tokens(config: Config) -> int:
    vision = config.model.vision
    return vision.frames * (vision.image_size // vision.patch_size) ** 2


def _schedule(config: Config) -> tuple[int, ...]:
    merger = config.model.merger
    wanted = 0 if merger.name == "none" else merger.r
    most = merging.most(merger.name)
    return schedule.resolve(wanted, config.model.vision.depth, _tokens(config), most)
