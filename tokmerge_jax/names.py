"""Records of the tables that convert a checkpoint's names and arrays to a network's parameters.

`checkpoints/tables/` holds the tables, `checkpoints` applies them.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

StateDict = Mapping[str, np.ndarray | np.generic]
"""PyTorch's name -> tensor; scalars may be NumPy's."""


@runtime_checkable
class Operation(Protocol):
    """Converts one source array to target arrays, and back."""

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """The target arrays."""
        ...

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """The source array."""
        ...


@dataclasses.dataclass(frozen=True)
class Identity:
    """Keeps the array unchanged."""

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """One target, equal to the source."""
        return (source,)

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """The one target."""
        (target,) = targets
        return target


@dataclasses.dataclass(frozen=True)
class Rule:
    """One tensor of the checkpoint and the parameters that it fills.

    Attributes:
      source: the tensor's name in the checkpoint.
      targets: the parameters' paths, joined by "/".
      operation: the conversion.
    """

    source: str
    targets: tuple[str, ...]
    operation: Operation = dataclasses.field(default_factory=Identity)


@dataclasses.dataclass(frozen=True)
class RuleSet:
    """The table for one kind of checkpoint.

    Attributes:
      rules: the rules, which fill every parameter of the network.
      ignored: regexes (matched from a name's start) of tensors that the network does not need.
      dropped: regex -> reason and remedy, for tensors that the checkpoint's network needs but ours
        lacks; loading them gives a warning.
      computed: name -> (noun phrase; function that returns it), for tensors that our network
        computes; in evaluation, stored ones must equal them, within half precision.
      renames: (regex, replacement) pairs, applied first and in order, that map other spellings of
        names to those in `rules` and `ignored`.
      tied: second name -> first name of tensors that the network shares; they must be equal.
      both_names: whether `unload` writes shared tensors under both names, for networks that do not
        share them.
      fresh: parameter -> function shape -> initial value, for parameters that such a checkpoint
        lacks and training initialises.
      neutral: whether the values of `fresh` change nothing, so that the weights work untrained.
      restart: the same, for parameters that training initialises if any of them has another shape
        in the checkpoint: a classifier of other actions.
      describe: checkpoint -> the sizes of its network in words, for errors about sizes.
      marker: a regex that matches some name in every such checkpoint (before renaming).
    """

    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()
    dropped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    computed: Mapping[str, tuple[str, Callable[[], np.ndarray]]] = dataclasses.field(
        default_factory=dict
    )
    renames: tuple[tuple[str, str], ...] = ()
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    both_names: bool = False
    fresh: Mapping[str, Callable[[Sequence[int]], np.ndarray]] = dataclasses.field(
        default_factory=dict
    )
    neutral: bool = False
    restart: Mapping[str, Callable[[Sequence[int]], np.ndarray]] = dataclasses.field(
        default_factory=dict
    )
    describe: Callable[[StateDict], str] | None = None
    marker: str = ""

    def rename(self, name: str) -> str:
        """Converts a checkpoint's name to the spelling of the rules."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def ignores(self, name: str) -> bool:
        """Whether a tensor, by its renamed name, is ignored."""
        return any(re.match(pattern, name) for pattern in self.ignored)

    def drops(self, name: str) -> str | None:
        """The reason in `dropped` that applies to a tensor, by its renamed name; None if none."""
        return next((why for pattern, why in self.dropped.items() if re.match(pattern, name)), None)
