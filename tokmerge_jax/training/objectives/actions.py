"""The objective of action recognition: cross-entropy with smoothed labels."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from tokmerge_jax.signatures import LossState
from tokmerge_jax.training import losses, mixing
from tokmerge_jax.training.erasing import erase
from tokmerge_jax.training.objectives import Normalise
from tokmerge_jax.types import Batch, Params

Classify = Callable[[Params, LossState, jax.Array, bool], tuple[jax.Array, LossState]]
"""`(params, state, video, train) ->` logits [B,K], and the state after."""


@runtime_checkable
class Classifier(Protocol):
    """A network that classifies clips, and has no state."""

    def __call__(self, video: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns logits [B,K]."""
        ...


def recognition(
    classify: Classify,
    params: Params,
    state: LossState,
    batch: Batch,
    key: jax.Array,
    epoch: jax.Array,
    *,
    classes: int,
    smoothing: float = 0.1,
    mixup: bool = False,
    normalise: Normalise = jnp.asarray,
    train: bool = True,
) -> tuple[jax.Array, Mapping[str, jax.Array], LossState]:
    """Computes the cross-entropy with smoothed labels, averaged over clips.

    Args:
      classify: the network; its state is, for example, running statistics.
      params: the network's parameters.
      state: the state before the batch.
      batch: `video` [B,N,S,S,3] and `label` [B].
      key: key of the mixing.
      epoch: unused.
      classes: K, the number of actions.
      smoothing: the share of a label that is spread evenly over all actions.
      mixup: whether to mix clips (`training.mixing`).
      normalise: maps frames to the pixels that the network reads.
      train: whether to mix, and to update the state.

    Returns:
      The loss, an empty dictionary of parts, and the state after the batch.
    """
    del epoch
    video, targets = _examples(batch, classes, smoothing, normalise)
    if mixup and train:
        video, targets = mixing.mix(key, video, targets)
    logits, state = classify(params, state, video, train)
    return losses.cross_entropy(logits, targets), {}, state


def classification(
    bind: Callable[[Params, jax.Array], Classifier],
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    classes: int,
    smoothing: float = 0.1,
    mixup: bool = False,
    erasing: float = 0.0,
    normalise: Normalise = jnp.asarray,
    train: bool = True,
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """As `recognition`, for a network without a state.

    Args:
      bind: `(params, key of what training drops) ->` the bound network.
      params: as in `recognition`.
      batch: as in `recognition`.
      key: key of the erasing and mixing, and of what training drops.
      classes: as in `recognition`.
      smoothing: as in `recognition`.
      mixup: as in `recognition`.
      erasing: the share of the clips in which noise replaces a box (`training.erasing`).
      normalise: as in `recognition`.
      train: whether to erase, to mix, and to drop.

    Returns:
      The loss and an empty dictionary of parts.
    """
    mixing_key, dropping_key = jax.random.split(key)
    video, targets = _examples(batch, classes, smoothing, normalise)
    if erasing and train:
        video = erase(jax.random.fold_in(mixing_key, 1), video, erasing)
    if mixup and train:
        video, targets = mixing.mix(mixing_key, video, targets)
    logits = bind(params, dropping_key)(video, train=train)
    return losses.cross_entropy(logits, targets), {}


def _examples(
    batch: Batch, classes: int, smoothing: float, normalise: Normalise
) -> tuple[jax.Array, jax.Array]:
    """The clips [B,N,S,S,3] of a batch and their targets [B,K]."""
    targets = mixing.smooth_targets(jnp.asarray(batch["label"]), classes, smoothing)
    return normalise(jnp.asarray(batch["video"])), targets
