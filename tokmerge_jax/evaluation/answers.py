"""An answer list as a tree: answers that begin alike share their beginnings.

What follows a beginning depends on nothing else, so its state in the decoder is computed once for
all answers that have it. Most answers are one word piece and an end token: rows of five ids would
hold several times as many positions as the tree has nodes.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

_STEP = 64  # sizes of trees are multiples of this, so that few programs are compiled


@dataclasses.dataclass(frozen=True)
class Tree:
    """Beginnings of answers as one row of word pieces, for `signatures.NextPiece`.

    Attributes:
      ids: the last piece of each of M beginnings.
      positions: its place in its answers.
      visible: [reader, read], the pieces of a beginning; a place that only pads sees itself.
      places: the beginning that each of E steps goes out from.
      pieces: the piece that the step adds.
    """

    ids: Int[np.ndarray, " M"]
    positions: Int[np.ndarray, " M"]
    visible: Bool[np.ndarray, "M M"]
    places: Int[np.ndarray, " E"]
    pieces: Int[np.ndarray, " E"]

    def padded(self, nodes: int) -> "Tree":
        """The same with `nodes` beginnings, those that are added meaning nothing."""
        more = nodes - len(self.ids)
        visible = np.eye(nodes, dtype=bool)
        visible[: len(self.ids), : len(self.ids)] = self.visible
        ids, positions = (np.pad(x, (0, more)) for x in (self.ids, self.positions))
        return dataclasses.replace(self, ids=ids, positions=positions, visible=visible)


class Answers:
    """A list of A answers of at most L word pieces, start token included."""

    def __init__(self, ids: Int[np.ndarray, "A L"]) -> None:
        """Takes the answers' ids; 0 is padding, and the start token is that of the first one."""
        self._ids = ids
        self._steps = np.asarray(ids[:, 1:] != 0)
        nodes: dict[tuple[int, ...], int] = {(int(ids[0, 0]),): 0}
        self._paths = np.zeros((len(ids), ids.shape[1] - 1), np.int32)
        for row, answer in enumerate(ids.tolist()):
            for step in np.flatnonzero(self._steps[row]):
                beginning = (answer[0], *answer[1 : step + 1])
                self._paths[row, step] = nodes.setdefault(beginning, len(nodes))
        self._pieces = np.array([beginning[-1] for beginning in nodes], np.int32)
        self._positions = np.array([len(beginning) - 1 for beginning in nodes], np.int32)
        self._above = [
            [nodes[beginning[: i + 1]] for i in range(len(beginning))] for beginning in nodes
        ]

    def __len__(self) -> int:
        return len(self._ids)

    def first_pieces(self) -> tuple[Tree, Int[np.ndarray, " A"]]:
        """The start token with a step to every first piece, and each answer's place among those."""
        pieces, place = np.unique(self._ids[:, 1], return_inverse=True)
        places = np.zeros_like(pieces)
        return Tree(
            self._pieces[:1], self._positions[:1], np.ones((1, 1), bool), places, pieces
        ), place

    def tree(self, kept: Int[np.ndarray, " k"]) -> Tree:
        """All beginnings of the answers `kept`, and each of their steps (k times L - 1)."""
        paths = self._paths[kept]
        nodes = np.unique(np.append(paths, 0))
        visible = np.zeros((len(nodes), len(nodes)), bool)
        for row, node in enumerate(nodes):
            visible[row, np.searchsorted(nodes, self._above[node])] = True
        return Tree(
            self._pieces[nodes],
            self._positions[nodes],
            visible,
            np.searchsorted(nodes, paths).ravel().astype(np.int32),
            self._ids[kept, 1:].ravel().astype(np.int32),
        )

    def most_nodes(self, kept: int) -> int:
        """What `size_of` can be at most for trees of `kept` answers."""
        longest = np.sort(self._steps.sum(axis=1))[-kept:]
        return _rounded(1 + int((longest - 1).sum()))

    def log_likelihood(self, kept: Int[np.ndarray, " k"], steps: np.ndarray) -> np.ndarray:
        """Sums of the log-probabilities `steps` of a tree's steps, by answer [k]."""
        return np.where(self._steps[kept], steps.reshape(len(kept), -1), 0).sum(axis=1)


def size_of(trees: Sequence[Tree]) -> int:
    """A number of nodes that all of the trees fit into, one of few."""
    return _rounded(max(len(tree.ids) for tree in trees))


def _rounded(nodes: int) -> int:
    return nodes if nodes == 1 else -(-nodes // _STEP) * _STEP
