"""AdamW as UMT and as TempMe use it, and the cosine rate with warm-up of both.

Sources: Unmasked Teacher (ICCV 2023), appendix; TempMe (ICLR 2025) and CLIP4Clip (Neurocomputing
2022), whose AdamW is that of early Transformers releases. Rates, bounds and exceptions as in code.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from tokmerge_jax.types import Params

Schedule = Callable[[ArrayLike], jax.Array]
"""The learning rate of a step, counted from 0."""

BOUNDS = {"temperature": (0.001, 0.5), "logit_scale": (None, math.log(100))}
"""Of parameters, by the last part of their names."""


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
    """`params` with every leaf that `BOUNDS` names clamped."""

    def clamp(path: tuple[Any, ...], leaf: Any) -> Any:
        name = path[-1].key
        return jnp.clip(leaf, *BOUNDS[name]) if name in BOUNDS else leaf

    return jax.tree_util.tree_map_with_path(clamp, params)


def clipped_adamw(
    rate: Schedule,
    weight_decay: float,
    *,
    clip_norm: float,
    gradient_scale: float = 1.0,
    share: Callable[[str], float] = lambda name: 1.0,
) -> optax.GradientTransformation:
    """AdamW of betas 0.9 and 0.999 whose epsilon, 1e-6, is added before the bias is corrected.

    Weights decay after the update, by what it has left, where `decayed` says.

    Args:
      rate: the learning rate of a step.
      weight_decay: times the rate, what a step takes from a weight.
      clip_norm: of the whole gradient, at most; 0 = any.
      gradient_scale: what gradients are multiplied by first.
      share: of the rate, for the parameter of a name ("vision/block_0/attention/lora/...").
    """

    def scaled(tree: Any, factor: jax.Array) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: factor * share("/".join(p.key for p in path)) * leaf, tree
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        step = rate(state.count)
        moved = scaled(updates, -step)
        left = jax.tree.map(jnp.add, params, moved)
        lost = jax.tree.map(jnp.multiply, scaled(left, -step * weight_decay), decayed(left))
        state = optax.ScaleByScheduleState(optax.safe_increment(state.count))
        return jax.tree.map(jnp.add, moved, lost), state

    def init(params: Any) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    return optax.chain(
        optax.scale(gradient_scale),
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        _adam_of_early_epsilon(),
        optax.GradientTransformation(init, update),
    )


def _adam_of_early_epsilon() -> optax.GradientTransformation:
    """m / (sqrt(v) + eps), both then corrected for their start at 0: Adam's algorithm in short."""
    b1, b2, epsilon = 0.9, 0.999, 1e-6

    def init(params: Any) -> optax.ScaleByAdamState:
        moments = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))  # two, to be donated
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), *moments)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = optax.safe_increment(state.count)
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, updates)
        correction = jnp.sqrt(1 - b2**count) / (1 - b1**count)
        updates = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + epsilon), mean, square)
        return updates, optax.ScaleByAdamState(count, mean, square)

    return optax.GradientTransformation(init, update)
