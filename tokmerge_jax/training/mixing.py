"""Mixup and CutMix: mixes clip i of a batch of B with its partner, clip B - 1 - i.

Source: mixup (ICLR 2018) and CutMix (ICCV 2019) in timm's form, as in TDS-CLIP (2024): one of the
two per batch. Partners are aligned frame by frame; the original, with neighbouring frames, mixes
different times.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

_MIXUP_ALPHA, _CUTMIX_ALPHA = 0.8, 1.0  # parameters of the share's beta distributions
_CUTS = 0.5  # probability of CutMix rather than mixup


class Box(NamedTuple):
    """A box of pixels: rows [top, bottom) and columns [left, right); may be empty."""

    top: Int[Array, ""]
    bottom: Int[Array, ""]
    left: Int[Array, ""]
    right: Int[Array, ""]

    def inside(self, height: int, width: int) -> Bool[Array, "H W"]:
        """Marks the pixels of the box in a picture."""
        y, x = jnp.arange(height)[:, None], jnp.arange(width)[None]
        rows, columns = (y >= self.top) & (y < self.bottom), (x >= self.left) & (x < self.right)
        return rows & columns


def smooth_targets(labels: Int[Array, " B"], classes: int, smoothing: float) -> Float[Array, "B C"]:
    """One-hot targets (float32) with label smoothing, spread evenly over all C classes."""
    return jax.nn.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


def mixed(x: Float[Array, "B ..."], share: Float[Array, ""] | float) -> Float[Array, "B ..."]:
    """`share` of each row plus 1 - `share` of its partner: mixup, and targets of both methods."""
    return share * x + (1 - share) * x[::-1]


def cut_box(
    share: Float[Array, ""] | float,
    y: Int[Array, ""] | int,
    x: Int[Array, ""] | int,
    height: int,
    width: int,
) -> Box:
    """A box around (y, x) with 1 - `share` of the area and the picture's aspect, clipped to it."""

    def ends(middle: Int[Array, ""] | int, extent: int) -> tuple[jax.Array, jax.Array]:
        half = jnp.floor(extent * jnp.sqrt(1 - share)).astype(jnp.int32) // 2
        return jnp.clip(middle - half, 0, extent), jnp.clip(middle + half, 0, extent)

    return Box(*ends(y, height), *ends(x, width))


def left_share(box: Box, height: int, width: int) -> Float[Array, ""]:
    """The share of a picture outside the box (float32)."""
    return 1 - (box.bottom - box.top) * (box.right - box.left) / (height * width)


def pasted(video: Float[Array, "B T H W 3"], box: Box) -> Float[Array, "B T H W 3"]:
    """CutMix: each clip with its partner's pixels inside the box."""
    inside = box.inside(*video.shape[2:4])
    return jnp.where(inside[None, None, :, :, None], video[::-1], video)


def mix(
    key: PRNGKeyArray, video: Float[Array, "B T H W 3"], targets: Float[Array, "B C"]
) -> tuple[Float[Array, "B T H W 3"], Float[Array, "B C"]]:
    """Mixes a batch by mixup (share from Beta(0.8, 0.8)) or CutMix (Beta(1, 1)), equally likely.

    Args:
      key: random key.
      video: clips, normalised or not.
      targets: see `smooth_targets`.

    Returns:
      (clips, targets); CutMix weights the targets by the share outside the clipped box.
    """
    height, width = video.shape[2:4]
    which, of_mixup, of_cutmix, at_y, at_x = jax.random.split(key, 5)

    def mixup() -> tuple[jax.Array, jax.Array]:
        share = jax.random.beta(of_mixup, _MIXUP_ALPHA, _MIXUP_ALPHA)
        return mixed(video, share), mixed(targets, share)

    def cutmix() -> tuple[jax.Array, jax.Array]:
        share = jax.random.beta(of_cutmix, _CUTMIX_ALPHA, _CUTMIX_ALPHA)
        y, x = (jax.random.randint(k, (), 0, n) for k, n in ((at_y, height), (at_x, width)))
        box = cut_box(share, y, x, height, width)
        return pasted(video, box), mixed(targets, left_share(box, height, width))

    return jax.lax.cond(jax.random.bernoulli(which, _CUTS), cutmix, mixup)
