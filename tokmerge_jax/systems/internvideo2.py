"""InternVideo2-CLIP: zero-shot text-video retrieval; the tokens of all frames merge.

Source: InternVideo2 (arXiv 2403.15377), its released code; `docs/internvideo2.md`.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp

from tokmerge_jax.checkpoints.tables.internvideo2 import rules
from tokmerge_jax.config import internvideo2
from tokmerge_jax.data.pixels import umt
from tokmerge_jax.data.text import prompts, tokenizers
from tokmerge_jax.layers.functional import gelu, unit
from tokmerge_jax.models.clip_text import CLIPText
from tokmerge_jax.models.internvideo2 import InternVideo2, InternVideo2ViT
from tokmerge_jax.system import Pixels, System, Weights, ZeroShot
from tokmerge_jax.systems import contrastive
from tokmerge_jax.systems.towers import IMAGENET_MEAN, IMAGENET_STD
from tokmerge_jax.systems.towers.clip import ACTIVATIONS
from tokmerge_jax.systems.towers.joint import JointTower
from tokmerge_jax.training.objectives import bound
from tokmerge_jax.types import LayerCost, Params

_TRAINED = ("^pool/", "^vision_norm/", "^vision_projection/", "^temperature$")
"""Patterns of the parameters that the original trains on top of its two transformers."""


@dataclasses.dataclass(frozen=True)
class InternVideo2Tower(JointTower):
    """InternVideo2's small video transformer.

    Attributes:
      config: the system's configuration.
    """

    config: internvideo2.Retrieval
    mean: ClassVar[tuple[float, ...]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, ...]] = IMAGENET_STD

    @property
    def protected(self) -> int:
        """The class token."""
        return 1

    @cached_property
    def network(self) -> InternVideo2ViT:
        """The transformer with its mergers.

        Raises:
          UserError: if the merging schedule cannot work.
        """
        model, vision = self.config.model, self.config.model.vision
        return InternVideo2ViT(
            width=vision.width,
            heads=vision.heads,
            mergers=self.mergers(self.r),
            patch_size=vision.patch_size,
            table_frames=vision.table_frames,
            grid=vision.grid,
            proportional=model.merger.proportional,
            activation=ACTIVATIONS[model.activation],
            remat=self.config.train.remat,
            dtype=self.dtype,
        )

    @property
    def pixels(self) -> Pixels:
        """The transforms that make frames the network's input."""
        size, frames = self.config.model.vision.image_size, self.config.model.vision.frames
        resize = umt.Resize(size, self.config.data.antialias)
        augment = umt.RandomResizedCrop(size) if self.config.train.augment else resize
        return Pixels(self.mean, self.std, size, frames, resize, augment)

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """Multiply-accumulates of each layer, of pooling and of projecting."""
        layers, model = super().cost(r), self.config.model
        width, left = model.vision.width, layers[-1].tokens_out
        # Keys and values, the query, both products with it, and the output.
        pooling = (2 * left + 1) * width**2 + 2 * left * width + width * model.pool_width
        return (
            *layers,
            LayerCost("pooling", left, left, pooling),
            LayerCost("projection", left, left, model.pool_width * model.embed_dim),
        )


def build(config: internvideo2.Retrieval) -> System:
    """Builds the system of a retrieval configuration (`config.internvideo2`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    tower, text = InternVideo2Tower(config), config.model.text
    network = _network(tower)
    tokenize = tokenizers.Tokenizer(
        tokenizers.INTERNVIDEO2,
        config.data.vocabulary,
        config.data.max_text_length,
        text.vocab_size,
    )

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenize.length), jnp.int32)
        return network.init(key, tower.example, ids)["params"]

    retrieval = contrastive.retrieval(tower, network, tokenize, lambda clips: unit(clips[:, 0]))
    return System(
        name=config.system,
        config=config,
        network=network,
        weights=Weights(init, (rules(config.model.vision.depth, text.depth),)),
        pixels=tower.pixels,
        merging=tower.merging,
        training=contrastive.training(tower, config.train, bound(network), tokenize, _TRAINED),
        retrieval=retrieval,
        zero_shot=ZeroShot(retrieval, prompts.INTERNVIDEO2),
        multiple_choice=contrastive.multiple_choice(
            retrieval, lambda params: params["temperature"]
        ),
        trace_video=tower.trace,
    )


def _network(tower: InternVideo2Tower) -> InternVideo2:
    model = tower.config.model
    return InternVideo2(
        vision=tower.network,
        text=CLIPText(
            **vars(model.text),
            activation=gelu,
            remat=tower.config.train.remat,
            dtype=tower.dtype,
        ),
        pool_heads=model.pool_heads,
        pool_width=model.pool_width,
        pool_sizes=model.merger.pool_sizes,
        embed_dim=model.embed_dim,
        dtype=tower.dtype,
    )
