"""The `eval` part of configurations: the options of each kind of evaluation."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tokmerge_jax.config import checks
from tokmerge_jax.config.parts import Part
from tokmerge_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Evaluation(Part):
    """The options common to all tasks."""

    batch_size: int = 8  # number of videos encoded at a time

    def check(self, config: Part) -> None:
        """Checks the numbers of this part of a configuration.

        Raises:
          UserError: if a value is invalid; the message names its key.
        """
        checks.above_zero(config, "eval.batch_size")


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions(Evaluation):
    """Retrieval by cosine similarity."""

    metrics: Literal["umt", "clip4clip", "tempme"] = "umt"  # rules for computing ranks
    dual_softmax: float = 0.0  # scale of dual-softmax scores (100 is usual); 0 = cosines

    @property
    def reranking(self) -> "RerankingOptions | None":
        """The options of re-ranking; None without it."""
        return None

    def check(self, config: Part) -> None:
        """Checks as `Evaluation.check`."""
        super().check(config)
        checks.at_least(config, 0, "eval.dual_softmax")


@dataclass(frozen=True, kw_only=True)
class RerankingOptions(RetrievalOptions):
    """Retrieval with a matching head that can re-rank candidates."""

    rerank: bool = True
    top_k: int = 128  # number of candidates per text and per video
    memory_gib: float = 2.0  # memory limit for scoring pairs
    plus_similarity: ClassVar[bool] = False  # a candidate's score is its matching score alone

    @property
    def reranking(self) -> "RerankingOptions | None":
        """The options of re-ranking; None without it."""
        return self if self.rerank else None

    def check(self, config: Part) -> None:
        """Checks as `Evaluation.check`."""
        super().check(config)
        checks.above_zero(config, "eval.top_k", "eval.memory_gib")
        if self.dual_softmax and self.rerank:
            raise UserError(
                "config.eval.dual_softmax and config.eval.rerank exclude each other; switch one of"
                " them off"
            )


@dataclass(frozen=True, kw_only=True)
class SummingOptions(RerankingOptions):
    """Retrieval whose re-ranking may add matching scores and cosines."""

    plus_similarity: bool = True  # a candidate's score is its matching score and its cosine


@dataclass(frozen=True, kw_only=True)
class AnsweringOptions(Evaluation):
    """Question answering by ranking the answers of a list."""

    top_k: int = 128  # number of answers per question that are scored completely
    memory_gib: float = 2.0  # memory limit for scoring answers
    first_piece: int  # weight of the first word piece in an answer's score: 1, or 2 as in ALBEF
    answering: ClassVar[Literal["rank", "generate"]] = "rank"

    def check(self, config: Part) -> None:
        """Checks as `Evaluation.check`."""
        super().check(config)
        checks.above_zero(config, "eval.top_k", "eval.memory_gib")
        if self.first_piece not in (1, 2):
            raise UserError(f"config.eval.first_piece={self.first_piece} must be 1 or 2")


@dataclass(frozen=True, kw_only=True)
class GeneratingOptions(AnsweringOptions):
    """Question answering by ranking or by generating answers."""

    first_piece: int = 1
    answering: Literal["rank", "generate"] = "rank"  # rank the list, or generate texts
    beams: int = 3  # number of beams in generation; 1 = greedy
    max_length: int = 10  # of a generated answer, including start and end tokens
    min_length: int = 1

    def check(self, config: Part) -> None:
        """Checks as `Evaluation.check`."""
        super().check(config)
        checks.generation(config, "eval")
