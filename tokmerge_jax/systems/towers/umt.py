"""The tower of UMT's systems: joint attention over all patches, with vid-TLDR or another merger."""

import dataclasses
from functools import cached_property
from typing import ClassVar

from tokmerge_jax.config.umt import Config
from tokmerge_jax.data.pixels import umt
from tokmerge_jax.models.umt import UMTViT
from tokmerge_jax.system import Pixels
from tokmerge_jax.systems.towers import IMAGENET_MEAN, IMAGENET_STD
from tokmerge_jax.systems.towers.joint import JointTower


@dataclasses.dataclass(frozen=True)
class UMTTower(JointTower):
    """UMT's video transformer.

    Attributes:
      config: the system's configuration.
    """

    config: Config
    mean: ClassVar[tuple[float, ...]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, ...]] = IMAGENET_STD

    @cached_property
    def network(self) -> UMTViT:
        """The transformer with its mergers.

        Raises:
          UserError: if the merging schedule cannot work.
        """
        model, vision = self.config.model, self.config.model.vision
        return UMTViT(
            width=vision.width,
            heads=vision.heads,
            mergers=self.mergers(self.r),
            patch_size=vision.patch_size,
            table_frames=vision.table_frames or vision.frames,
            grid=vision.grid,
            drop_path=model.drop_path,
            mask_ratio=self.config.train.mask_ratio,
            remat=self.config.train.remat,
            dtype=self.dtype,
        )

    @property
    def pixels(self) -> Pixels:
        """The transforms that make frames the network's input."""
        vision, train = self.config.model.vision, self.config.train
        return Pixels(
            self.mean,
            self.std,
            vision.image_size,
            vision.frames,
            transform=umt.Resize(vision.image_size),
            augment=umt.RandomResizedCrop(
                vision.image_size, min_scale=train.image_size_min_scale, flip=train.flip
            ),
        )
