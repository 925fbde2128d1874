"""The tower of CLIP's systems: an image transformer that merges the tokens of each frame."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike

from tokmerge_jax import merging
from tokmerge_jax.config import clip, tds_clip
from tokmerge_jax.layers.functional import gelu, gelu_tanh, quick_gelu
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.merging import Merger, Tokens, schedule, tempme
from tokmerge_jax.merging.tempme import Stage
from tokmerge_jax.models.clip_vit import CLIPViT
from tokmerge_jax.system import Attention
from tokmerge_jax.systems.towers import CLIP_MEAN, CLIP_STD, Tower
from tokmerge_jax.types import LayerCost, Params

ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu, "gelu_tanh": gelu_tanh}
"""The activations of MLPs by their names in configurations."""


@dataclasses.dataclass(frozen=True)
class ClipTower(Tower):
    """CLIP's image transformer; each frame is a clip of its own, unless a subclass joins them.

    Attributes:
      config: the system's configuration.
    """

    config: clip.Retrieval | tds_clip.Recognition
    mean: ClassVar[tuple[float, ...]] = CLIP_MEAN
    std: ClassVar[tuple[float, ...]] = CLIP_STD

    @property
    def protected(self) -> int:
        """The class token of each frame."""
        return 1

    @property
    def tokens(self) -> int:
        """N of a frame: its class token and its patches."""
        return self.patches + self.protected

    @property
    def attention(self) -> Attention:
        """As in `Tower`."""
        return "space"

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The work of each layer on the clips of a video.

        Raises:
          UserError: if the merging cannot work.
        """
        return self.stages_of(self.r)

    def stages_of(self, r: Sequence[int]) -> tuple[Stage, ...]:
        """The work of each layer on the clips with the schedule `r`, per frame."""
        counts = schedule.token_counts(r, self.tokens)
        frames = self.config.model.vision.frames
        return tuple(
            Stage(frames, count, None, merger)
            for count, merger in zip(counts[:-1], self.mergers(r), strict=True)
        )

    @property
    def acting(self) -> tuple[Merger, ...]:
        """As in `Tower`."""
        return tuple(stage.merger for stage in self.stages if stage.merger)

    @cached_property
    def network(self) -> CLIPViT:
        """The transformer with its mergers and joins, without LoRA (added to the parameters).

        Raises:
          UserError: if the merging cannot work.
        """
        return CLIPViT(**self.settings)

    @property
    def settings(self) -> dict[str, Any]:  # Any: as different as the attributes
        """The attributes of `network`."""
        model = self.config.model
        return {
            "width": model.vision.width,
            "heads": model.vision.heads,
            "mergers": tuple(stage.merger for stage in self.stages),
            "joins": tuple(stage.join for stage in self.stages),
            "patch_size": model.vision.patch_size,
            "proportional": model.merger.proportional,
            "join_positions": bool(self.layers_with_positions),
            "activation": ACTIVATIONS[model.activation],
            "remat": self.config.train.remat,
            "dtype": self.dtype,
        }

    @property
    def layers_with_positions(self) -> list[int]:
        """The layers before which clips join and learned positions are added."""
        return []

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """The cost of each layer with the schedule `r`, for all frames."""
        vision = self.config.model.vision
        return tempme.cost(
            self.stages_of(r),
            width=vision.width,
            heads=vision.heads,
            patch_inputs=self.patch_inputs,
        )

    def trace_video(self, params: Params, video: ArrayLike) -> dict[str, list[jax.Array]]:
        """Traces the patches of all frames through each merging layer.

        See `signatures.TraceVideo`; LoRA is added to the parameters first.
        """
        record = self.recorded(merge_lora(params), video)
        videos = np.shape(video)[0]
        joins = any(stage.join for stage in self.stages)  # these change the order of tokens
        trace: dict[str, list[jax.Array]] = {"saliency": [], "origin": [], "size": []}
        for i, stage in enumerate(self.stages):
            if not (stage.merger or (stage.join and stage.join.r)):
                continue
            block = record[f"block_{i}"]
            (merged,) = block.get("after_merging") or record[f"join_{i}"]
            for evidence in () if joins else block["evidence"]:
                saliency = merging.vid_tldr.saliency(evidence, self.protected)
                if saliency is not None:
                    trace["saliency"].append(rearrange(saliency, "(b f) n -> b (f n)", b=videos))
            trace["origin"].append(_patch_origin(merged, videos, self.tokens, self.protected))
            trace["size"].append(rearrange(merged.size, "(b f) n -> b (f n)", b=videos))
        every = jnp.arange(np.shape(video)[1] * self.tokens)
        frames = rearrange(every, "(t p) -> t p", p=self.tokens)  # a frame: class, patches
        trace["start"] = [rearrange(frames[:, self.protected :], "t p -> (t p)")]
        return trace


def _patch_origin(tokens: Tokens, videos: int, per_frame: int, protected: int) -> jax.Array:
    """int32 [B,T N]: the place of each frame's patches among the tokens of all clips."""
    assert tokens.origin is not None
    length, clips = tokens.x.shape[1], len(tokens.x) // videos
    origin = rearrange(tokens.origin, "(b f) n -> b f n", b=videos)
    origin = origin + length * jnp.arange(clips, dtype=jnp.int32)[None, :, None]
    frames = rearrange(origin, "b f (t p) -> b (f t) p", p=per_frame)  # a frame: class, patches
    return rearrange(frames[:, :, protected:], "b t p -> b (t p)")
