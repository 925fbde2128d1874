"""AdamW in the variants of UMT, TESTA, TDS-CLIP and TempMe, and their learning-rate schedules.

Sources: Unmasked Teacher (ICCV 2023), appendix; BLIP (ICML 2022) and TESTA (Findings of EMNLP
2023), whose rates change every epoch; TDS-CLIP (2024), whose rate changes every tenth step; TempMe
(ICLR 2025) and CLIP4Clip (Neurocomputing 2022), whose AdamW is that of early Transformers releases.
Details follow the released code.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import PyTree

from tokmerge_jax.signatures import LearningRate
from tokmerge_jax.types import Params, UserError

BOUNDS = {"temperature": (0.001, 0.5), "logit_scale": (None, math.log(100))}
"""Last part of a parameter's name -> its (lower, upper) bound."""


_WEB_WARMUP = 1e-6, 5000  # initial rate, and number of steps until the highest rate
_WEB_DECAY = 0.95
_BY_EPOCH = "cosine_by_epoch", "decay_by_epoch"
_TO_FLOOR = "cosine_to_floor", "cosine_by_ten"
_WITH_WARMUP = "cosine", *_TO_FLOOR


def cosine(base: float, *, steps: int, warmup_steps: int = 0, min_share: float) -> LearningRate:
    """UMT's learning rate: linear warm-up from 0, then half a cosine wave down to 0.

    Args:
      base: the highest rate, reached at the end of the warm-up.
      steps: number of steps of the whole training, including the warm-up.
      warmup_steps: number of steps of the warm-up.
      min_share: lower bound of the rate as a share of `base`, also during the warm-up.
    """
    return lambda step: base * jnp.maximum(_share(step, steps, warmup_steps), min_share)


def cosine_to_floor(
    base: float, *, steps: int, warmup_steps: int = 0, min_share: float
) -> LearningRate:
    """`cosine` whose half wave ends at `min_share` of `base`, as in TESTA and TDS-CLIP.

    The warm-up still starts at 0.
    """
    return lambda step: base * _share(step, steps, warmup_steps, min_share)


def _share(step: ArrayLike, steps: int, warmup_steps: int, floor: float = 0.0) -> jax.Array:
    """The share of the highest rate: linear from 0 to 1, then half a cosine wave to `floor`."""
    step = jnp.asarray(step)
    rise = step / max(warmup_steps, 1)
    progress = (step - warmup_steps) / max(steps - warmup_steps, 1)
    fall = floor + (1 - floor) * (1 + jnp.cos(jnp.pi * progress)) / 2
    return jnp.where(step < warmup_steps, rise, fall)


def warmup(base: float, *, start: float, steps: int) -> LearningRate:
    """A rate that rises linearly from `start` to `base` in `steps` steps and then stays."""

    def rate(step: ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        return jnp.where(step < steps, start + (base - start) * step / max(steps, 1), base)

    return rate


def decay(base: float, *, factor: float, min_share: float) -> LearningRate:
    """A rate that is multiplied by `factor` at each step, down to `min_share` of `base`."""
    return lambda step: base * jnp.maximum(factor ** jnp.asarray(step), min_share)


def by_epoch(rate: LearningRate, per_epoch: int) -> LearningRate:
    """A rate that is constant in each epoch of `per_epoch` steps: `rate(epoch number)`."""
    return lambda step: rate(jnp.asarray(step) // per_epoch)


def by_ten(rate: LearningRate, per_epoch: int) -> LearningRate:
    """`rate` updated only at steps 0, 9, 19, 29, ... of each epoch of `per_epoch` steps."""

    def held(step: ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        place = step % per_epoch
        return rate(step - place + jnp.maximum((place + 1) // 10 * 10 - 1, 0))

    return held


def named(
    name: str, base: float, *, steps: int, warmup_steps: int, min_share: float, per_epoch: int
) -> LearningRate:
    """The learning rate that `config.train.schedule` names.

    Args:
      name: "cosine"; "cosine_to_floor" (UMT's action recognition); "cosine_by_ten" (TDS-CLIP),
        constant for ten steps; "cosine_by_epoch" (TESTA's fine-tuning), constant in an epoch;
        "decay_by_epoch" (BLIP's pretraining), 5 % less each epoch, with a warm-up of 5000 steps in
        the first one.
      base: the highest rate.
      steps: number of steps of the whole training.
      warmup_steps: number of steps in which the first three rise from 0; must be 0 for the others.
      min_share: the lowest rate as a share of `base`: a bound for "cosine" and "decay_by_epoch",
        the end value of the others.
      per_epoch: number of steps per epoch.

    Raises:
      UserError: if the name is unknown, or its schedule has no adjustable warm-up.
    """
    if name == "cosine":
        return cosine(base, steps=steps, warmup_steps=warmup_steps, min_share=min_share)
    if name in _TO_FLOOR:
        rate = cosine_to_floor(base, steps=steps, warmup_steps=warmup_steps, min_share=min_share)
        return by_ten(rate, per_epoch) if name == "cosine_by_ten" else rate
    if name not in _BY_EPOCH:
        known = ", ".join(_WITH_WARMUP + _BY_EPOCH)
        raise UserError(f"config.train.schedule={name!r} is unknown; use {known}")
    if warmup_steps:
        raise UserError(
            "config.train.warmup_epochs applies only to config.train.schedule="
            f"{', '.join(_WITH_WARMUP)}; set it to 0 for {name}"
        )
    if name == "cosine_by_epoch":
        falling = cosine_to_floor(base, steps=steps // per_epoch, min_share=min_share)
        return by_epoch(falling, per_epoch)
    start, rising = _WEB_WARMUP
    rise = warmup(base, start=start, steps=rising)
    fall = by_epoch(decay(base, factor=_WEB_DECAY, min_share=min_share), per_epoch)
    return lambda step: jnp.where(jnp.asarray(step) < per_epoch, rise(step), fall(step))


def decayed(params: Params) -> PyTree:
    """Marks the parameters with weight decay: all but vectors and biases.

    Vectors are also vectors in PyTorch's layout, since no conversion rule splits or joins the axes
    of a parameter with one axis. The temperature, a scalar, decays.
    """

    def marked(path: tuple[PyTree, ...], leaf: PyTree) -> bool:
        return leaf.ndim != 1 and path[-1].key != "bias"

    return jax.tree_util.tree_map_with_path(marked, params)


def adamw(
    rate: LearningRate,
    weight_decay: float,
    mask: Callable[[Params], PyTree] | None = decayed,
    rate_share: Callable[[str], float] = lambda name: 1.0,
) -> optax.GradientTransformation:
    """AdamW with betas 0.9 and 0.999, without clipping; `mask` marks what decays, None = all.

    A parameter's rate, which also scales its decay, is `rate_share(name)` times `rate`.
    """
    adam = optax.adamw(rate, b1=0.9, b2=0.999, eps=1e-8, weight_decay=weight_decay, mask=mask)

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        updates, state = adam.update(updates, state, params)
        return _scaled(updates, 1.0, rate_share), state

    return optax.GradientTransformation(adam.init, update)


def bounded(params: Params) -> Params:
    """Clips the parameters that `BOUNDS` names."""

    def clamp(path: tuple[PyTree, ...], leaf: PyTree) -> PyTree:
        name = path[-1].key
        return jnp.clip(leaf, *BOUNDS[name]) if name in BOUNDS else leaf

    return jax.tree_util.tree_map_with_path(clamp, params)


def clipped_adamw(
    rate: LearningRate,
    weight_decay: float,
    *,
    clip_norm: float,
    gradient_scale: float = 1.0,
    rate_share: Callable[[str], float] = lambda name: 1.0,
) -> optax.GradientTransformation:
    """AdamW with betas 0.9 and 0.999 that adds epsilon (1e-6) before the bias correction.

    Decay applies after the update, to the updated weights that `decayed` marks.

    Args:
      rate: the learning rate of a step.
      weight_decay: decay of a weight per step, as a multiple of the rate.
      clip_norm: largest norm of the whole gradient; 0 = no clipping.
      gradient_scale: factor of the gradients, applied first.
      rate_share: parameter name ("vision/block_0/attention/lora/...") -> share of the rate.
    """

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        step = rate(state.count)
        moved = _scaled(updates, -step, rate_share)
        left = jax.tree.map(jnp.add, params, moved)
        lost = jax.tree.map(
            jnp.multiply, _scaled(left, -step * weight_decay, rate_share), decayed(left)
        )
        state = optax.ScaleByScheduleState(optax.safe_increment(state.count))
        return jax.tree.map(jnp.add, moved, lost), state

    def init(params: PyTree) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    return optax.chain(
        optax.scale(gradient_scale),
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        _adam_of_early_epsilon(),
        optax.GradientTransformation(init, update),
    )


def _scaled(tree: PyTree, factor: ArrayLike, rate_share: Callable[[str], float]) -> PyTree:
    """Multiplies each leaf by `factor` and by `rate_share(name)`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: factor * rate_share("/".join(p.key for p in path)) * leaf, tree
    )


def _adam_of_early_epsilon() -> optax.GradientTransformation:
    """Adam's update m / (sqrt(v) + eps), with the bias correction applied afterwards."""
    b1, b2, epsilon = 0.9, 0.999, 1e-6

    def init(params: PyTree) -> optax.ScaleByAdamState:
        moments = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))  # separate buffers
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), *moments)

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        del params
        count = optax.safe_increment(state.count)
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, updates)
        correction = jnp.sqrt(1 - b2**count) / (1 - b1**count)
        updates = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + epsilon), mean, square)
        return updates, optax.ScaleByAdamState(count, mean, square)

    return optax.GradientTransformation(init, update)
