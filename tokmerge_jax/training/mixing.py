"""Mixup and cutmix: each clip of a batch mixed with the one as far from the batch's other end.

Source: mixup (ICLR 2018) and CutMix (ICCV 2019) in timm's form, as TDS-CLIP (2024) offers them:
one of the two a batch. Partners are aligned frame by frame; the original, with neighbouring frames,
mixes different times.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

_MIXUP_ALPHA, _CUTMIX_ALPHA = 0.8, 1.0  # of the beta distributions of the share
_CUTS = 0.5  # share of the batches that are cut


class Box(NamedTuple):
    """Rows and columns, from the first to before the second; empty: nothing is cut."""

    top: Int[Array, ""]
    bottom: Int[Array, ""]
    left: Int[Array, ""]
    right: Int[Array, ""]


def smooth_targets(labels: Int[Array, " B"], classes: int, smoothing: float) -> Float[Array, "B C"]:
    """One for each label (float32), less the share `smoothing`, which all C classes get alike."""
    return jax.nn.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


def mixed(x: Float[Array, "B ..."], share: Float[Array, ""] | float) -> Float[Array, "B ..."]:
    """`share` of each row and the rest of its partner: mixup, and both methods' targets."""
    return share * x + (1 - share) * x[::-1]


def cut_box(
    share: Float[Array, ""] | float,
    y: Int[Array, ""] | int,
    x: Int[Array, ""] | int,
    height: int,
    width: int,
) -> Box:
    """The box about (y, x) of 1 - `share` of the area, in the picture's form, cut at its edges."""

    def ends(middle: Int[Array, ""] | int, extent: int) -> tuple[jax.Array, jax.Array]:
        half = jnp.floor(extent * jnp.sqrt(1 - share)).astype(jnp.int32) // 2
        return jnp.clip(middle - half, 0, extent), jnp.clip(middle + half, 0, extent)

    return Box(*ends(y, height), *ends(x, width))


def left_share(box: Box, height: int, width: int) -> Float[Array, ""]:
    """The share of a picture that a box leaves (float32)."""
    return 1 - (box.bottom - box.top) * (box.right - box.left) / (height * width)


def pasted(video: Float[Array, "B T H W 3"], box: Box) -> Float[Array, "B T H W 3"]:
    """Each clip with its partner's pixels in the box: cutmix."""
    y, x = jnp.arange(video.shape[2])[:, None], jnp.arange(video.shape[3])[None]
    inside = (y >= box.top) & (y < box.bottom) & (x >= box.left) & (x < box.right)
    return jnp.where(inside[None, None, :, :, None], video[::-1], video)


def mix(
    key: PRNGKeyArray, video: Float[Array, "B T H W 3"], targets: Float[Array, "B C"]
) -> tuple[Float[Array, "B T H W 3"], Float[Array, "B C"]]:
    """A batch mixed by mixup (share from Beta(0.8, 0.8)) or cutmix (Beta(1, 1)), equally likely.

    Args:
      key: of the draws.
      video: clips, normalised or not.
      targets: see `smooth_targets`.

    Returns:
      Clips and targets; those of cutmix by the share that the box, cut at the edges, leaves.
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
