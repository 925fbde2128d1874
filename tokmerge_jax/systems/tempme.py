"""TempMe, and plain CLIP: text-video retrieval; TempMe joins and merges clips of frames.

Source: TempMe (ICLR 2025) on CLIP (ICML 2021), trained as CLIP4Clip; `docs/tempme.md`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from tokmerge_jax.checkpoints import hub, torch_file
from tokmerge_jax.checkpoints.tables.clip import rules, sizes
from tokmerge_jax.config import clip
from tokmerge_jax.data.pixels.clip import ResizeCrop
from tokmerge_jax.data.pixels.rand_augment import RandAugmentCrop
from tokmerge_jax.data.text import prompts, tokenizers
from tokmerge_jax.layers.functional import unit
from tokmerge_jax.merging import tempme
from tokmerge_jax.merging.merger import find
from tokmerge_jax.models.clip import CLIP, pooled
from tokmerge_jax.models.clip_text import CLIPText
from tokmerge_jax.names import RuleSet, StateDict
from tokmerge_jax.system import Pixels, System, Weights
from tokmerge_jax.systems import contrastive
from tokmerge_jax.systems.towers.clip import ACTIVATIONS, ClipTower
from tokmerge_jax.training.objectives import bound
from tokmerge_jax.types import LayerCost, Params, UserError

C = TypeVar("C", bound=clip.Retrieval)

_ADDED = ("/lora/", "_positions$")
"""Patterns of the parameters that are TempMe's rather than CLIP's."""


@dataclasses.dataclass(frozen=True)
class TempMeTower(ClipTower):
    """CLIP's image transformer, whose clips join if the merger is TempMe's.

    Attributes:
      config: the system's configuration.
    """

    config: clip.Retrieval

    @property
    def merger(self) -> str:
        """The name of the merger of tokens within frames."""
        model = self.config.model
        return model.join.within if self._joins else model.merger.name

    @property
    def scheduled_layers(self) -> int:
        """The number of layers before the first join, in which frames are separate."""
        model = self.config.model
        return min(model.join.layers, default=0) if self._joins else model.vision.depth

    @property
    def layers_with_positions(self) -> list[int]:
        """The layers before which clips join and learned positions are added."""
        positions = self.config.model.join.positions
        return [i for i, stage in enumerate(self.stages) if positions and stage.join]

    @property
    def pixels(self) -> Pixels:
        """The transforms that make frames the network's input."""
        vision = self.config.model.vision
        crop = ResizeCrop(vision.image_size)
        augment = RandAugmentCrop(vision.image_size) if self.config.train.augment else crop
        return Pixels(self.mean, self.std, vision.image_size, vision.frames, crop, augment)

    def stages_of(self, r: Sequence[int]) -> tuple[tempme.Stage, ...]:
        """TempMe's plan, or the schedule `r` of another merger in every frame."""
        if not self._joins:
            return super().stages_of(r)
        vision, join = self.config.model.vision, self.config.model.join
        return tempme.plan(
            vision.depth,
            vision.frames,
            self.tokens,
            r,
            join.layers,
            join.clips,
            cross=join.cross,
            intra=join.intra,
            within=find(join.within, key="model.join.within"),
            class_tokens=self.protected,
        )

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """Multiply-accumulates of each layer, and of projecting each frame's class token."""
        layers, model = super().cost(r), self.config.model
        macs = model.vision.frames * model.vision.width * model.embed_dim
        left = layers[-1].tokens_out
        return (*layers, LayerCost("projection", left, left, macs))

    @property
    def _joins(self) -> bool:
        return self.config.model.merger.name == "tempme"


def build(config: clip.Retrieval) -> System:
    """Builds the system of a retrieval configuration (`config.clip`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    config = sized(config, sizes)
    tower = TempMeTower(config)
    return system(tower, lambda lora_rank: CLIP(**parts(tower, lora_rank)), rules, tokenizers.CLIP)


def system(
    tower: TempMeTower,
    network_of: Callable[[int], CLIP],
    names_of: Callable[[int, int, bool, Sequence[int]], Sequence[RuleSet]],
    rule: tokenizers.TextRule,
    embed: Callable[[jax.Array], jax.Array] = lambda frames: unit(pooled(frames)),
) -> System:
    """Binds a tower to texts, weights, training and retrieval.

    Args:
      tower: the video side.
      network_of: rank of LoRA -> the network.
      names_of: depth of both transformers, whether there is LoRA, and the layers with learned
        positions -> the tables of a checkpoint's names.
      rule: turns texts into ids.
      embed: embeddings of clips [B,F,E] -> those of videos [B,E].

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    config = tower.config
    _check_mergers(config)
    text, rank = config.model.text, config.model.lora_rank
    network = network_of(rank)
    tokenize = tokenizers.Tokenizer(
        rule, config.data.vocabulary, config.data.max_text_length, text.vocab_size
    )

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenize.length), jnp.int32)
        return network.init(key, tower.example, ids)["params"]

    joins = tower.layers_with_positions
    retrieval = contrastive.retrieval(tower, network_of(0), tokenize, embed)
    return System(
        name=config.system,
        config=config,
        network=network,
        weights=Weights(
            init,
            names_of(config.model.vision.depth, text.depth, rank > 0, joins),
            optional=("vision/join_",) if not joins else (),
        ),
        pixels=tower.pixels,
        merging=tower.merging,
        training=contrastive.training(tower, config.train, bound(network), tokenize, _ADDED),
        retrieval=retrieval,
        zero_shot=contrastive.zero_shot(tower, network_of(0), tokenize, prompts.KINETICS),
        multiple_choice=contrastive.multiple_choice(
            retrieval, lambda params: jnp.exp(-params["logit_scale"])
        ),
        trace_video=tower.trace,
    )


def parts(tower: TempMeTower, lora_rank: int) -> dict[str, Any]:  # Any: modules, sizes
    """The attributes of a `CLIP` with this tower."""
    model = tower.config.model
    return {
        "vision": tower.network.clone(lora_rank=lora_rank),
        "text": CLIPText(
            **vars(model.text),
            lora_rank=lora_rank,
            activation=ACTIVATIONS[model.activation],
            remat=tower.config.train.remat,
            dtype=tower.dtype,
        ),
        "embed_dim": model.embed_dim,
        "dtype": tower.dtype,
    }


def sized(config: C, sizes: Callable[[StateDict], Mapping[str, int | bool]]) -> C:
    """Returns the configuration, with the sizes of its checkpoint if it asks for them.

    Args:
      config: the configuration.
      sizes: a checkpoint's tensors -> key in `config.model` -> size.

    Raises:
      UserError: if the checkpoint is no CLIP in PyTorch's names, or cannot be read.
    """
    if config.model.sizes == "config":
        return config
    try:
        tensors = sizes(torch_file.read(hub.local(config.checkpoint)))
    except KeyError as error:
        raise UserError(
            f"config.model.sizes=checkpoint: {config.checkpoint} is no CLIP in PyTorch's names"
            f" ({error}); name its .pt or .safetensors, or set config.model.sizes=config"
        ) from error
    keys = {f"model.{key}": size for key, size in tensors.items()}
    config = config.override({"model.sizes": "config", **keys})
    config.check()
    return config


def _check_mergers(config: clip.Retrieval) -> None:
    own = ("none", "tempme")
    if config.model.merger.name not in own:
        find(config.model.merger.name, also=own)
    find(config.model.join.within, key="model.join.within", also=())
