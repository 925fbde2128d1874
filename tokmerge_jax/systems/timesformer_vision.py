"""The video side of TESTA's systems: pixels, the transformer, its merging, cost and trace."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from jax.typing import ArrayLike

from tokmerge_jax import runtime
from tokmerge_jax.checkpoints.tables.testa import Vision
from tokmerge_jax.config.testa import Config
from tokmerge_jax.data.pixels import umt
from tokmerge_jax.data.pixels.normalise import normalise
from tokmerge_jax.merging import Merger, costs, schedule, testa
from tokmerge_jax.merging.merger import BLOCK
from tokmerge_jax.merging.testa import Aggregation
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.testa import TESTA
from tokmerge_jax.models.timesformer import TimeSformer
from tokmerge_jax.signatures import LearningRate, TraceVideo
from tokmerge_jax.system import Merging, Pixels
from tokmerge_jax.systems.clip_vision import MEAN, STD
from tokmerge_jax.systems.inputs import video_checked
from tokmerge_jax.training import optimizer
from tokmerge_jax.types import LayerCost, Params, Schedule, UserError


def transformer(config: Config) -> TimeSformer:
    """The video transformer that `config.model` describes, with what its blocks merge.

    Raises:
      UserError: if the merging cannot work.
    """
    vision = config.model.vision
    return TimeSformer(
        width=vision.width,
        heads=vision.heads,
        merging=_plan(config, _schedules(config)[1]),
        patch_size=vision.patch_size,
        table_frames=vision.frames,
        table_patches=_patches(config),
        attention=vision.attention,
        learned_scale=vision.learned_scale,
        proportional=config.model.merger.proportional,
        remat=config.train.remat,
        dtype=runtime.compute_dtype(config.dtype),
    )


def sizes(config: Config) -> Vision:
    """What the table of the checkpoint's names depends on."""
    vision = config.model.vision
    edge = vision.image_size // vision.patch_size
    return Vision(vision.depth, edge, vision.frames, vision.learned_scale, vision.attention)


def pixels_of(config: Config) -> Pixels:
    """How frames become the network's input; fine-tuning augments nothing."""
    vision = config.model.vision
    resize = umt.Resize(vision.image_size)  # nothing, if `config.data.decode_size` is that
    return Pixels(MEAN, STD, vision.image_size, vision.frames, resize, augment=resize)


def merging_of(config: Config) -> Merging:
    """How many of a frame's patches merge, and what encoding a video costs."""
    r, most = _schedules(config)[1], partial(_kinds(config)[1].most, class_tokens=1)
    return Merging(Schedule(r, _tokens(config), most), partial(_cost, config))


def optimizer_of(config: Config) -> Callable[[LearningRate], optax.GradientTransformation]:
    """The fine-tuning's optimiser, from the learning rate of each step."""
    return partial(optimizer.adamw, weight_decay=config.train.weight_decay, mask=None)


def pixels(video: ArrayLike) -> jax.Array:
    """uint8 frames [B,T,H,W,3] -> normalised float32; floats are taken to be normalised already.

    A clip without a byte above 1 is taken to be in [0,1] already, as the original takes it.
    """
    video = jnp.asarray(video)
    if video.dtype == jnp.uint8:
        bright = video.max(axis=(1, 2, 3, 4), keepdims=True) > 1
        video = jnp.where(bright, video, 255 * video)  # 1 becomes 255, the largest byte
    return normalise(video, MEAN, STD)


def tracer(config: Config, network: Answerer | TESTA) -> TraceVideo | None:
    """`trace_video` of a network whose `vision` is the transformer, over the patches of a video.

    It tells "frames" too: which frame holds each frame of the input, [B,T]. Where patches go is
    known of divided attention alone; for others there is none.
    """
    vision = network.vision
    if not isinstance(vision, TimeSformer) or vision.attention != "divided":
        return None

    def trace_video(params: Params, video: ArrayLike) -> dict[str, list[jax.Array]]:
        trace = nn.apply(
            lambda model, x: model.vision(x, trace=True), network, mutable=["intermediates"]
        )
        _, seen = trace({"params": params}, pixels(video))
        blocks = seen["intermediates"]["vision"]
        found: dict[str, list[jax.Array]] = {
            "saliency": [], "origin": [], "size": [], "frames": []
        }  # fmt: skip
        for i, merging in enumerate(vision.merging):
            ((_, clip),) = blocks[f"block_{i}"]["out"]
            if merging != Aggregation():
                found["origin"].append(clip.origin)
                found["size"].append(rearrange(clip.size, "b t p -> b (t p)"))
                frames = jnp.shape(video)[1]
                of_first = rearrange(clip.origin, "b (t p) -> b t p", t=frames)[..., 0]
                found["frames"].append(of_first // clip.x.shape[2])  # all of a frame's go together
        return found

    return video_checked(trace_video, config)


def check(config: Config) -> None:
    """Raises UserError if frames merge that the network scales one by one."""
    if config.model.vision.learned_scale and any(_schedules(config)[0]):
        raise UserError(
            "config.model.vision.learned_scale scales each frame of the input; set"
            " config.model.merger.frames=0"
        )


def _kinds(config: Config) -> tuple[type[Merger], type[Merger]]:
    """What merges frames, and what merges patches."""
    merger, attention = config.model.merger, config.model.vision.attention
    places = ("attention",) if attention == "divided" else BLOCK
    return testa.find(merger.name, merger.frames_by, places)


def _plan(config: Config, r: Sequence[int]) -> tuple[Aggregation, ...]:
    """What the blocks merge where `r` patches of a frame do."""
    merger, attention = config.model.merger, config.model.vision.attention
    plan = testa.plan(_kinds(config), _schedules(config)[0], r, merger.vote)
    if attention != "divided" and any(part.frames for part in plan):
        raise UserError(
            f"config.model.merger.frames is for config.model.vision.attention=divided;"
            f" set it to 0 for {attention}"
        )
    return plan


def _cost(config: Config, r: Sequence[int]) -> tuple[LayerCost, ...]:
    """Multiply-accumulates of each layer where `r` patches of a frame merge in the blocks."""
    vision, plan = config.model.vision, _plan(config, r)
    sizes = {
        "width": vision.width,
        "heads": vision.heads,
        "patch_inputs": 3 * vision.patch_size**2,
    }
    if vision.attention == "divided":
        return testa.cost(plan, vision.frames, _patches(config), **sizes)
    samples = vision.frames if vision.attention == "space" else 1
    layers = costs.vit([block.patches for block in plan], _tokens(config), **sizes)
    return tuple(
        LayerCost(
            layer.name, samples * layer.tokens_in, samples * layer.tokens_out, samples * layer.macs
        )
        for layer in layers
    )


def _tokens(config: Config) -> int:
    """Among which patches merge: a frame's, or in joint attention all, and the class token."""
    frames = config.model.vision.frames if config.model.vision.attention == "joint" else 1
    return 1 + frames * _patches(config)


def _patches(config: Config) -> int:
    vision = config.model.vision
    return (vision.image_size // vision.patch_size) ** 2


def _schedules(config: Config) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Frames, and patches of each, that merge in every block."""
    merger, vision = config.model.merger, config.model.vision
    if merger.name == "none":
        return (0,) * vision.depth, (0,) * vision.depth
    frames, patches = _kinds(config)
    r_patches = schedule.resolve(
        merger.r, vision.depth, _tokens(config), partial(patches.most, class_tokens=1)
    )
    most = partial(frames.most, class_tokens=testa.protected_frames(r_patches))
    return schedule.resolve(merger.frames, vision.depth, vision.frames, most), r_patches
