"""Reversible conversions between PyTorch's arrays and Flax's.

Each converts one array into the arrays of a rule's targets (`forward`) and back, bit for bit
(`backward`; a resized table stays resized). Both raise ValueError for impossible shapes.
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from einops import rearrange

from tokmerge_jax import resampling
from tokmerge_jax.names import Operation


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
    """A vector that stacks several of equal length (a fused layer's bias) <-> the vectors."""

    parts: int

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """[parts * out] -> parts times [out]."""
        if source.ndim != 1:
            raise ValueError("not a vector")
        return tuple(np.split(source, self.parts))

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """Parts times [out] -> [parts * out]."""
        return np.concatenate(targets)


@dataclasses.dataclass(frozen=True)
class Squeeze:
    """An array with axes of length 1 <-> the array without them.

    Attributes:
      axes: indices of the axes of length 1 in the source.
    """

    axes: tuple[int, ...]

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """Removes `axes`."""
        return (np.squeeze(source, self.axes),)

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """Inserts `axes`."""
        (target,) = targets
        return np.expand_dims(target, self.axes)


@dataclasses.dataclass(frozen=True)
class Stack:
    """An array whose first axis counts layers <-> the arrays of the layers, each by `operation`.

    Attributes:
      count: number of layers.
      operation: converts a layer's array to one target.
    """

    count: int
    operation: Operation

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """[count, ...] -> count times the result of `operation`."""
        if len(source) != self.count:
            raise ValueError(f"not {self.count} layers")
        return tuple(part for layer in source for part in self.operation.forward(layer))

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """Count targets -> [count, ...]."""
        return np.stack([self.operation.backward([target]) for target in targets])


@dataclasses.dataclass(frozen=True)
class Heads:
    """A projection with an axis of heads, [C, K, D] or [K, D] <-> a kernel [C, K D], a bias [K D].

    Attributes:
      heads: K.
      outputs_first: whether C are the outputs, so that the kernel is [K D, C].
    """

    heads: int
    outputs_first: bool = False

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """Joins the axes of heads and of their channels."""
        if source.ndim not in (2, 3) or source.shape[-2] != self.heads:
            raise ValueError(f"no projection of {self.heads} heads")
        joined = rearrange(source, "... k d -> ... (k d)")
        return (joined.T if self.outputs_first else joined,)

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """Splits the axes again."""
        (target,) = targets
        joined = target.T if self.outputs_first else target
        return rearrange(joined, "... (k d) -> ... k d", k=self.heads)


@dataclasses.dataclass(frozen=True)
class Zeros:
    """A vector that must be 0, which the network therefore lacks <-> no parameter.

    Attributes:
      length: of the vector.
    """

    length: int

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """No target."""
        if source.shape != (self.length,) or source.any():
            raise ValueError("not zeros")
        return ()

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """The zeros."""
        del targets
        return np.zeros(self.length, np.float32)


@dataclasses.dataclass(frozen=True)
class Patches:
    """A patch convolution [D, colours, frames, S, S] <-> a kernel [frames * S * S * colours, D].

    The kernel's rows go by frame, patch row, patch column, colour, within a frame as
    `layers.functional.patchify` does. S is the edge of a patch; it can be 1.

    Attributes:
      colours: number of values of a pixel.
      flat: whether the convolution is one over images, [D, colours, S, S].
      frames: number of frames that it covers.
    """

    colours: int = 3
    flat: bool = False
    frames: int = 1

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """[D, colours, frames, S, S] -> [frames * S * S * colours, D]."""
        source = source[:, :, None] if self.flat else source
        _, colours, frames, rows, columns = source.shape
        if (colours, frames, rows) != (self.colours, self.frames, columns):
            raise ValueError(f"no convolution of square patches of {self.colours} colours")
        return (rearrange(source, "d colours t h w -> (t h w colours) d"),)

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """[frames * S * S * colours, D] -> [D, colours, frames, S, S]."""
        (kernel,) = targets
        edge = math.isqrt(kernel.shape[0] // (self.frames * self.colours))
        tiles = rearrange(
            kernel,
            "(t h w colours) d -> d colours t h w",
            t=self.frames,
            h=edge,
            w=edge,
        )
        return tiles[:, :, 0] if self.flat else tiles


@dataclasses.dataclass(frozen=True)
class Copies:
    """One array <-> `count` equal targets, each converted by `operation`.

    `backward` requires that the targets are still equal.
    """

    count: int
    operation: Operation

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """The result of `operation`, `count` times."""
        return self.operation.forward(source) * self.count

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """The source of the first copy; the others must equal it."""
        size = len(targets) // self.count
        parts = [targets[i : i + size] for i in range(0, len(targets), size)]
        first, *others = (self.operation.backward(part) for part in parts)
        if not all(np.array_equal(first, other) for other in others):
            raise ValueError("copies that differ")
        return first


class Resize(Operation):
    """A learned position table [1, N, C] <-> [M, C], resized to the network's M positions.

    The source may lack its first axis, as our own tables do.
    """

    @abstractmethod
    def resized(self, table: np.ndarray) -> np.ndarray:
        """[N, C] -> [M, C]; returns the table itself if N = M."""

    def forward(self, source: np.ndarray) -> tuple[np.ndarray, ...]:
        """[1, N, C] -> [M, C]."""
        return (self.resized(_matrix(source.reshape(source.shape[-2:]))),)

    def backward(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """[M, C] -> [1, M, C], without resizing."""
        (target,) = targets
        return target[None]


@dataclasses.dataclass(frozen=True)
class ResizeGrid(Resize):
    """Resizes the positions of a class token and a square grid (row by row), bicubic as PyTorch.

    Bicubic is Keys' (1981) with a = -0.75, half-pixel centres and no antialiasing.

    Attributes:
      edge: the grid wanted has `edge` x `edge` places.
    """

    edge: int

    def resized(self, table: np.ndarray) -> np.ndarray:
        """[1 + E * E, C] -> [1 + S * S, C]."""
        edge = math.isqrt(len(table) - 1)
        if edge == self.edge:
            return table
        if edge == 0 or edge**2 != len(table) - 1:
            raise ValueError("no grid")
        table = table.astype(np.float32, copy=False)
        grid = rearrange(table[1:], "(h w) c -> h w c", h=edge)
        weights = resampling.bicubic(edge, self.edge)
        grid = np.einsum("ah,bw,hwc->abc", weights, weights, grid, optimize=True)
        return np.concatenate([table[:1], rearrange(grid, "h w c -> (h w) c")])


@dataclasses.dataclass(frozen=True)
class ResizeTimes(Resize):
    """Resizes one position per frame: new frame i takes that of old frame floor(i T / frames).

    Attributes:
      frames: number of frames of the network.
    """

    frames: int

    def resized(self, table: np.ndarray) -> np.ndarray:
        """[T, C] -> [frames, C]."""
        if len(table) == self.frames:
            return table
        return table[np.arange(self.frames) * len(table) // self.frames]


def _matrix(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2:
        raise ValueError("no matrix")
    return array
