"""Shared rules: linear layers, norms, copies, and initial values of missing parameters."""

import itertools
import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tokmerge_jax.checkpoints.operations import Copies, Operation, Transpose
from tokmerge_jax.checkpoints.rules import Rule


def linear(source: str, target: str, operation: Operation | None = None) -> tuple[Rule, ...]:
    """A linear layer's `weight` (transposed, or by `operation`) and `bias`."""
    return (
        Rule(f"{source}.weight", (f"{target}/kernel",), operation or Transpose()),
        Rule(f"{source}.bias", (f"{target}/bias",)),
    )


def norm(source: str, target: str) -> tuple[Rule, ...]:
    """A layer norm's `weight` (our scale) and `bias`."""
    return (
        Rule(f"{source}.weight", (f"{target}/scale",)),
        Rule(f"{source}.bias", (f"{target}/bias",)),
    )


def batch_norm(source: str, target: str) -> tuple[Rule, ...]:
    """A batch norm's weight and bias, and its running statistics."""
    return (
        *norm(source, target),
        Rule(f"{source}.running_mean", (f"batch_stats/{target}/mean",)),
        Rule(f"{source}.running_var", (f"batch_stats/{target}/var",)),
    )


def embedding(source: str, target: str) -> tuple[Rule, ...]:
    """A lookup table."""
    return (Rule(f"{source}.weight", (f"{target}/embedding",)),)


def shared(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Joins rules with the same source into one rule that copies it to all targets."""
    by_source = sorted(rules, key=lambda rule: rule.source)
    groups = [tuple(g) for _, g in itertools.groupby(by_source, key=lambda rule: rule.source)]
    return tuple(map(_joined, groups))


def uniform(target: str, bound: float) -> Callable[[Sequence[int]], np.ndarray]:
    """A function shape -> uniform draw within `bound`, always the same for a target."""
    return lambda shape: _generator(target).uniform(-bound, bound, shape)


def normal(target: str, deviation: float) -> Callable[[Sequence[int]], np.ndarray]:
    """A function shape -> normal draw, always the same for a target."""
    return lambda shape: _generator(target).normal(0, deviation, shape)


def begun(target: str) -> Callable[[Sequence[int]], np.ndarray]:
    """A function shape -> the value that our networks initialise a parameter with.

    It is the same in every run. Kernels are drawn by the number of their inputs.
    """
    if target.endswith("/scale"):
        return np.ones
    if target.endswith("/bias"):
        return np.zeros
    if target == "temperature":
        return lambda shape: np.full(shape, 0.07)
    if target.endswith("/embedding"):
        return normal(target, 0.02)
    return lambda shape: normal(target, shape[0] ** -0.5)(shape)


def _generator(target: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(target.encode()))


def _joined(rules: tuple[Rule, ...]) -> Rule:
    first, *others = rules
    targets = tuple(target for rule in rules for target in rule.targets)
    return Rule(first.source, targets, Copies(len(rules), first.operation)) if others else first
