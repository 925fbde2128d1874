"""TDS-CLIP, and Side4Video: actions told by a side network that reads a frozen CLIP.

Source: TDS-CLIP (arXiv 2408.10688), Side4Video (arXiv 2311.15769); `docs/tds_clip.md`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jax.typing import ArrayLike

from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.tables import tds_clip as table
from tokmerge_jax.config import tds_clip
from tokmerge_jax.data.datasets.galleries import ActionRow
from tokmerge_jax.data.pixels.actions import ResizeCrops
from tokmerge_jax.data.pixels.actions_augment import ActionAugment
from tokmerge_jax.models.tds_clip import TDSCLIP, FrameAverage, SideNetwork, variables
from tokmerge_jax.signatures import LossState
from tokmerge_jax.system import Pixels, Recognition, System, Training, Weights
from tokmerge_jax.systems.towers.clip import ClipTower
from tokmerge_jax.systems.validation import views_checked
from tokmerge_jax.training import optimizer
from tokmerge_jax.training.objectives import actions
from tokmerge_jax.types import LayerCost, Params

_TRAINABLE = ("^side/", "^head/")
_STATISTICS = "batch_stats"


@dataclasses.dataclass(frozen=True)
class TDSTower(ClipTower):
    """A frozen CLIP, with what its system needs to know of the side network beside it.

    Attributes:
      config: the system's.
    """

    config: tds_clip.Recognition

    @property
    def differences(self) -> int:
        """The number of differences of neighbouring frames that the side network sees."""
        side = self.config.model.side
        return self.config.data.neighbours - 1 if side.differences else 0

    @property
    def example(self) -> jax.Array:
        """A clip [1,T,M,S,S,3] of zeros, M neighbouring frames for each of T."""
        return repeat(super().example, "b t h w c -> b t m h w c", m=self.config.data.neighbours)

    @property
    def pixels(self) -> Pixels:
        """How frames become the network's input."""
        vision, data, train = self.config.model.vision, self.config.data, self.config.train
        return Pixels(
            self.mean,
            self.std,
            vision.image_size,
            vision.frames,
            transform=ResizeCrops(vision.image_size, data.scale, data.crops),
            augment=ActionAugment(
                vision.image_size, data.scale, train.augment, train.grey, train.min_area
            ),
        )

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """Multiply-accumulates of one view, block by block of both networks, `r` merging in each.

        Tokens are those of the frozen transformer, in all frames.
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
    """The system of a configuration of action recognition (`config.tds_clip`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    vision, side, train = config.model.vision, config.model.side, config.train
    tower = TDSTower(config)
    network = _network(tower)

    def init(key: jax.Array) -> Params:
        variables = network.init(key, tower.example)
        return {**variables["params"], _STATISTICS: variables[_STATISTICS]}

    shapes = jax.eval_shape(init, jax.random.key(0))
    names = table.rules(
        vision.depth, vision.width, side.width, vision.patch_size, tower.differences
    )
    return System(
        name="tds_clip",
        config=config,
        network=network,
        weights=Weights(shapes, init, names),
        pixels=tower.pixels,
        merging=tower.merging,
        training=Training(
            partial(
                actions.recognition,
                partial(_classify_in_training, network, vision.frames),
                classes=config.model.classes,
                smoothing=train.label_smoothing,
                mixup=train.mixup,
                normalise=tower.normalise,
            ),
            _collate,
            partial(
                optimizer.adamw,
                weight_decay=train.weight_decay,
                mask=None,
                share=_share(shapes, train.side_rate),
            ),
            trainable=_TRAINABLE,
            init_loss_state=lambda params, key: jax.tree.map(jnp.array, params[_STATISTICS]),
            eval_params=lambda params, state: {**params, _STATISTICS: state},
            grad_accum=train.groups,
        ),
        recognition=_recognition(tower, network),
        trace_video=tower.trace,
    )


def _block_cost(frames: int, places: int, width: int, gated: bool) -> int:
    """Of one block beside a frozen one: convolution, gate, attention, MLP."""
    keys, each = places + frames, places // frames
    convolution = places * (2 * width**2 + 3 * width)
    gate = places * 2 * width * (width // 16) if gated else 0
    attention = 2 * (places + keys) * width**2 + 2 * places * (each + 1) * width
    return convolution + gate + attention + 8 * places * width**2


def _recognition(tower: TDSTower, network: TDSCLIP) -> Recognition:
    """Each view is classified as a clip of its own."""
    config = tower.config
    frames, neighbours = config.model.vision.frames, config.data.neighbours

    def classify(params: Params, video: ArrayLike) -> jax.Array:
        pixels = tower.normalise(video)
        views = rearrange(pixels, "b (v t m) h w c -> (b v) t m h w c", t=frames, m=neighbours)
        logits = nn.apply(TDSCLIP.__call__, network)(variables(params), views)
        return rearrange(logits, "(b v) k -> b v k", b=len(pixels))

    return Recognition(views_checked(classify, config))


def _classify_in_training(
    network: TDSCLIP,
    frames: int,
    params: Params,
    state: LossState,
    video: jax.Array,
    train: bool,
) -> tuple[jax.Array, LossState]:
    """Logits of clips [B,T M,S,S,3], and the running statistics after them."""
    logits, collections = network.apply(
        variables({**params, _STATISTICS: state}),
        rearrange(video, "b (t m) h w c -> b t m h w c", t=frames),
        train=train,
        mutable=[_STATISTICS],
    )
    return logits, collections[_STATISTICS]


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
