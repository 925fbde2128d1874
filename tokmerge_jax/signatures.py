"""Signatures of the functions that systems are composed of (`system`): what goes in and comes out.

Arrays of a signature are on the host or a device; functions are pure, and compiled by whoever calls
them. The axes are those of `types`.
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
"""Named results of an encoder, one row a video or text."""

Memory = PyTree
"""What is computed once and read often, by functions of the same record alone; B leading rows."""

LossState = PyTree
"""What a loss carries from step to step beside the parameters."""

Transform = Callable[[np.ndarray], np.ndarray]
"""Frames uint8 [T,H,W,3] -> [T,S,S,3]; picklable."""

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray | tuple[np.ndarray, bool]]
"""Frames uint8 [T,H,W,3] -> [T,S,S,3], random; of actions also whether it mirrored them."""

Collate = Callable[[Sequence[Any]], Mapping[str, np.ndarray]]  # rows of the system's own kind
"""Training rows (`data.datasets.galleries`) -> what the loss needs beside their videos, by name."""

LearningRate = Callable[[ArrayLike], jax.Array]
"""The learning rate of a step, counted from 0."""


@runtime_checkable
class Tokenize(Protocol):
    """Texts -> ids, cleaning included; loads its vocabulary when it is first called."""

    def __call__(
        self, texts: Sequence[str]
    ) -> tuple[Int32[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]]:
        """Ids, and which of them are not padding."""
        ...

    def report_cut(self, texts: Sequence[str], what: str) -> None:
        """Reports how many of the texts, `what` in words, are cut."""
        ...


@runtime_checkable
class EncodeVideo(Protocol):
    """Encodes videos: "embedding" and "tokens", as the record says that the function is in."""

    def __call__(self, params: Params, video: UInt8[Array, "B T S S 3"]) -> Features:
        """Features of frames of the configuration's T and S.

        Returns:
          "embedding", float32 [B,F,E] of unit norm; "tokens" [B,N,C].
        """
        ...


@runtime_checkable
class EncodeText(Protocol):
    """Encodes texts: "embedding", and "states" where there is a matching head."""

    def __call__(
        self, params: Params, text_ids: Int[Array, "B L"], text_mask: Bool[Array, "B L"]
    ) -> Features:
        """Features of texts.

        Returns:
          "embedding", float32 [B,E] of unit norm; "states" [B,L,C].
        """
        ...


@runtime_checkable
class VideoMemory(Protocol):
    """What every text that is read with a video shares."""

    def __call__(self, params: Params, tokens: Float[Array, "B N C"]) -> Memory:
        """Of the tokens of B videos."""
        ...


@runtime_checkable
class Match(Protocol):
    """Scores texts with videos by the matching head."""

    def __call__(
        self,
        params: Params,
        memory: Memory,
        states: Float[Array, "B P L C"],
        text_mask: Bool[Array, "B P L"],
    ) -> Float32[jax.Array, "B P"]:
        """How well each of P texts matches its video; higher is better."""
        ...


@runtime_checkable
class Choose(Protocol):
    """Tells how likely each of a video's options is."""

    def __call__(
        self,
        params: Params,
        memory: Memory,
        video: Float[Array, "B F E"],
        words: Float[Array, "B P E"],
        states: Float[Array, "B P L C"],
        text_mask: Bool[Array, "B P L"],
    ) -> Features:
        """Probabilities [B,P] of P options, from embeddings of the video and of the texts.

        Returns:
          "match", by the matching head; "contrast", by the cosines.
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
        """What every answer to one of G = B * P questions shares."""
        ...


@runtime_checkable
class NextPiece(Protocol):
    """Tells how likely word pieces are to follow beginnings of answers."""

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
        """Log-probabilities that each of `pieces` comes after its place in `ids`.

        Args:
          params: the system's.
          memory: of `Read`, G = B * P questions.
          text_mask: which of the questions' ids are not padding.
          ids: beginnings of answers, many in a row, which share what they begin with.
          visible: [reader, read], which places belong to what a reader has read, itself included.
          positions: places of `ids` in their answers.
          places: E places of `ids`.
          pieces: what may follow each.
        """
        ...


@runtime_checkable
class Write(Protocol):
    """Writes texts."""

    def __call__(self, params: Params, memory: Memory, key: jax.Array | None = None) -> Features:
        """Texts about what G memories are of; `key` is of the word pieces that are drawn.

        Returns:
          "ids", int32 [G,L]; "score", float32 [G].
        """
        ...


@runtime_checkable
class Caption(Protocol):
    """Writes a caption of each video."""

    def __call__(
        self, params: Params, video: UInt8[Array, "B T S S 3"], key: jax.Array | None = None
    ) -> Features:
        """Captions of B videos; `key` is of the word pieces that are drawn, where some are.

        Returns:
          "ids", int32 [B,L]; "score", float32 [B].
        """
        ...


@runtime_checkable
class Classify(Protocol):
    """Tells which actions videos show."""

    def __call__(
        self, params: Params, video: UInt8[Array, "B T S S 3"]
    ) -> Float32[jax.Array, "B V K"]:
        """Logits of K actions for each of the V views that the frames are of."""
        ...


@runtime_checkable
class TraceVideo(Protocol):
    """Tells how tokens merge."""

    def __call__(
        self, params: Params, video: UInt8[Array, "B T S S 3"]
    ) -> Mapping[str, Sequence[jax.Array]]:
        """One entry a merging layer.

        Returns:
          "saliency", "origin", "size" (see `visualize.merges`); where whole frames merge also
          "frames", int32 [B,T]: which of the frames that are left holds each.
        """
        ...


@runtime_checkable
class Loss(Protocol):
    """A training loss that depends on the batch alone."""

    def __call__(
        self, params: Params, batch: Batch, key: jax.Array, *, train: bool = True
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """A scalar, and named scalars to log; `train` switches dropout on, random by `key`."""
        ...


@runtime_checkable
class StatefulLoss(Protocol):
    """A training loss that carries a state from step to step, of which no gradient is asked."""

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
        """As of `Loss`, and the next state; `epoch`, float32 [], is how many have finished."""
        ...
