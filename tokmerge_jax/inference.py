"""A system with its weights, which encodes, classifies and traces arrays in memory.

Example::

  model = tokmerge_jax.load("demo")
  video = model.encode_video(model.read(["a.mp4", "b.mp4"]))
  words = model.encode_text(["a small red square moves left"])
  print(model.similarity(video, words))  # [2, 1]
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float32, PyTree, UInt8

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.data.video.clips import Decoder, decoder
from tokmerge_jax.errors import check_list
from tokmerge_jax.evaluation import zero_shot
from tokmerge_jax.evaluation.actions import view_scores
from tokmerge_jax.own_videos.actions import vectors_of
from tokmerge_jax.own_videos.search import check_texts
from tokmerge_jax.signatures import Features
from tokmerge_jax.system import Recognition, Retrieval, System, ZeroShot
from tokmerge_jax.tasks import pictures
from tokmerge_jax.types import Params, UserError
from tokmerge_jax.visualize import Merge

Encoded = Mapping[str, np.ndarray]
"""Named results of an encoder, one row per video or text: "embedding", and inputs of a head."""


class Model:
    """A system with its weights on all devices of this machine.

    Each function is compiled once per batch size.

    Attributes:
      system: the system.
      params: its parameters.
    """

    def __init__(self, system: System, params: Params) -> None:
        """Binds a system to parameters; `tokmerge_jax.load` does this by name."""
        self.system, self.params = system, params
        mesh = parallel.make_mesh(**system.config.mesh.to_dict())
        self._runner = evaluation.Model(params, mesh)
        self._prompted: tuple[tuple[str, ...], np.ndarray] | None = None

    def read(self, videos: Sequence[str | os.PathLike[str]]) -> UInt8[np.ndarray, "B T S S 3"]:
        """Reads the frames of videos, uint8, with the sampling and transform of evaluation.

        Args:
          videos: B paths, at least one.

        Raises:
          UserError: if a video cannot be decoded; the message names it.
        """
        check_list(videos, "videos")
        return np.stack([self.system.pixels.transform(self._decode(os.fspath(v))) for v in videos])

    def encode_video(self, frames: UInt8[np.ndarray, "B T S S 3"]) -> Encoded:
        """Encodes videos to "embedding", float32 [B,F,E] of unit norm.

        Args:
          frames: the result of `read`.

        Raises:
          UserError: if the system does not support retrieval, or reads frames of another shape.
        """
        return self._run(self._encode_video, frames)

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        """Encodes texts to "embedding", float32 [Q,E] of unit norm.

        Args:
          texts: Q captions, at least one.

        Raises:
          UserError: if the system does not support retrieval, its vocabulary is missing, or a text
            holds no word.
        """
        tokenize = self.system.task(Retrieval).tokenize
        check_texts(tokenize, texts)
        ids, mask = tokenize(texts)
        return self._run(self._encode_text, ids, mask)

    def similarity(self, video: Encoded, words: Encoded) -> Float32[np.ndarray, "B Q"]:
        """Cosine similarities of videos and texts, averaged over a video's embeddings.

        Args:
          video: the result of `encode_video`.
          words: the result of `encode_text`.

        Raises:
          UserError: if they are something else.
        """
        shapes: list[tuple[int, ...]] = [
            np.shape(each.get("embedding", ())) if isinstance(each, Mapping) else ()
            for each in (video, words)
        ]
        if [len(shape) for shape in shapes] != [3, 2] or shapes[0][-1] != shapes[1][-1]:
            raise UserError(
                "similarity compares what encode_video gives, embeddings [videos, vectors, width],"
                " with what encode_text gives, [texts, width]; those given have the shapes"
                f" {shapes[0]} and {shapes[1]}"
            )
        return video["embedding"].mean(axis=1) @ words["embedding"].T

    def classify(
        self, frames: UInt8[np.ndarray, "B N S S 3"], actions: Sequence[str] = ()
    ) -> Float32[np.ndarray, "B K"]:
        """Computes probabilities of actions, averaged over a video's views.

        Args:
          frames: the result of `read`.
          actions: names of K actions, for a system that recognises any by prompts about them; ()
            for one that was trained to recognise its own.

        Raises:
          UserError: if the system does not support action recognition, needs names or takes none,
            reads frames of another shape, or a logit is not finite.
        """
        if self.system.zero_shot and not self.system.recognition:
            check_list(actions, "actions", str)
            return view_scores(self._by_prompts(frames, tuple(actions)))
        self.system.task(Recognition)
        if len(actions):
            raise UserError(
                f"the system {self.system.name!r} tells apart the actions that it was trained on;"
                " call classify(frames) without names"
            )
        return view_scores(self._run(self._classify, frames))

    def merges(self, frames: UInt8[np.ndarray, "B T S S 3"]) -> list[tuple[Merge, ...]]:
        """Traces how the tokens of each video merge: a record of each merging layer.

        `visualize.figure([visualize.details(frames[0], merges[0])], ["a title"])` draws the first.

        Args:
          frames: the result of `read`.

        Raises:
          UserError: if the configuration merges no tokens, or they cannot be traced.
        """
        return pictures.merges(self.system, self.params, frames)

    @functools.cached_property
    def _decode(self) -> Decoder:
        return decoder(self.system.config.data, self.system.pixels.frames, folder="")

    @functools.cached_property
    def _encode_video(self) -> Callable[[np.ndarray], Features]:
        return self._runner.compiled(self.system.task(Retrieval).encode_video)

    @functools.cached_property
    def _encode_text(self) -> Callable[[np.ndarray, np.ndarray], Features]:
        return self._runner.compiled(self.system.task(Retrieval).encode_text)

    def _by_prompts(self, frames: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """The logits [B,1,K] of actions; the vectors of the last names stay."""
        if self._prompted is None or self._prompted[0] != names:
            with jax.default_matmul_precision("highest"):
                vectors = vectors_of(self._runner, self.system.task(ZeroShot), names)
            self._prompted = names, vectors
        embedding = self._run(self._encode_prompted, frames)["embedding"].mean(axis=1)
        return zero_shot.logits(embedding, self._prompted[1])

    @functools.cached_property
    def _encode_prompted(self) -> Callable[[np.ndarray], Features]:
        return self._runner.compiled(self.system.task(ZeroShot).retrieval.encode_video)

    @functools.cached_property
    def _classify(self) -> Callable[[np.ndarray], jax.Array]:
        return self._runner.compiled(self.system.task(Recognition).classify)

    def _run(self, program: Callable[..., PyTree], *arrays: np.ndarray) -> PyTree:
        """Runs a program with rows padded for the devices; returns its results without padding."""
        hosted = [np.asarray(x) for x in arrays]
        count = len(hosted[0]) if hosted[0].ndim else 0
        if not count:
            raise UserError("the model was given no video or text; give at least one")
        size = parallel.batch_size(self._runner.mesh, count)
        padded = [np.resize(x, (size, *x.shape[1:])) for x in hosted]
        with jax.default_matmul_precision("highest"):
            results = program(*padded)
        return jax.tree.map(lambda x: np.asarray(x)[:count], results)
