"""One training step: the state that it carries, and the update."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import flax.struct
import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

from tokmerge_jax import parallel
from tokmerge_jax.signatures import LearningRate, Loss, LossState, StatefulLoss
from tokmerge_jax.training import optimizer
from tokmerge_jax.types import Batch, Params, UserError

_NO_STEP = 2**32 - 1  # folded into the key of the initial draws; no step has this number


class TrainState(flax.struct.PyTreeNode):
    """Everything that a run needs to resume.

    Attributes:
      step: number of finished steps, int32.
      params: the parameters.
      moments: the optimiser's state.
      memory: the state of a `StatefulLoss` (this is its name in checkpoints); () without one.

    Fields are typed as PyTree, since leaves may also be shapes, shardings or None.
    """

    step: PyTree
    params: PyTree
    moments: PyTree
    memory: PyTree = ()


Step = Callable[[TrainState, Batch], tuple[TrainState, Mapping[str, jax.Array]]]

_Rest = tuple[Mapping[str, jax.Array], LossState]
"""(scalars to log, next state of the loss)."""

_Differentiated = Callable[[Params, Batch, jax.Array], tuple[tuple[jax.Array, _Rest], Params]]
"""`(moving, batch, key) -> ((loss, rest), gradient)`."""


def create(
    transformation: optax.GradientTransformation,
    params: Params,
    trainable: Sequence[str] = (),
    init_loss_state: Callable[[Params, jax.Array], LossState] | None = None,
    seed: int = 0,
) -> TrainState:
    """Creates the state before the first step; only `trainable` parameters have moments (`make`).

    `init_loss_state(params, key)` returns the loss's initial state; the key depends on `seed`.

    Raises:
      UserError: if no parameter is trainable.
    """
    moving, _ = _split(params, trainable)
    if not moving:
        raise UserError(
            "nothing to train: the configuration freezes all its parameters; see"
            " config.train.backbone_rate and config.model.lora_rank"
        )
    key = jax.random.fold_in(jax.random.key(seed), _NO_STEP)
    loss_state = init_loss_state(params, key) if init_loss_state else ()
    return TrainState(jnp.zeros((), jnp.int32), params, transformation.init(moving), loss_state)


def make(
    loss: Loss | StatefulLoss,
    transformation: optax.GradientTransformation,
    rate: LearningRate,
    seed: int,
    trainable: Sequence[str] = (),
    *,
    per_epoch: int = 1,
    grad_accum: int = 1,
) -> Step:
    """Makes the pure, uncompiled function `(state, batch) -> (next state, scalars to log)`.

    The loss is a `StatefulLoss` if the state holds a loss state.

    Randomness (negatives, dropout) depends only on the seed and the step, so a resumed run repeats
    exactly what an uninterrupted one does. The scalars are the loss and its parts before the
    update, the learning rate and the gradient's norm. Only parameters whose names
    ("vision/norm/scale") match a pattern of `trainable` (empty = all) are updated. An epoch has
    `per_epoch` steps.

    If the loss is a mean over rows, a batch may be split into `grad_accum` groups that are
    processed one after the other, so that only one group's activations are held at a time. Row i
    belongs to group i % `grad_accum`, so that no device needs another's rows. Gradient, scalars and
    the loss's next state (floats) are means over groups; each group starts from the same state and
    has its own random key.
    """

    def stateful(
        params: Params, state: LossState, batch: Batch, key: jax.Array, epoch: jax.Array
    ) -> tuple[jax.Array, Mapping[str, jax.Array], LossState]:
        if jax.tree.leaves(state):
            return cast(StatefulLoss, loss)(params, state, batch, key, epoch)
        return *cast(Loss, loss)(params, batch, key), state

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Mapping[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        epoch = state.step / per_epoch
        moving, frozen = _split(optimizer.bounded(state.params), trainable)

        def of(moving: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, _Rest]:
            params, memory = parallel.gathered((_joined(moving, frozen), state.memory))
            value, named, memory = stateful(params, memory, batch, key, epoch)
            return value, (named, memory)

        differentiated = _grouped(jax.value_and_grad(of, has_aux=True), grad_accum)
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
    """Averages the results over `groups` groups of rows, each with its own key."""
    if groups == 1:
        return differentiated

    def run(moving: Params, batch: Batch, key: jax.Array) -> tuple[tuple[jax.Array, _Rest], Params]:
        split = {name: rearrange(x, "(b g) ... -> b g ...", g=groups) for name, x in batch.items()}

        def add(total: Params, group: jax.Array) -> tuple[Params, tuple[jax.Array, _Rest]]:
            rows = {
                name: jax.lax.dynamic_index_in_dim(x, group, 1, False) for name, x in split.items()
            }
            results, gradient = differentiated(moving, rows, jax.random.fold_in(key, group))
            return jax.tree.map(jnp.add, total, gradient), results

        zero = jax.tree.map(jnp.zeros_like, moving)
        total, results = jax.lax.scan(add, zero, jnp.arange(groups))
        mean = jax.tree.map(lambda x: x.mean(axis=0), results)
        return mean, jax.tree.map(lambda x: x / groups, total)

    return run


def _split(params: Params, trainable: Sequence[str]) -> tuple[Params, Params]:
    """Splits the parameters into (trainable, frozen)."""
    flat = flatten_dict(params, sep="/")
    moving = {
        name: leaf
        for name, leaf in flat.items()
        if not trainable or any(re.search(pattern, name) for pattern in trainable)
    }
    frozen = {name: leaf for name, leaf in flat.items() if name not in moving}
    return unflatten_dict(moving, sep="/"), unflatten_dict(frozen, sep="/")


def _joined(moving: Params, frozen: Params) -> Params:
    both = {**flatten_dict(moving, sep="/"), **flatten_dict(frozen, sep="/")}
    return unflatten_dict(both, sep="/")
