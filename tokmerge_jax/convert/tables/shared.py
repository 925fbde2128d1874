"""Rows that recur: linear layers and norms; and rows that copy."""

import itertools
from collections.abc import Iterable

from tokmerge_jax.convert.operations import Copies, Operation, Transpose
from tokmerge_jax.convert.rules import Rule


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


def embedding(source: str, target: str) -> tuple[Rule, ...]:
    """A lookup table."""
    return (Rule(f"{source}.weight", (f"{target}/embedding",)),)


def shared(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules with those of one source joined into one that makes copies."""
    by_source = sorted(rules, key=lambda rule: rule.source)
    groups = [tuple(g) for _, g in itertools.groupby(by_source, key=lambda rule: rule.source)]
    return tuple(map(_joined, groups))


def _joined(rules: tuple[Rule, ...]) -> Rule:
    first, *others = rules
    targets = tuple(target for rule in rules for target in rule.targets)
    return Rule(first.source, targets, Copies(len(rules), first.operation)) if others else first
