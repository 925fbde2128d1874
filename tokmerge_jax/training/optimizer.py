"""AdamW as UMT fine-tunes with it: cosine rate with warm-up, weight decay on matrices alone.

Source: Unmasked Teacher (ICCV 2023), appendix; rates, bounds and exceptions as in its code.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from tokmerge_jax.types import Params

Schedule = Callable[[ArrayLike], jax.Array]
"""The learning rate of a step, counted from 0."""

TEMPERATURE_BOUNDS = (0.001, 0.5)


def cosine(base: float, *, steps: int, warmup_steps: int = 0, min_share: float) -> Schedule:
    """Learning rate of a step: linear warm-up from 0, then half a cosine down to 0.

    Args:
      base: the highest rate, reached at the end of the warm-up.
      steps: steps of the whole training, warm-up included.
      warmup_steps: steps of the warm-up.
      min_share: the rate is never less than this share of `base`, not in the warm-up either.
    """

    def rate(step: ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        warmup = step / max(warmup_steps, 1)
        progress = (step - warmup_steps) / max(steps - warmup_steps, 1)
        share = jnp.where(step < warmup_steps, warmup, (1 + jnp.cos(jnp.pi * progress)) / 2)
        return base * jnp.maximum(share, min_share)

    return rate


def adamw(rate: Schedule, weight_decay: float) -> optax.GradientTransformation:
    """AdamW with betas 0.9 and 0.999 that decays what `decayed` marks; nothing is clipped."""
    return optax.adamw(rate, b1=0.9, b2=0.999, eps=1e-8, weight_decay=weight_decay, mask=decayed)


def decayed(params: Params) -> Any:
    """True where weight decay applies: everywhere but on vectors and biases.

    A vector is one in PyTorch's layout too: no rule of conversion splits or joins the axes of a
    parameter that has only one. The temperature, a scalar, is decayed.
    """

    def marked(path: tuple[Any, ...], leaf: Any) -> bool:
        return leaf.ndim != 1 and path[-1].key != "bias"

    return jax.tree_util.tree_map_with_path(marked, params)


def bounded(params: Params) -> Params:
    """`params` with every leaf named "temperature" clamped to `TEMPERATURE_BOUNDS`."""

    def clamp(path: tuple[Any, ...], leaf: Any) -> Any:
        return jnp.clip(leaf, *TEMPERATURE_BOUNDS) if path[-1].key == "temperature" else leaf

    return jax.tree_util.tree_map_with_path(clamp, params)
