"""TDS-CLIP, and Side4Video: actions told by a side network that reads a frozen CLIP.

Source: TDS-CLIP (arXiv 2408.10688), Side4Video (arXiv 2311.15769); `docs/tds_clip.md`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike

from tokmerge_jax import merging, runtime
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.tables import tds_clip as table
from tokmerge_jax.config import tds_clip
from tokmerge_jax.data.datasets.galleries import ActionRow
from tokmerge_jax.data.pixels.actions import ResizeCrops
from tokmerge_jax.data.pixels.actions_augment import ActionAugment
from tokmerge_jax.merging import tempme
from tokmerge_jax.models.clip_vit import CLIPViT
from tokmerge_jax.models.tds_clip import TDSCLIP, FrameAverage, SideNetwork, variables
from tokmerge_jax.signatures import LossState, StatefulLoss
from tokmerge_jax.system import Merging, Pixels, Recognition, System, Training, Weights
from tokmerge_jax.systems import clip_vision
from tokmerge_jax.systems.inputs import views_checked
from tokmerge_jax.training import losses, mixing, optimizer
from tokmerge_jax.types import Batch, LayerCost, Params, Schedule

_TRAINABLE = ("^side/", "^head/")
_STATISTICS = "batch_stats"


def build(config: tds_clip.Recognition) -> System:
    """The system of a configuration of action recognition (`config.tds_clip`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    vision, side, data, train = config.model.vision, config.model.side, config.data, config.train
    own, tokens = (
        clip_vision.frame_schedule(config, vision.depth),
        clip_vision.tokens_of_frame(config),
    )
    network, most = _network(config, own), merging.most(config.model.merger.name, 1)

    def init(key: jax.Array) -> Params:
        shape = (1, vision.frames, data.neighbours, vision.image_size, vision.image_size, 3)
        found = network.init(key, jnp.zeros(shape))
        return {**found["params"], _STATISTICS: found[_STATISTICS]}

    shapes = jax.eval_shape(init, jax.random.key(0))
    rate = _share(shapes, train.side_rate)
    return System(
        name="tds_clip",
        config=config,
        network=network,
        weights=Weights(
            shapes,
            init,
            table.rules(
                vision.depth, vision.width, side.width, vision.patch_size, _differences(config)
            ),
        ),
        pixels=Pixels(
            clip_vision.MEAN,
            clip_vision.STD,
            vision.image_size,
            vision.frames,
            transform=ResizeCrops(vision.image_size, data.scale, data.crops),
            augment=ActionAugment(
                vision.image_size, data.scale, train.augment, train.grey, train.min_area
            ),
        ),
        merging=Merging(Schedule(own, tokens, most), partial(cost, config)),
        training=Training(
            smoothed_loss(network, vision.frames, train.label_smoothing, train.mixup),
            _collate,
            partial(optimizer.adamw, weight_decay=train.weight_decay, mask=None, share=rate),
            trainable=_TRAINABLE,
            init_loss_state=lambda params, key: jax.tree.map(jnp.array, params[_STATISTICS]),
            eval_params=lambda params, state: {**params, _STATISTICS: state},
            grad_accum=train.groups,
        ),
        recognition=_recognition(config, network),
        trace_video=clip_vision.tracer(config, network, clip_vision.frame_stages(config, own)),
    )


def smoothed_loss(
    network: TDSCLIP, frames: int, smoothing: float = 0.1, mixup: bool = False
) -> StatefulLoss:
    """Cross-entropy with smoothed labels, the mean over clips.

    Args:
      network: classifies.
      frames: T.
      smoothing: the share of a label that all actions get alike.
      mixup: mix clips first (`training.mixing`).

    Returns:
      `(params, state, batch, key, epoch, train) -> (loss, {}, state)`; the batch holds `video`
      [B,T M,S,S,3] and `label` [B], the state running statistics of the batch norms.
    """

    def loss(
        params: Params,
        state: LossState,
        batch: Batch,
        key: jax.Array,
        epoch: jax.Array,
        *,
        train: bool = True,
    ) -> tuple[jax.Array, Mapping[str, jax.Array], LossState]:
        del epoch
        video = clip_vision.pixels(batch["video"])
        targets = mixing.smooth_targets(jnp.asarray(batch["label"]), network.classes, smoothing)
        if mixup and train:
            video, targets = mixing.mix(key, video, targets)
        logits, seen = network.apply(
            variables({**params, _STATISTICS: state}),
            rearrange(video, "b (t m) h w c -> b t m h w c", t=frames),
            train=train,
            mutable=[_STATISTICS],
        )
        return losses.cross_entropy(logits, targets), {}, seen[_STATISTICS]

    return loss


def cost(config: tds_clip.Recognition, r: Sequence[int]) -> tuple[LayerCost, ...]:
    """Multiply-accumulates of one view, block by block of both networks, `r` merging in each.

    Tokens are those of the frozen transformer, in all frames.
    """
    vision, side = config.model.vision, config.model.side
    patch, stages = 3 * vision.patch_size**2, clip_vision.frame_stages(config, r)
    tower = tempme.cost(stages, vision.width, vision.heads, patch, embed_dim=0)[:-1]
    places = vision.frames * (clip_vision.tokens_of_frame(config) - 1)
    stem = 3 * patch * side.width * places * (1 + _differences(config))
    block = _block_cost(vision.frames, places, side.width, side.differences)
    taps = (layer.tokens_out * vision.width * side.width for layer in tower[1:])
    beside = [stem, *(tap + block for tap in taps)]
    layers = [
        LayerCost(layer.name, layer.tokens_in, layer.tokens_out, layer.macs + macs)
        for layer, macs in zip(tower, beside, strict=True)
    ]
    left, features = tower[-1].tokens_out, side.width or vision.width
    return (*layers, LayerCost("head", left, left, features * config.model.classes))


def _differences(config: tds_clip.Recognition) -> int:
    """Of neighbouring frames, that the side network sees."""
    return config.data.neighbours - 1 if config.model.side.differences else 0


def _block_cost(frames: int, places: int, width: int, gated: bool) -> int:
    """Of one block beside a frozen one: convolution, gate, attention, MLP."""
    keys, each = places + frames, places // frames
    convolution = places * (2 * width**2 + 3 * width)
    gate = places * 2 * width * (width // 16) if gated else 0
    attention = 2 * (places + keys) * width**2 + 2 * places * (each + 1) * width
    return convolution + gate + attention + 8 * places * width**2


def _recognition(config: tds_clip.Recognition, network: TDSCLIP) -> Recognition:
    """Each view is classified as a clip of its own."""
    frames, neighbours = config.model.vision.frames, config.data.neighbours

    def classify(params: Params, video: ArrayLike) -> jax.Array:
        pixels = clip_vision.pixels(video)
        views = rearrange(pixels, "b (v t m) h w c -> (b v) t m h w c", t=frames, m=neighbours)
        logits = nn.apply(TDSCLIP.__call__, network)(variables(params), views)
        return rearrange(logits, "(b v) k -> b v k", b=len(pixels))

    return Recognition(views_checked(classify, config))


def _share(params: Params, side_rate: float) -> Callable[[str], float]:
    """Of the learning rate: `side_rate` in the side network, all in its batch norms and the head.

    Batch norms are where there are running statistics.
    """
    batch_norms = {name.rpartition("/")[0] for name in rules.flatten(params[_STATISTICS])}

    def share(name: str) -> float:
        beside = name.startswith("side/") and name.rpartition("/")[0] not in batch_norms
        return side_rate if beside else 1.0

    return share


def _collate(rows: Sequence[ActionRow]) -> dict[str, np.ndarray]:
    return {"label": np.array([row.label for row in rows], np.int32)}


def _network(config: tds_clip.Recognition, r: Sequence[int]) -> TDSCLIP:
    vision, side = config.model.vision, config.model.side
    dtype = runtime.compute_dtype(config.dtype)
    tower = CLIPViT(
        width=vision.width,
        heads=vision.heads,
        mergers=merging.per_layer(config.model.merger.name, r, class_tokens=1),
        patch_size=vision.patch_size,
        proportional=config.model.merger.proportional,
        dtype=dtype,
    )
    settings = side.width, vision.patch_size, side.differences, config.train.remat, dtype
    beside = SideNetwork(*settings) if side.width else FrameAverage()
    return TDSCLIP(tower, beside, config.model.classes)
