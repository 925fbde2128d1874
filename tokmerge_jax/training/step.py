"""One step of training: what it carries from step to step, and the compiled update."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax

from tokmerge_jax.training import optimizer
from tokmerge_jax.types import Batch, Loss, Params


class TrainState(flax.struct.PyTreeNode):
    """All that a run needs to go on: finished steps (int32), parameters, optimiser's moments.

    Fields are typed loosely, for a pytree's leaves may also be shapes, shardings or None.
    """

    step: Any
    params: Any
    moments: Any


Step = Callable[[TrainState, Batch], tuple[TrainState, Mapping[str, jax.Array]]]


def create(transformation: optax.GradientTransformation, params: Params) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), params, transformation.init(params))


def make(
    loss: Loss, transformation: optax.GradientTransformation, rate: optimizer.Schedule, seed: int
) -> Step:
    """The pure function `(state, batch) -> (next state, scalars to log)`, not compiled yet.

    Its randomness (negatives, dropout) depends on the seed and the step alone, so that a resumed
    run repeats what an uninterrupted one does. The scalars are the loss and its parts before the
    update, the rate and the gradient's norm.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Mapping[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        params = optimizer.bounded(state.params)
        (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(params, batch, key)
        updates, moments = transformation.update(gradient, state.moments, params)
        scalars = {
            "loss": value,
            **parts,
            "learning_rate": rate(state.step),
            "gradient_norm": optax.tree.norm(gradient),
        }
        params = cast(Params, optax.apply_updates(params, updates))
        return TrainState(state.step + 1, params, moments), scalars

    return step
