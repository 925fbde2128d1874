"""Reversible operations between PyTorch's arrays and Flax's.

Each turns one array into the arrays of a rule's targets (`forward`) and back, bit for bit
(`backward`). Both raise ValueError where a shape cannot work.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np


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
class Transpose:
    """A linear layer's weight [out, in] <-> kernel [in, out]."""

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """[out, in] -> [in, out]."""
        return (_matrix(source).T,)

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """[in, out] -> [out, in]."""
        (target,) = targets
        return _matrix(target).T


@dataclasses.dataclass(frozen=True)
class Split:
    """A weight [parts * out, in] that stacks several linear layers <-> their kernels [in, out]."""

    parts: int

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """[parts * out, in] -> parts times [in, out]."""
        return tuple(part.T for part in np.split(_matrix(source), self.parts))

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """Parts times [in, out] -> [parts * out, in]."""
        return np.concatenate([_matrix(target).T for target in targets])


@dataclasses.dataclass(frozen=True)
class SplitVector:
    """A vector that stacks several of one length, as a fused layer's bias does <-> those."""

    parts: int

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """[parts * out] -> parts times [out]."""
        if source.ndim != 1:
            raise ValueError("no vector")
        return tuple(np.split(source, self.parts))

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """Parts times [out] -> [parts * out]."""
        return np.concatenate(targets)


@dataclasses.dataclass(frozen=True)
class Squeeze:
    """An array with axes of length 1 <-> the array without them.

    Attributes:
      axes: their places in the source.
    """

    axes: tuple[int, ...]

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """Without `axes`."""
        return (np.squeeze(source, self.axes),)

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """With `axes`."""
        (target,) = targets
        return np.expand_dims(target, self.axes)


@dataclasses.dataclass(frozen=True)
class Patches:
    """A patch convolution [D, colours, 1, P, P] <-> a kernel [P * P * colours, D].

    The kernel's rows go by patch row, patch column, colour, as `layers.patches.patchify` does.

    Attributes:
      colours: numbers of a pixel.
      flat: the convolution is one over images, [D, colours, P, P].
    """

    colours: int = 3
    flat: bool = False

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """[D, colours, 1, P, P] -> [P * P * colours, D]."""
        source = source[:, :, None] if self.flat else source
        width, colours, frames, rows, columns = source.shape
        if (colours, frames, rows) != (self.colours, 1, columns):
            raise ValueError(f"no convolution of square patches of {self.colours} colours")
        return (source.transpose(2, 3, 4, 1, 0).reshape(-1, width),)

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """[P * P * colours, D] -> [D, colours, 1, P, P]."""
        (kernel,) = targets
        edge = math.isqrt(kernel.shape[0] // self.colours)
        tiles = kernel.reshape(1, edge, edge, self.colours, kernel.shape[1])
        tiles = tiles.transpose(4, 3, 0, 1, 2)
        return tiles[:, :, 0] if self.flat else tiles


@dataclasses.dataclass(frozen=True)
class Copies:
    """One array that several targets start from, each by `operation`.

    Back, the targets must not have gone apart.
    """

    count: int
    operation: Operation

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """What `operation` makes of the source, `count` times."""
        return self.operation.forward(source) * self.count

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """The source of the first copy, which the others equal."""
        size = len(targets) // self.count
        parts = [targets[i : i + size] for i in range(0, len(targets), size)]
        first, *others = (self.operation.backward(part) for part in parts)
        if not all(np.array_equal(first, other) for other in others):
            raise ValueError("copies that differ")
        return first


def _matrix(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2:
        raise ValueError("no matrix")
    return array
