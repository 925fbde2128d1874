"""The video side of systems: a tower makes a video network, with its pixels, merging and cost.

A system binds a tower to a text side, losses and tasks.
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from tokmerge_jax import merging, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.merging import Merger, costs, merge, schedule
from tokmerge_jax.merging.merger import BLOCK, Place
from tokmerge_jax.signatures import TraceVideo
from tokmerge_jax.system import Attention, Merging
from tokmerge_jax.systems.validation import video_checked
from tokmerge_jax.types import LayerCost, Params, Schedule, UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True)
class Tower(abc.ABC):
    """A video transformer; by default, all patches of a clip attend to each other.

    Attributes:
      config: the system's configuration; `model.vision` has the sizes.
      mean: mean of each colour in the training data, in 0..1.
      std: standard deviation of each colour.
      places: where the network can call a merger.
    """

    config: Config
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]
    places: ClassVar[tuple[Place, ...]] = BLOCK

    @property
    @abc.abstractmethod
    def network(self) -> nn.Module:
        """The transformer with its mergers; its call has the argument `trace`.

        Raises:
          UserError: if the merging cannot work.
        """

    @property
    def protected(self) -> int:
        """The number of leading tokens that never merge: class tokens."""
        return 0

    @property
    def patches(self) -> int:
        """The number of patches of a frame."""
        vision = self.config.model.vision
        return (vision.image_size // vision.patch_size) ** 2

    @property
    def patch_inputs(self) -> int:
        """The number of values in a patch."""
        return 3 * self.config.model.vision.patch_size**2

    @property
    def tokens(self) -> int:
        """N, the number of tokens that enter the first block and may merge with one another."""
        return self.config.model.vision.frames * self.patches + self.protected

    @property
    def attention(self) -> Attention:
        """The range of a token's attention; see `system.Merging`."""
        return "joint"

    @property
    def scheduled_layers(self) -> int:
        """The number of layers, from the first, that `config.model.merger.r` applies to."""
        return self.config.model.vision.depth

    @cached_property
    def r(self) -> tuple[int, ...]:
        """The number of tokens that merge in each of `scheduled_layers`.

        Raises:
          UserError: if the merging schedule cannot work.
        """
        merger = self.config.model.merger
        wanted = 0 if merger.name == "none" else merger.r
        return schedule.resolve(wanted, self.scheduled_layers, self.tokens, self.most)

    @property
    def merger(self) -> str:
        """The name of the merger in `scheduled_layers`."""
        return self.config.model.merger.name

    @property
    def never_merged(self) -> int:
        """The number of leading tokens that the merger never changes."""
        return self.protected

    @property
    def most(self) -> Callable[[int], int]:
        """Number of tokens that enter a layer -> its largest r."""
        return merging.most(self.merger, self.never_merged, self.places)

    def mergers(self, r: Sequence[int]) -> tuple[Merger | None, ...]:
        """The mergers of `scheduled_layers` for the schedule `r`; None where it is 0."""
        return merging.per_layer(self.merger, r, self.never_merged, self.places)

    @property
    def acting(self) -> tuple[Merger, ...]:
        """The mergers of the network, with the configuration's schedule."""
        return tuple(filter(None, self.mergers(self.r)))

    @property
    def follows(self) -> bool:
        """Whether the network follows every token, so that no merger may drop any."""
        return False

    @property
    def merging(self) -> Merging:
        """The merging schedule and the cost of encoding a video.

        Raises:
          UserError: if the merging cannot work, or drops tokens that have to be followed.
        """
        dropping = [merger for merger in self.acting if merger.drops]
        if any(self.follows or merger.place == "within" for merger in dropping):
            raise UserError(merge.DROPPED)  # before anything compiles
        limits = Schedule(self.r, self.tokens, self.most)
        return Merging(limits, self.cost, self.attention, bool(dropping))

    def cost(self, r: Sequence[int]) -> tuple[LayerCost, ...]:
        """The cost of each layer with the schedule `r`."""
        vision = self.config.model.vision
        return costs.vit(
            self.mergers(r),
            self.tokens,
            width=vision.width,
            heads=vision.heads,
            patch_inputs=self.patch_inputs,
            class_tokens=self.protected,
        )

    @property
    def dtype(self) -> DTypeLike:
        """The dtype that the network computes in."""
        return runtime.compute_dtype(self.config.dtype)

    @property
    def example(self) -> jax.Array:
        """A clip [1,T,S,S,3] of zeros, to initialise parameters with."""
        vision = self.config.model.vision
        return jnp.zeros((1, vision.frames, vision.image_size, vision.image_size, 3))

    def normalise(self, video: ArrayLike) -> jax.Array:
        """uint8 frames [B,T,H,W,3] -> normalised float32; float input is returned unchanged."""
        video = jnp.asarray(video)
        if video.dtype != jnp.uint8:
            return video
        shift, scale = (
            np.asarray(x, np.float32).reshape(1, 1, 1, 1, 3) for x in (self.mean, self.std)
        )
        return (video.astype(jnp.float32) / 255 - shift) / scale

    @property
    def trace(self) -> TraceVideo | None:
        """`trace_video` for a system whose parameters "vision" are the transformer's."""
        return video_checked(self.trace_video, self.config)

    def trace_video(self, params: Params, video: ArrayLike) -> dict[str, list[jax.Array]]:
        """Traces the tokens through each merging block; see `signatures.TraceVideo`."""
        blocks = self.recorded(params, video)
        trace: dict[str, list[jax.Array]] = {"saliency": [], "origin": [], "size": []}
        for i, merger in enumerate(self.mergers(self.r)):
            if merger is None:
                continue
            record = blocks if merger.place == "input" else blocks[f"block_{i}"]
            (evidence,), (tokens,) = (record[name] for name in ("evidence", "after_merging"))
            saliency = merging.vid_tldr.saliency(evidence, self.protected)
            if saliency is not None:
                trace["saliency"].append(saliency)
            trace["origin"].append(tokens.origin[:, self.protected :])
            trace["size"].append(tokens.size)
        trace["start"] = [jnp.arange(self.protected, self.tokens)]
        return trace

    def recorded(self, params: Params, video: ArrayLike) -> Params:
        """Runs the network on traced tokens; returns what each layer records, by its name."""
        _, variables = self.network.apply(
            {"params": params["vision"]},
            self.normalise(video),
            trace=True,
            mutable=["intermediates"],
        )
        return variables["intermediates"]
