"""One step of training: what it carries from step to step, and the compiled update."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from tokmerge_jax.training import optimizer
from tokmerge_jax.types import Batch, Loss, Params, RememberingLoss, UserError

_NO_STEP = 2**32 - 1  # what is drawn once has a key that no step has


class TrainState(flax.struct.PyTreeNode):
    """All that a run needs to go on.

    Finished steps (int32), parameters, the optimiser's moments, and what the loss remembers, if it
    does (`types.RememberingLoss`).

    Fields are typed loosely, for a pytree's leaves may also be shapes, shardings or None.
    """

    step: Any
    params: Any
    moments: Any
    memory: Any = ()


Step = Callable[[TrainState, Batch], tuple[TrainState, Mapping[str, jax.Array]]]


def create(
    transformation: optax.GradientTransformation,
    params: Params,
    trained: Sequence[str] = (),
    memory: Callable[[Params, jax.Array], Any] | None = None,
    seed: int = 0,
) -> TrainState:
    """The state before the first step; only `trained` parameters have moments (see `make`).

    `memory` makes what the loss remembers of the parameters and, by `seed`, of chance.

    Raises:
      UserError: if there are no such parameters.
    """
    moving, _ = _split(params, trained)
    if not moving:
        raise UserError(
            "there is nothing to train: the configuration freezes all parameters that it has; see"
            " config.train.backbone_rate and config.model.lora_rank"
        )
    key = jax.random.fold_in(jax.random.key(seed), _NO_STEP)
    remembered = memory(params, key) if memory else ()
    return TrainState(jnp.zeros((), jnp.int32), params, transformation.init(moving), remembered)


def make(
    loss: Loss | RememberingLoss,
    transformation: optax.GradientTransformation,
    rate: optimizer.Schedule,
    seed: int,
    trained: Sequence[str] = (),
    *,
    per_epoch: int = 1,
) -> Step:
    """The pure function `(state, batch) -> (next state, scalars to log)`, not compiled yet.

    The loss remembers (`types.RememberingLoss`) if the state holds a memory.

    Its randomness (negatives, dropout) depends on the seed and the step alone, so that a resumed
    run repeats what an uninterrupted one does. The scalars are the loss and its parts before the
    update, the rate and the gradient's norm. Only parameters whose names ("vision/norm/scale")
    match a pattern of `trained` (none = all) have a gradient and move. An epoch has `per_epoch`
    steps.
    """

    def remember(
        params: Params, memory: Any, batch: Batch, key: jax.Array, epoch: jax.Array
    ) -> tuple[jax.Array, Mapping[str, jax.Array], Any]:
        if jax.tree.leaves(memory):
            return cast(RememberingLoss, loss)(params, memory, batch, key, epoch)
        return *cast(Loss, loss)(params, batch, key), memory

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Mapping[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        epoch = state.step / per_epoch
        moving, frozen = _split(optimizer.bounded(state.params), trained)

        def of(moving: Params) -> tuple[jax.Array, tuple[Mapping[str, jax.Array], Any]]:
            value, parts, memory = remember(
                _joined(moving, frozen), state.memory, batch, key, epoch
            )
            return value, (parts, memory)

        (value, (parts, memory)), gradient = jax.value_and_grad(of, has_aux=True)(moving)
        updates, moments = transformation.update(gradient, state.moments, moving)
        scalars = {
            "loss": value,
            **parts,
            "learning_rate": rate(state.step),
            "gradient_norm": optax.tree.norm(gradient),
        }
        moving = cast(Params, optax.apply_updates(moving, updates))
        return TrainState(state.step + 1, _joined(moving, frozen), moments, memory), scalars

    return step


def _split(params: Params, trained: Sequence[str]) -> tuple[Params, Params]:
    """The parameters that move, and those that do not."""
    flat = flatten_dict(params, sep="/")
    moving = {
        name: leaf
        for name, leaf in flat.items()
        if not trained or any(re.search(pattern, name) for pattern in trained)
    }
    frozen = {name: leaf for name, leaf in flat.items() if name not in moving}
    return unflatten_dict(moving, sep="/"), unflatten_dict(frozen, sep="/")


def _joined(moving: Params, frozen: Params) -> Params:
    both = {**flatten_dict(moving, sep="/"), **flatten_dict(frozen, sep="/")}
    return unflatten_dict(both, sep="/")
