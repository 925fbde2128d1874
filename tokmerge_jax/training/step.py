"""One step of training: what it carries from step to step, and the compiled update."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax
from einops import rearrange
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

_Rest = tuple[Mapping[str, jax.Array], Any]
"""Scalars to log, and the next memory."""

_Differentiated = Callable[[Params, Batch, jax.Array], tuple[tuple[jax.Array, _Rest], Params]]
"""`(moving, batch, key) -> ((loss, rest), gradient)`."""


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
    groups: int = 1,
) -> Step:
    """The pure function `(state, batch) -> (next state, scalars to log)`, not compiled yet.

    The loss remembers (`types.RememberingLoss`) if the state holds a memory.

    Its randomness (negatives, dropout) depends on the seed and the step alone, so that a resumed
    run repeats what an uninterrupted one does. The scalars are the loss and its parts before the
    update, the rate and the gradient's norm. Only parameters whose names ("vision/norm/scale")
    match a pattern of `trained` (none = all) have a gradient and move. An epoch has `per_epoch`
    steps.

    Of a loss that is a mean over rows, a batch may pass in as many `groups`, one after the other,
    so that only one group's activations are held at a time: rows g, g + groups, g + 2 groups and
    so on are a group, so that no device needs another's rows. Gradient, scalars and what is
    remembered (floats) are the means of the groups', each of which begins with the same memory and
    has chance of its own.
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

        def of(moving: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, _Rest]:
            value, named, memory = remember(
                _joined(moving, frozen), state.memory, batch, key, epoch
            )
            return value, (named, memory)

        differentiated = _grouped(jax.value_and_grad(of, has_aux=True), groups)
        (value, (named, memory)), gradient = differentiated(moving, batch, key)
        updates, moments = transformation.update(gradient, state.moments, moving)
        scalars = {
            "loss": value,
            **named,
            "learning_rate": rate(state.step),
            "gradient_norm": optax.tree.norm(gradient),
        }
        moving = cast(Params, optax.apply_updates(moving, updates))
        return TrainState(state.step + 1, _joined(moving, frozen), moments, memory), scalars

    return step


def _grouped(differentiated: _Differentiated, groups: int) -> _Differentiated:
    """The means of what is found in as many groups of rows, each with a key of its own."""
    if groups == 1:
        return differentiated

    def run(moving: Params, batch: Batch, key: jax.Array) -> tuple[Any, Params]:
        split = {name: rearrange(x, "(b g) ... -> b g ...", g=groups) for name, x in batch.items()}

        def add(total: Params, group: jax.Array) -> tuple[Params, Any]:
            rows = {
                name: jax.lax.dynamic_index_in_dim(x, group, 1, False) for name, x in split.items()
            }
            found, gradient = differentiated(moving, rows, jax.random.fold_in(key, group))
            return jax.tree.map(jnp.add, total, gradient), found

        zero = jax.tree.map(jnp.zeros_like, moving)
        total, found = jax.lax.scan(add, zero, jnp.arange(groups))
        mean = jax.tree.map(lambda x: x.mean(axis=0), found)
        return mean, jax.tree.map(lambda x: x / groups, total)

    return run


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
