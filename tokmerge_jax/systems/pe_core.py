"""PE-Core: zero-shot text-video retrieval; tokens merge within frames, or as in TempMe.

Source: Perception Encoder (arXiv 2504.13181), its released code; `docs/pe_core.md`.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property, partial
from typing import ClassVar

from tokmerge_jax.checkpoints.tables import pe_core as tables
from tokmerge_jax.config import pe_core
from tokmerge_jax.data.pixels.clip import ResizeCrop
from tokmerge_jax.data.pixels.rand_augment import RandAugmentCrop
from tokmerge_jax.data.pixels.squash import BILINEAR, Squash
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.layers.functional import unit
from tokmerge_jax.merging import tempme as joining
from tokmerge_jax.models.clip import pooled
from tokmerge_jax.models.pe_core import PECore, PECoreViT
from tokmerge_jax.system import Pixels, System
from tokmerge_jax.systems import tempme
from tokmerge_jax.types import LayerCost


@dataclasses.dataclass(frozen=True)
class PECoreTower(tempme.TempMeTower):
    """PE-Core's image transformer; clips join if the merger is TempMe's.

    Attributes:
      config: the system's configuration.
    """

    config: pe_core.Retrieval
    mean: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.5)
    std: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.5)

    @property
    def protected(self) -> int:
        """The class token of each frame, if there is one."""
        return int(self.config.model.vision.class_token)

    @cached_property
    def network(self) -> PECoreViT:
        """The transformer with its mergers and joins, without LoRA (added to the parameters).

        Raises:
          UserError: if the merging cannot work.
        """
        vision = self.config.model.vision
        return PECoreViT(
            **self.settings,
            mlp_width=vision.mlp_width,
            grid=vision.grid,
            class_token=vision.class_token,
            position_rule=self.config.model.merger.position,
        )

    @property
    def pixels(self) -> Pixels:
        """The transforms that make frames the network's input."""
        vision = self.config.model.vision
        size = vision.image_size
        resize = ResizeCrop(size, BILINEAR) if self.config.data.crop else Squash(size)
        augment = RandAugmentCrop(size) if self.config.train.augment else resize
        return Pixels(self.mean, self.std, size, vision.frames, resize, augment)

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """Multiply-accumulates of each layer, and of pooling and projecting each clip."""
        model, stages = self.config.model, self.stages_of(r)
        width = model.vision.width
        layers = joining.cost(
            stages,
            width=width,
            heads=model.vision.heads,
            patch_inputs=self.patch_inputs,
            class_tokens=self.protected,
            mlp_width=model.vision.mlp_width,
        )
        clips, left = stages[-1].clips, layers[-1].tokens_out
        # Keys and values; the product with the query; of each clip the query, output and MLP.
        pooling = 2 * left * width**2 + 2 * left * width + 10 * clips * width**2
        return (
            *layers,
            LayerCost("pooling", left, left, pooling),
            LayerCost("projection", left, left, clips * width * model.embed_dim),
        )


def build(config: pe_core.Retrieval) -> System:
    """Builds the system of a retrieval configuration (`config.pe_core`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    config = tempme.sized(config, tables.sizes)
    tower, model = PECoreTower(config), config.model

    def network_of(lora_rank: int) -> PECore:
        return PECore(
            **tempme.parts(tower, lora_rank),
            pool_heads=pe_core.POOL_HEADS,
            pool_sizes=model.merger.pool_sizes,
        )

    return tempme.system(
        tower,
        network_of,
        partial(tables.rules, embed_dim=model.embed_dim, class_token=model.vision.class_token),
        tokenizers.PE_CORE,
        (lambda clips: unit(pooled(clips))) if model.unit_videos else pooled,
    )
