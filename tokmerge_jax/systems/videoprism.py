"""VideoPrism: zero-shot text-video retrieval; tokens merge within frames.

Source: VideoPrism (ICML 2024), its released code; `docs/videoprism.md`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from etils import epath
from jax.typing import ArrayLike

from tokmerge_jax.checkpoints import hub, torch_file
from tokmerge_jax.checkpoints.rules import choose, load
from tokmerge_jax.checkpoints.tables.videoprism import Depths, encoder_rules, rules
from tokmerge_jax.config import videoprism
from tokmerge_jax.data.pixels.squash import LANCZOS, Squash
from tokmerge_jax.data.text import prompts, tokenizers
from tokmerge_jax.merging import costs, merge, proportional, tempme
from tokmerge_jax.models.videoprism import Blocks, FrameViT, VideoPrism, VideoPrismEncoder
from tokmerge_jax.models.videoprism_text import VideoPrismText
from tokmerge_jax.signatures import Features
from tokmerge_jax.system import Pixels, Retrieval, System, Weights, ZeroShot
from tokmerge_jax.systems import contrastive, matching
from tokmerge_jax.systems.towers.clip import ClipTower
from tokmerge_jax.systems.validation import text_checked, video_checked
from tokmerge_jax.types import LayerCost, Params, UserError


@dataclasses.dataclass(frozen=True)
class VideoPrismTower(ClipTower):
    """VideoPrism's transformers of videos; their pixels are in [0,1].

    Attributes:
      config: the system's configuration.
    """

    config: videoprism.Retrieval
    mean: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    std: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0)

    @property
    def protected(self) -> int:
        """There are no class tokens."""
        return 0

    @property
    def follows(self) -> bool:
        """The places of frames that merge on their own are restored."""
        return self.config.model.merger.place == "frame"

    @cached_property
    def network(self) -> FrameViT:
        """The transformer of frames, with its mergers.

        Raises:
          UserError: if the merging cannot work.
        """
        vision, merger = self.config.model.vision, self.config.model.merger
        return FrameViT(
            **self.blocks,
            width=vision.width,
            mergers=tuple(stage.merger for stage in self.stages),
            alike=vision.frames if merger.place == "clip" else 1,
            patch_size=vision.patch_size,
            grid=vision.grid,
        )

    @property
    def blocks(self) -> dict[str, Any]:  # Any: as different as the attributes
        """The attributes that all blocks of the video transformers share."""
        model = self.config.model
        return {
            "heads": model.vision.heads,
            "mlp_width": model.vision.mlp_width,
            "proportional": model.merger.proportional and proportional(self.mergers(self.r)),
            "dtype": self.dtype,
        }

    @property
    def pixels(self) -> Pixels:
        """The transform that makes frames the network's input; there is no training."""
        vision = self.config.model.vision
        resize = Squash(vision.image_size, LANCZOS)
        return Pixels(self.mean, self.std, vision.image_size, vision.frames, resize, resize)

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """The cost of each block, and of pooling, with the schedule `r` in all frames."""
        stages = self.stages_of(r)
        layers = tempme.cost(stages, patch_inputs=self.patch_inputs, class_tokens=0, **self._sizes)
        return (*layers, *self._later_costs(stages[-1].tokens_out))

    def _later_costs(self, merged: int) -> Iterator[LayerCost]:
        """The costs after the blocks within frames, which leave `merged` tokens of a frame."""
        vision, merger = self.config.model.vision, self.config.model.merger
        frames, places = vision.frames, merged if merger.place == "clip" else self.patches
        over_time = places * costs.block(None, frames, **self._sizes)
        for i in range(vision.temporal_depth):
            yield LayerCost(f"temporal_{i}", frames * places, frames * places, over_time)
        tokens = frames * (merged if merger.after == "regroup" else places)
        together = costs.block(None, tokens, **self._sizes)
        for i in range(vision.auxiliary_depth):
            yield LayerCost(f"auxiliary_{i}", tokens, tokens, together)
        # Two products with all tokens; four projections of a single query.
        pooling = 2 * tokens * vision.heads * vision.width + 16 * vision.width**2
        yield LayerCost("pooling", tokens, tokens, pooling)

    @property
    def _sizes(self) -> dict[str, int]:
        """The sizes that the cost of a block depends on."""
        vision = self.config.model.vision
        return {"width": vision.width, "heads": vision.heads, "mlp_width": vision.mlp_width}


def build(config: videoprism.Retrieval) -> System:
    """Builds the system of a retrieval configuration (`config.videoprism`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    tower, text = VideoPrismTower(config), config.model.text
    network = _network(tower)
    tokenize = tokenizers.Tokenizer(
        tokenizers.VIDEOPRISM, config.data.vocabulary, config.data.max_text_length, text.vocab_size
    )

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenize.length), jnp.int32)
        return network.init(key, tower.example, ids, ids == 0)["params"]

    vision, retrieval = config.model.vision, _retrieval(tower, network, tokenize)
    depths = Depths(vision.depth, vision.temporal_depth, vision.auxiliary_depth, text.depth)
    return System(
        name=config.system,
        config=config,
        network=network,
        weights=Weights(init, rules(depths, vision.heads)),
        pixels=tower.pixels,
        merging=tower.merging,
        retrieval=retrieval,
        zero_shot=ZeroShot(retrieval, prompts.VIDEOPRISM),
        multiple_choice=contrastive.multiple_choice(retrieval, lambda params: jnp.array(0.01)),
        trace_video=tower.trace,
    )


def plain(
    config: videoprism.Retrieval, checkpoint: epath.PathLike
) -> tuple[Params, Callable[[Params, jax.Array], jax.Array]]:
    """Loads the plain VideoPrism, which has neither texts nor the blocks of a whole video.

    Args:
      config: the sizes and the merging; keys of texts and auxiliary blocks are not read.
      checkpoint: the released .npz file or transformers' file of a plain VideoPrism.

    Returns:
      Its parameters, and a function of them and of uint8 frames [B,T,S,S,3] that gives what the
      tokens of all places are, [B,T P,C].

    Raises:
      UserError: if a value is invalid, or the weights cannot be read or do not fit.
    """
    tower, vision = VideoPrismTower(config), config.model.vision
    if tower.merging.drops:
        raise UserError(merge.DROPPED)  # all places are restored
    network = VideoPrismEncoder(**_video(tower))
    tensors = torch_file.read(hub.local(checkpoint))
    names = encoder_rules(Depths(vision.depth, vision.temporal_depth), vision.heads)
    shapes = jax.eval_shape(network.init, jax.random.key(0), tower.example)["params"]
    origin = f"the weights of {checkpoint}"
    params = load(choose(names, tensors), tensors, shapes, origin)

    def encode(params: Params, video: jax.Array) -> jax.Array:
        return matching.run(network, network.__call__, params, tower.normalise(video))

    return params, video_checked(encode, config)


def _video(tower: VideoPrismTower) -> dict[str, Any]:  # Any: modules, sizes
    """The attributes of the plain network."""
    vision, alone = tower.config.model.vision, tower.config.model.merger.place == "frame"
    return {
        "vision": tower.network,
        "restores": alone and any(tower.r),
        "temporal": Blocks(**tower.blocks, mergers=(None,) * vision.temporal_depth),
        "table_frames": vision.table_frames,
        "dtype": tower.dtype,
    }


def _network(tower: VideoPrismTower) -> VideoPrism:
    vision, text = tower.config.model.vision, tower.config.model.text
    return VideoPrism(
        **_video(tower),
        auxiliary=Blocks(**tower.blocks, mergers=(None,) * vision.auxiliary_depth),
        after=tower.config.model.merger.after,
        text=VideoPrismText(
            width=text.width,
            depth=text.depth,
            heads=text.heads,
            vocab_size=text.vocab_size,
            dtype=tower.dtype,
        ),
    )


def _retrieval(
    tower: VideoPrismTower, network: VideoPrism, tokenize: tokenizers.Tokenizer
) -> Retrieval:
    def encode_video(params: Params, video: ArrayLike) -> Features:
        pixels = tower.normalise(video)
        return {"embedding": matching.run(network, network.encode_video, params, pixels)}

    def encode_text(params: Params, text_ids: ArrayLike, text_mask: ArrayLike) -> Features:
        return {
            "embedding": matching.run(network, network.encode_text, params, text_ids, text_mask)
        }

    return Retrieval(
        tokenize, video_checked(encode_video, tower.config), text_checked(encode_text, tower.config)
    )
