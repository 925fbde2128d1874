"""Signatures of the functions that a `system.System` consists of.

Arrays are on the host or a device; the functions are pure, and the caller compiles them. The names
of axes are those of `types`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Float32, Int, Int32, PyTree, UInt8

from tokmerge_jax.types import Batch, Params

Array = np.ndarray | jax.Array

Features = Mapping[str, jax.Array]
"""Named results of an encoder, one row per video or text."""

Memory = PyTree
"""A key/value cache with B leading rows, read only by functions of the record that made it."""

LossState = PyTree
"""The state that a loss carries from step to step, beside the parameters."""

Transform = Callable[[np.ndarray], np.ndarray]
"""Frames uint8 [T,H,W,3] -> [T,S,S,3]; picklable."""

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray | tuple[np.ndarray, bool]]
"""Frames uint8 [T,H,W,3] -> [T,S,S,3], random; for action recognition also whether mirrored."""

Collate = Callable[[Sequence[Any]], Mapping[str, np.ndarray]]  # rows of the system's own kind
"""Training rows (`data.datasets.galleries`) -> named arrays that the loss needs beside videos."""

LearningRate = Callable[[ArrayLike], jax.Array]
"""Step, counted from 0 -> learning rate."""


@runtime_checkable
class Tokenize(Protocol):
    """Cleans texts and converts them to ids; loads its vocabulary at the first call."""

    def __call__(
        self, texts: Sequence[str]
    ) -> tuple[Int32[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]]:
        """Returns (ids, mask: False on padding)."""
        ...

    def report_cut(self, texts: Sequence[str], what: str) -> None:
        """Reports how many of the texts (called `what`) are cut."""
        ...


@runtime_checkable
class EncodeVideo(Protocol):
    """Encodes videos to "embedding", "tokens" or both, as its record documents."""

    def __call__(self, params: Params, video: UInt8[Array, "B T S S 3"]) -> Features:
        """Encodes frames with the configuration's T and S.

        Returns:
          "embedding", float32 [B,F,E] of unit norm; "tokens" [B,N,C].
        """
        ...


@runtime_checkable
class EncodeText(Protocol):
    """Encodes texts to "embedding" and, with a matching head, "states"."""

    def __call__(
        self, params: Params, text_ids: Int[Array, "B L"], text_mask: Bool[Array, "B L"]
    ) -> Features:
        """Encodes tokenised texts.

        Returns:
          "embedding", float32 [B,E] of unit norm; "states" [B,L,C].
        """
        ...


@runtime_checkable
class VideoMemory(Protocol):
    """Computes a video's key/value cache, shared by all texts that are read with it."""

    def __call__(self, params: Params, tokens: Float[Array, "B N C"]) -> Memory:
        """Returns the cache for the tokens of B videos."""
        ...


@runtime_checkable
class Match(Protocol):
    """Scores pairs of text and video with the matching head."""

    def __call__(
        self,
        params: Params,
        memory: Memory,
        states: Float[Array, "B P L C"],
        text_mask: Bool[Array, "B P L"],
    ) -> Float32[jax.Array, "B P"]:
        """Returns how well each of P texts matches its video; higher is better."""
        ...


@runtime_checkable
class Choose(Protocol):
    """Computes the probabilities of a video's options."""

    def __call__(
        self,
        params: Params,
        memory: Memory,
        video: Float[Array, "B F E"],
        text: Float[Array, "B P E"],
        states: Float[Array, "B P L C"] | None,
        text_mask: Bool[Array, "B P L"],
    ) -> Features:
        """Returns probabilities [B,P] of P options; memory and states are None without a head.

        Returns:
          "contrast", from the cosines of the embeddings; with a matching head, its "match".
        """
        ...


@runtime_checkable
class Read(Protocol):
    """Reads questions about videos."""

    def __call__(
        self,
        params: Params,
        memory: Memory,
        text_ids: Int[Array, "B P L"],
        text_mask: Bool[Array, "B P L"],
    ) -> Memory:
        """Returns the key/value cache of G = B * P questions, shared by all answers."""
        ...


@runtime_checkable
class NextPiece(Protocol):
    """Computes log-probabilities of the word pieces that follow prefixes of answers."""

    def __call__(
        self,
        params: Params,
        memory: Memory,
        text_mask: Bool[Array, "B P L"],
        *,
        ids: Int[Array, "G M"],
        visible: Bool[Array, "G M M"],
        positions: Int[Array, "G M"],
        places: Int[Array, "G E"],
        pieces: Int[Array, "G E"],
    ) -> Float32[jax.Array, "G E"]:
        """Returns log-probabilities [G,E] that each of `pieces` follows its prefix.

        Args:
          params: the system's parameters.
          memory: the result of `Read` for G = B * P questions.
          text_mask: False on padding of the questions.
          ids: M prefixes of answers in one row (`evaluation.answers.Tree`).
          visible: attention mask [query, key] between the prefixes.
          positions: position of each of `ids` in its answers.
          places: index of the prefix that each of `pieces` continues.
          pieces: the word pieces to score.
        """
        ...


@runtime_checkable
class Write(Protocol):
    """Generates texts."""

    def __call__(self, params: Params, memory: Memory, keys: jax.Array | None = None) -> Features:
        """Generates a text for each of G rows of `memory`; `keys` [G] are for sampling.

        Returns:
          "ids", int32 [G,L]; "score", float32 [G].
        """
        ...


@runtime_checkable
class Caption(Protocol):
    """Generates a caption for each video."""

    def __call__(
        self, params: Params, video: UInt8[Array, "B T S S 3"], keys: jax.Array | None = None
    ) -> Features:
        """Generates captions of B videos; random `keys` [B] are for sampling word pieces.

        Returns:
          "ids", int32 [B,L]; "score", float32 [B].
        """
        ...


@runtime_checkable
class Classify(Protocol):
    """Classifies actions."""

    def __call__(
        self, params: Params, video: UInt8[Array, "B T S S 3"]
    ) -> Float32[jax.Array, "B V K"]:
        """Returns logits of K actions for each of the V views in the frames."""
        ...


@runtime_checkable
class TraceVideo(Protocol):
    """Traces how tokens merge."""

    def __call__(
        self, params: Params, video: UInt8[Array, "B T S S 3"]
    ) -> Mapping[str, Sequence[jax.Array]]:
        """Returns one array per merging layer, by name.

        Returns:
          "saliency", "origin", "size", "start" (see `visualize.merges`); if whole frames merge,
          also "frames", int32 [B,T]: index of the remaining frame that holds each frame.
        """
        ...


@runtime_checkable
class Loss(Protocol):
    """A training loss that depends only on the batch."""

    def __call__(
        self, params: Params, batch: Batch, key: jax.Array, *, train: bool = True
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Returns (loss, named scalars to log); `train` enables dropout, with `key`."""
        ...


@runtime_checkable
class StatefulLoss(Protocol):
    """A training loss that carries a state, without gradient, from step to step."""

    def __call__(
        self,
        params: Params,
        state: LossState,
        batch: Batch,
        key: jax.Array,
        epoch: jax.Array,
        *,
        train: bool = True,
    ) -> tuple[jax.Array, Mapping[str, jax.Array], LossState]:
        """Returns as `Loss`, plus the next state; `epoch` float32 []: number of finished epochs."""
        ...
