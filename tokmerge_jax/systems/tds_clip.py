"""TDS-CLIP, and Side4Video: action recognition by a side network on a frozen CLIP.

Source: TDS-CLIP (arXiv 2408.10688), Side4Video (arXiv 2311.15769); `docs/tds_clip.md`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.tables import tds_clip as table
from tokmerge_jax.config import tds_clip
from tokmerge_jax.data.pixels.action_augment import ActionAugment
from tokmerge_jax.models.tds_clip import TDSCLIP, FrameAverage, SideNetwork, split_collections
from tokmerge_jax.signatures import LossState
from tokmerge_jax.system import System, Training, Weights
from tokmerge_jax.systems import recognition
from tokmerge_jax.systems.towers.clip import ClipTower
from tokmerge_jax.training import optimizer
from tokmerge_jax.training.objectives import actions
from tokmerge_jax.types import LayerCost, Params

_TRAINABLE = ("^side/", "^head/")
_STATISTICS = "batch_stats"


@dataclasses.dataclass(frozen=True)
class TDSTower(ClipTower):
    """A frozen CLIP, whose cost includes that of the side network.

    Attributes:
      config: the system's configuration.
    """

    config: tds_clip.Recognition

    @property
    def differences(self) -> int:
        """The number of differences of neighbouring frames that the side network sees."""
        side = self.config.model.side
        return self.config.data.neighbours - 1 if side.differences else 0

    @property
    def follows(self) -> bool:
        """The side network reads the tokens of every place."""
        return True

    @property
    def example(self) -> jax.Array:
        """A clip [1,T,M,S,S,3] of zeros, M neighbouring frames for each of T."""
        return repeat(super().example, "b t h w c -> b t m h w c", m=self.config.data.neighbours)

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """The cost of one view, block by block of both networks, with the schedule `r` in CLIP.

        Tokens are those of CLIP, in all frames.
        """
        vision, side = self.config.model.vision, self.config.model.side
        frozen, places = super().cost(r), vision.frames * self.patches
        stem = 3 * self.patch_inputs * side.width * places * (1 + self.differences)
        block = _block_cost(vision.frames, places, side.width, side.differences)
        taps = (layer.tokens_out * vision.width * side.width for layer in frozen[1:])
        beside = [stem, *(tap + block for tap in taps)]
        layers = [
            LayerCost(layer.name, layer.tokens_in, layer.tokens_out, layer.macs + macs)
            for layer, macs in zip(frozen, beside, strict=True)
        ]
        left, features = frozen[-1].tokens_out, side.width or vision.width
        return (*layers, LayerCost("head", left, left, features * self.config.model.classes))


def build(config: tds_clip.Recognition) -> System:
    """Builds the system of an action-recognition configuration (`config.tds_clip`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    vision, side, train = config.model.vision, config.model.side, config.train
    tower = TDSTower(config)
    network = _network(tower)

    def init(key: jax.Array) -> Params:
        variables = network.init(key, tower.example)
        return {**variables["params"], _STATISTICS: variables[_STATISTICS]}

    def classify(params: Params, clips: jax.Array) -> jax.Array:
        statistics = params[_STATISTICS]
        return _classify(network, vision.frames, params, statistics, clips, train=False)[0]

    names = table.rules(
        vision.depth, vision.width, side.width, vision.patch_size, tower.differences
    )
    weights = Weights(init, names)
    augment = ActionAugment(
        vision.image_size, config.data.scale, train.augment, train.grey, train.min_area
    )
    return System(
        name="tds_clip",
        config=config,
        network=network,
        weights=weights,
        pixels=recognition.pixels(tower, augment),
        merging=tower.merging,
        training=_training(tower, network, weights),
        recognition=recognition.recognition(tower, classify),
        trace_video=tower.trace,
    )


def _training(tower: TDSTower, network: TDSCLIP, weights: Weights) -> Training:
    config = tower.config
    train = config.train
    loss = partial(
        actions.recognition,
        partial(_classify, network, config.model.vision.frames),
        classes=config.model.classes,
        smoothing=train.label_smoothing,
        mixup=train.mixup,
        normalise=tower.normalise,
    )
    adamw = partial(
        optimizer.adamw,
        weight_decay=train.weight_decay,
        mask=None,
        rate_share=_rate_share(weights, train.side_rate),
    )
    return Training(
        loss,
        recognition.collate,
        adamw,
        trainable=_TRAINABLE,
        init_loss_state=lambda params, key: jax.tree.map(jnp.array, params[_STATISTICS]),
        eval_params=lambda params, state: {**params, _STATISTICS: state},
        grad_accum=train.groups,
    )


def _block_cost(frames: int, places: int, width: int, gated: bool) -> int:
    """Multiply-accumulates of a block of the side network: convolution, gate, attention, MLP."""
    keys, each = places + frames, places // frames
    convolution = places * (2 * width**2 + 3 * width)
    gate = places * 2 * width * (width // 16) if gated else 0
    attention = 2 * (places + keys) * width**2 + 2 * places * (each + 1) * width
    return convolution + gate + attention + 8 * places * width**2


def _classify(
    network: TDSCLIP,
    frames: int,
    params: Params,
    state: LossState,
    video: jax.Array,
    train: bool,
) -> tuple[jax.Array, LossState]:
    """Returns logits of clips [B,T M,S,S,3] and the updated running statistics."""
    logits, collections = network.apply(
        split_collections({**params, _STATISTICS: state}),
        rearrange(video, "b (t m) h w c -> b t m h w c", t=frames),
        train=train,
        mutable=[_STATISTICS],
    )
    return logits, collections[_STATISTICS]


def _rate_share(weights: Weights, side_rate: float) -> Callable[[str], float]:
    """Returns a parameter's name -> its share of the learning rate.

    The share is `side_rate` in the side network, except in its batch norms (the layers with running
    statistics), and 1 elsewhere.
    """

    @functools.cache  # asked for in training alone: the shapes take seconds
    def batch_norms() -> set[str]:
        return {name.rpartition("/")[0] for name in rules.flatten(weights.shapes[_STATISTICS])}

    def rate_share(name: str) -> float:
        beside = name.startswith("side/") and name.rpartition("/")[0] not in batch_norms()
        return side_rate if beside else 1.0

    return rate_share


def _network(tower: TDSTower) -> TDSCLIP:
    side = tower.config.model.side
    beside = FrameAverage()
    if side.width:
        beside = SideNetwork(
            side.width,
            tower.config.model.vision.patch_size,
            side.differences,
            remat=tower.config.train.remat,
            dtype=tower.dtype,
        )
    return TDSCLIP(tower.network, beside, tower.config.model.classes)
