"""How a checkpoint's names and arrays become a network's parameters: the records of such a table.

Systems write them (`checkpoints/tables/`), `checkpoints` applies them.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

StateDict = Mapping[str, np.ndarray | np.generic]
"""Tensors by PyTorch's names; scalars may be numpy's own."""


@runtime_checkable
class Operation(Protocol):
    """Turns one source array into target arrays, and back."""

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """The target arrays."""
        ...

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """The source array."""
        ...


@dataclasses.dataclass(frozen=True)
class Identity:
    """The array as it is."""

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
      source: its name there.
      targets: the parameters' paths, joined by "/".
      operation: how it becomes them.
    """

    source: str
    targets: tuple[str, ...]
    operation: Operation = dataclasses.field(default_factory=Identity)


@dataclasses.dataclass(frozen=True)
class RuleSet:
    """A network's table.

    Attributes:
      rules: what fills every parameter of the network.
      ignored: patterns (matched from a name's start) of tensors that the network has no use for.
      dropped: patterns of tensors that the network has no place for although the checkpoint's
        needs them, and what follows from that and can be done; who loads them is warned.
      renames: (pattern, replacement), applied in order to the names of a checkpoint first: other
        spellings of the names that `rules` and `ignored` know.
      tied: second names of tensors that the network shares, and their first names; the tensors
        must be equal.
      both_names: `unload` gives shared tensors under both names, for networks that share less.
      fresh: parameters that a checkpoint of this kind lacks, and what draws them for a training
        that starts from it, from their shape.
      neutral: what `fresh` draws changes nothing, so that the weights can be used untrained too.
      describe: tells the sizes of the network that a checkpoint holds, for the error where
        they are not the configuration's.
      marker: a pattern that some name (as the file has it) of such a checkpoint matches.
    """

    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()
    dropped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    renames: tuple[tuple[str, str], ...] = ()
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    both_names: bool = False
    fresh: Mapping[str, Callable[[Sequence[int]], np.ndarray]] = dataclasses.field(
        default_factory=dict
    )
    neutral: bool = False
    describe: Callable[[StateDict], str] | None = None
    marker: str = ""

    def rename(self, name: str) -> str:
        """A checkpoint's name as the rules spell it."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def ignores(self, name: str) -> bool:
        """Whether a tensor (its name already renamed) may be left out."""
        return any(re.match(pattern, name) for pattern in self.ignored)

    def drops(self, name: str) -> str | None:
        """Why it matters that a tensor (its name already renamed) is left out, if it is dropped."""
        return next((why for pattern, why in self.dropped.items() if re.match(pattern, name)), None)
