"""Rows that recur: linear layers and norms."""

from tokmerge_jax.convert.operations import Operation, Transpose
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
