"""vid-TLDR for action recognition: UMT, whose tokens' mean is classified.

Source: Unmasked Teacher (ICCV 2023), its single-modality part; merging as in vid-TLDR (CVPR 2024),
which has no action recognition of its own; `docs/vid_tldr.md`.
"""

import dataclasses
import re
from collections.abc import Sequence
from functools import cached_property, partial

import jax
import numpy as np

from tokmerge_jax.checkpoints.tables.vid_tldr_recognition import rules
from tokmerge_jax.config import umt
from tokmerge_jax.data.pixels.umt import RandomResizedCrop
from tokmerge_jax.data.pixels.umt_crops import LongSideCrops
from tokmerge_jax.models.umt import UMTClassifier, UMTViT
from tokmerge_jax.system import Pixels, System, Training, Weights
from tokmerge_jax.systems import recognition
from tokmerge_jax.systems.towers.umt import UMTTower
from tokmerge_jax.systems.vid_tldr import training
from tokmerge_jax.training.objectives import actions, bound
from tokmerge_jax.types import LayerCost, Params


@dataclasses.dataclass(frozen=True)
class RecognitionTower(UMTTower):
    """UMT's video transformer without its last norm, views of a video, and the head's cost.

    Attributes:
      config: the system's configuration.
    """

    config: umt.Recognition

    @cached_property
    def network(self) -> UMTViT:
        """The transformer with its mergers.

        Raises:
          UserError: if the merging schedule cannot work.
        """
        return super().network.clone(last_norm=False)

    def positions(self) -> np.ndarray:
        """The network's position table [N,C], for checkpoints that store theirs."""
        patches = (self.config.model.vision.image_size // self.config.model.vision.patch_size) ** 2
        return self.network.positions(self.config.model.vision.frames, patches)

    @property
    def pixels(self) -> Pixels:
        """The transforms that make frames the network's input."""
        size, data, train = self.config.model.vision.image_size, self.config.data, self.config.train
        return dataclasses.replace(
            super().pixels,
            transform=LongSideCrops(size, data.scale, data.crops),
            augment=RandomResizedCrop(
                size, train.image_size_min_scale, train.flip, operations=train.augment
            ),
        )

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """The cost of each layer, for one view, with the schedule `r`."""
        layers, model = super().cost(r), self.config.model
        left = layers[-1].tokens_out
        return (*layers, LayerCost("head", left, left, model.vision.width * model.classes))


def build(config: umt.Recognition) -> System:
    """Builds the system of an action-recognition configuration (`config.umt`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    tower = RecognitionTower(config)
    network = UMTClassifier(tower.network, config.model.classes)

    def classify(params: Params, clips: jax.Array) -> jax.Array:
        return network.bind({"params": params})(clips)

    return System(
        name="vid_tldr_recognition",
        config=config,
        network=network,
        weights=Weights(
            lambda key: network.init(key, tower.example)["params"],
            rules(config.model.vision.depth, tower.positions),
        ),
        pixels=tower.pixels,
        merging=tower.merging,
        training=_training(tower, network),
        recognition=recognition.recognition(tower, classify),
        trace_video=tower.trace,
    )


def _training(tower: RecognitionTower, network: UMTClassifier) -> Training:
    train, model = tower.config.train, tower.config.model
    loss = partial(
        actions.classification,
        bound(network),
        classes=model.classes,
        smoothing=train.label_smoothing,
        mixup=train.mixup,
        erasing=train.erasing,
        normalise=tower.normalise,
    )
    share = partial(_rate_share, train.layer_decay, model.vision.depth)
    return training.record(train, loss, recognition.collate, share)


def _rate_share(decay: float, depth: int, name: str) -> float:
    """A parameter's share of the learning rate: `decay` to the number of blocks that follow it."""
    if block := re.match(r"vision/block_(\d+)/", name):
        return decay ** (depth - int(block[1]))
    return decay ** (depth + 1) if name.startswith("vision/") else 1.0
