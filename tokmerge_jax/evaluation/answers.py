"""The answer list as a prefix tree: answers share the word pieces that they begin with.

The decoder's state after a prefix depends only on the prefix, so it is computed once for all
answers that share it. Most answers are one word piece and an end token: rows of five ids would hold
several times as many positions as the tree has nodes.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

_STEP = 64  # tree sizes are multiples of this, so that few programs are compiled


@dataclasses.dataclass(frozen=True)
class Tree:
    """Prefixes of answers as one row of word pieces, for `signatures.NextPiece`.

    Attributes:
      ids: the last piece of each of M prefixes.
      positions: the position of that piece in its answers.
      visible: the attention mask [query, key]: a prefix sees its own pieces, padding sees itself.
      places: for each of E steps, the index of the prefix that it continues.
      pieces: for each step, the piece that it adds.
    """

    ids: Int[np.ndarray, " M"]
    positions: Int[np.ndarray, " M"]
    visible: Bool[np.ndarray, "M M"]
    places: Int[np.ndarray, " E"]
    pieces: Int[np.ndarray, " E"]

    def padded(self, nodes: int) -> "Tree":
        """The same tree padded to `nodes` prefixes."""
        more = nodes - len(self.ids)
        visible = np.eye(nodes, dtype=bool)
        visible[: len(self.ids), : len(self.ids)] = self.visible
        ids, positions = (np.pad(x, (0, more)) for x in (self.ids, self.positions))
        return dataclasses.replace(self, ids=ids, positions=positions, visible=visible)


class Answers:
    """A list of A answers of at most L word pieces, start token included."""

    def __init__(self, ids: Int[np.ndarray, "A L"]) -> None:
        """Builds the tree of the answers' ids; 0 is padding, and all share one start token."""
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
        """Returns (tree with a step from the start token to every first piece, index [A] of each
        answer's first piece among those steps).
        """
        pieces, place = np.unique(self._ids[:, 1], return_inverse=True)
        places = np.zeros_like(pieces)
        return Tree(
            self._pieces[:1], self._positions[:1], np.ones((1, 1), bool), places, pieces
        ), place

    def tree(self, kept: Int[np.ndarray, " k"]) -> Tree:
        """The tree of all prefixes of the answers `kept`, with k (L - 1) steps."""
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
        """Upper bound of `size_of` for trees of `kept` answers."""
        longest = np.sort(self._steps.sum(axis=1))[-kept:]
        return _rounded(1 + int((longest - 1).sum()))

    def log_likelihood(self, kept: Int[np.ndarray, " k"], steps: np.ndarray) -> np.ndarray:
        """Sums the log-probabilities `steps` of a tree's steps for each answer; [k]."""
        return np.where(self._steps[kept], steps.reshape(len(kept), -1), 0).sum(axis=1)


def size_of(trees: Sequence[Tree]) -> int:
    """A common, rounded number of nodes to which all trees can be padded."""
    return _rounded(max(len(tree.ids) for tree in trees))


def _rounded(nodes: int) -> int:
    return nodes if nodes == 1 else -(-nodes // _STEP) * _STEP
