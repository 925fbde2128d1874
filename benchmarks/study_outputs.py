"""A network's outputs for the videos of a study, and how near others come to them."""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import scipy.stats
from jaxtyping import Float, PyTree

from tokmerge_jax import registry, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.evaluation import model_facts
from tokmerge_jax.evaluation.actions import view_scores
from tokmerge_jax.system import System
from tokmerge_jax.tasks import evaluation
from tokmerge_jax.tasks.synthetic import encoder, fitting, unmerged
from tokmerge_jax.types import Json, Params


class Scored(NamedTuple):
    """The outputs for V videos.

    Attributes:
      vectors: float32 [V,E], an embedding, or the logits of all views.
      scores: float32 [Q,S], of all videos for each text, or of all actions for each video.
    """

    vectors: Float[np.ndarray, "V E"]
    scores: Float[np.ndarray, "Q S"]


class Likeness(NamedTuple):
    """How near outputs are to those without merging; `benchmarks.study` defines the numbers."""

    cosine: float
    ranks: float
    same_first: float


def compared(plain: Scored, merged: Scored) -> Likeness:
    """Compares outputs with those without merging."""
    one, other = (
        x.vectors / np.linalg.norm(x.vectors, axis=1, keepdims=True) for x in (plain, merged)
    )
    ranks = (scipy.stats.rankdata(x.scores, axis=1) for x in (plain, merged))
    first, second = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    products = (first * second).sum(axis=1)
    norms = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    same = plain.scores.argmax(axis=1) == merged.scores.argmax(axis=1)
    return Likeness(
        float((one * other).sum(axis=1).mean()),
        float((products / norms).mean()),
        float(same.mean()),
    )


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network with its weights and the videos that it encodes.

    Attributes:
      plain: the system without merging.
      params: its parameters, and those that mergers of the configuration have.
      batches: uint8 [B,...], equally large; rows after the first `videos` are padding.
      videos: number of videos.
      texts: float32 [Q,E], embeddings of the texts; None for actions.
    """

    plain: System
    params: Params
    batches: list[np.ndarray]
    videos: int
    texts: Float[np.ndarray, "Q E"] | None

    @classmethod
    def of(cls, config: Config, videos: int) -> "Subject":
        """Loads a configuration's weights, and the first `videos` of its data set."""
        system, plain = registry.build(config), unmerged(config)
        source, params = evaluation.inputs(system)
        rows = range(min(videos, len(source.paths)))
        clips = source.batches(
            system.pixels.transform, min(config.eval.batch_size, len(rows)), rows
        )
        batches = [np.asarray(batch["video"]) for batch in clips]
        texts = None
        if retrieval := system.retrieval:
            ids, mask = retrieval.tokenize(source.gallery.texts)
            encode = runtime.jit(retrieval.encode_text)
            texts = np.asarray(encode(params, ids, mask)["embedding"], np.float32)
        return cls(plain, params, batches, len(rows), texts)

    @property
    def facts(self) -> dict[str, Json]:
        """What the outputs without merging depend on."""
        digest = runtime.digest(self.batches if self.texts is None else [*self.batches, self.texts])
        return {**model_facts(self.plain, self.params), "inputs": digest}

    def run(self, system: System, rounds: int) -> tuple[Scored, Float[np.ndarray, "R 2"]]:
        """The outputs of a system with merging, and seconds per clip of it and of the plain one.

        Returns:
          the outputs; seconds of each round, (without merging, with it), in turns.
        """
        program = self._program(system)
        scored = self._scored(program)
        seconds = [
            [_seconds(each, batch) for each in (self._plain_program, program)]
            for batch in itertools.islice(itertools.cycle(self.batches), rounds)
        ]
        return scored, np.array(seconds) / len(self.batches[0])

    @functools.cached_property
    def unmerged(self) -> Scored:
        """The outputs without merging."""
        return self._scored(self._plain_program)

    @functools.cached_property
    def _plain_program(self) -> "_Program":
        return self._program(self.plain)

    def _program(self, system: System) -> "_Program":
        params = fitting(self.params, system)
        program = runtime.jit(encoder(system)).lower(params, self.batches[0]).compile()
        return functools.partial(program, params)

    def _scored(self, program: "_Program") -> Scored:
        outputs = [jax.device_get(program(batch)) for batch in self.batches]
        if self.texts is None:
            logits = np.concatenate(outputs)[: self.videos]
            names = [str(row) for row in range(self.videos)]
            return Scored(logits.reshape(self.videos, -1), view_scores(logits, names))
        embedding = np.concatenate([each["embedding"] for each in outputs])[: self.videos]
        vectors = np.asarray(embedding, np.float32).mean(axis=1)
        return Scored(vectors, self.texts @ vectors.T)


_Program = Callable[[np.ndarray], PyTree]
"""A compiled program with its parameters: uint8 [B,...] -> embeddings or logits."""


def _seconds(program: _Program, batch: np.ndarray) -> float:
    """The seconds of one run."""
    start = time.perf_counter()
    jax.block_until_ready(program(batch))
    return time.perf_counter() - start
