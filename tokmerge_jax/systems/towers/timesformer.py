"""The tower of TESTA's systems: a TimeSformer whose blocks merge frames, then patches."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import ArrayLike

from tokmerge_jax.checkpoints.tables.testa import Vision
from tokmerge_jax.config.testa import Config
from tokmerge_jax.data.pixels import umt
from tokmerge_jax.merging import Merger, costs, schedule, testa
from tokmerge_jax.merging.merger import BLOCK
from tokmerge_jax.merging.testa import Aggregation
from tokmerge_jax.models.timesformer import TimeSformer
from tokmerge_jax.signatures import TraceVideo
from tokmerge_jax.system import Attention, Pixels
from tokmerge_jax.systems.towers import CLIP_MEAN, CLIP_STD, Tower
from tokmerge_jax.types import LayerCost, Params, UserError


@dataclasses.dataclass(frozen=True)
class TimeSformerTower(Tower):
    """TESTA's video transformer.

    Attributes:
      config: the system's configuration.
    """

    config: Config
    mean: ClassVar[tuple[float, ...]] = CLIP_MEAN
    std: ClassVar[tuple[float, ...]] = CLIP_STD

    @property
    def protected(self) -> int:
        """The video's, or in a frame its, class token."""
        return 1

    @property
    def tokens(self) -> int:
        """N, the number of tokens among which patches merge: a frame's, or in "joint" all."""
        vision = self.config.model.vision
        return 1 + self.patches * (vision.frames if vision.attention == "joint" else 1)

    @property
    def attention(self) -> Attention:
        """As in `Tower`."""
        return self.config.model.vision.attention

    @property
    def kinds(self) -> tuple[type[Merger], type[Merger]]:
        """The mergers of frames and of patches.

        Raises:
          UserError: if there is no merger of a name, or it does not suit the attention.
        """
        merger, attention = self.config.model.merger, self.config.model.vision.attention
        places = ("attention",) if attention == "divided" else BLOCK
        frames, patches = testa.find(merger.name, merger.frames_by, places)
        if attention == "divided" and not patches.ordered:
            raise UserError(
                f"config.model.merger.name={merger.name!r} leaves the patches of each frame in an"
                " order of its own, so attention over time cannot pair them; set"
                " config.model.vision.attention=joint or space, or choose another merger"
            )
        return frames, patches

    @property
    def most(self) -> Callable[[int], int]:
        """Number of tokens of a frame that enter a block -> the largest r of its patches."""
        return testa.most_patches(self.kinds[1])

    @cached_property
    def r_frames(self) -> tuple[int, ...]:
        """The number of frames that merge in each block.

        Raises:
          UserError: if that schedule cannot work.
        """
        merger, vision = self.config.model.merger, self.config.model.vision
        wanted = 0 if merger.name == "none" else merger.frames
        most = partial(self.kinds[0].most, class_tokens=testa.protected_frames(self.r))
        return schedule.resolve(wanted, vision.depth, vision.frames, most)

    @cached_property
    def plan(self) -> tuple[Aggregation, ...]:
        """The mergers of each block.

        Raises:
          UserError: if the merging cannot work.
        """
        if self.config.model.vision.learned_scale and any(self.r_frames):
            raise UserError(
                "config.model.vision.learned_scale scales each frame of the input; set"
                " config.model.merger.frames=0"
            )
        return self.plan_of(self.r)

    @property
    def acting(self) -> tuple[Merger, ...]:
        """As in `Tower`: those of frames and of patches."""
        return tuple(
            merger for block in self.plan for merger in (block.frames, block.patches) if merger
        )

    def plan_of(self, r: Sequence[int]) -> tuple[Aggregation, ...]:
        """The mergers of each block with the schedule `r` of patches."""
        attention = self.config.model.vision.attention
        plan = testa.plan(self.kinds, self.r_frames, r, self.config.model.merger.vote)
        if attention != "divided" and any(part.frames for part in plan):
            raise UserError(
                f"config.model.merger.frames is for config.model.vision.attention=divided;"
                f" set it to 0 for {attention}"
            )
        return plan

    @cached_property
    def network(self) -> TimeSformer:
        """The transformer, with what its blocks merge.

        Raises:
          UserError: if the merging cannot work.
        """
        vision = self.config.model.vision
        return TimeSformer(
            width=vision.width,
            heads=vision.heads,
            merging=self.plan,
            patch_size=vision.patch_size,
            table_frames=vision.frames,
            table_patches=self.patches,
            attention=vision.attention,
            learned_scale=vision.learned_scale,
            proportional=self.config.model.merger.proportional,
            remat=self.config.train.remat,
            dtype=self.dtype,
        )

    @property
    def sizes(self) -> Vision:
        """The sizes that the table of the checkpoint's names depends on."""
        vision = self.config.model.vision
        edge = vision.image_size // vision.patch_size
        return Vision(vision.depth, edge, vision.frames, vision.learned_scale, vision.attention)

    @property
    def pixels(self) -> Pixels:
        """The transforms that make frames the network's input; fine-tuning augments nothing."""
        vision = self.config.model.vision
        resize = umt.Resize(vision.image_size)  # nothing, if `config.data.decode_size` is that
        return Pixels(self.mean, self.std, vision.image_size, vision.frames, resize, augment=resize)

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """The cost of each layer with the schedule `r` of patches."""
        vision, plan = self.config.model.vision, self.plan_of(r)
        sizes = {"width": vision.width, "heads": vision.heads, "patch_inputs": self.patch_inputs}
        if vision.attention == "divided":
            return testa.cost(plan, vision.frames, self.patches, **sizes)
        samples = vision.frames if vision.attention == "space" else 1
        layers = costs.vit([block.patches for block in plan], self.tokens, **sizes)
        return tuple(
            LayerCost(
                layer.name,
                samples * layer.tokens_in,
                samples * layer.tokens_out,
                samples * layer.macs,
            )
            for layer in layers
        )

    def normalise(self, video: ArrayLike) -> jax.Array:
        """Normalises as `Tower`, but takes a clip without a byte above 1 to be in [0,1] already.

        The original does the same.
        """
        video = jnp.asarray(video)
        if video.dtype == jnp.uint8:
            bright = video.max(axis=(1, 2, 3, 4), keepdims=True) > 1
            video = jnp.where(bright, video, 255 * video)  # 1 becomes 255, the largest byte
        return super().normalise(video)

    @property
    def trace(self) -> TraceVideo | None:
        """The trace of `Tower`; None unless attention is divided: only then patches are traced."""
        return super().trace if self.config.model.vision.attention == "divided" else None

    def trace_video(self, params: Params, video: ArrayLike) -> dict[str, list[jax.Array]]:
        """Traces the patches of a video through each merging block.

        See `signatures.TraceVideo`, "frames" included.
        """
        blocks = self.recorded(params, video)
        trace: dict[str, list[jax.Array]] = {
            "saliency": [], "origin": [], "size": [], "frames": []
        }  # fmt: skip
        frames = jnp.shape(video)[1]
        for i, aggregation in enumerate(self.plan):
            if aggregation == Aggregation():
                continue
            ((_, clip),) = blocks[f"block_{i}"]["out"]
            trace["origin"].append(clip.origin)
            trace["size"].append(rearrange(clip.size, "b t p -> b (t p)"))
            of_first = rearrange(clip.origin, "b (t p) -> b t p", t=frames)[..., 0]
            trace["frames"].append(of_first // clip.x.shape[2])  # a frame's patches move together
        return trace
