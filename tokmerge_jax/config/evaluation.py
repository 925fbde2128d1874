"""The `eval` part of configurations, which is what an evaluation is asked for."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tokmerge_jax.config import checks
from tokmerge_jax.config.parts import Part
from tokmerge_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Evaluation(Part):
    """How any task is evaluated."""

    batch_size: int = 8  # videos that are encoded at a time

    def check(self, config: Part) -> None:
        """Checks the numbers of this part of a configuration.

        Raises:
          UserError: naming the key whose value cannot work.
        """
        checks.above_zero(config, "eval.batch_size")


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions(Evaluation):
    """How retrieval is evaluated: by cosines."""

    metrics: Literal["umt", "clip4clip", "tempme"] = "umt"  # how ranks are counted
    dual_softmax: float = 0.0  # scale of dual-softmax scores (100 is usual); 0 = cosines

    @property
    def reranking(self) -> "RerankingOptions | None":
        """How candidates are scored again; None if they are not."""
        return None

    def check(self, config: Part) -> None:
        """As that of `Evaluation`."""
        super().check(config)
        checks.at_least(config, 0, "eval.dual_softmax")


@dataclass(frozen=True, kw_only=True)
class RerankingOptions(RetrievalOptions):
    """How retrieval is evaluated where a matching head can score candidates again."""

    rerank: bool = True
    top_k: int = 128  # candidates of each text and of each video
    memory_gib: float = 2.0  # bound on what scoring pairs holds at once
    plus_similarity: ClassVar[bool] = False  # a candidate's score is its matching score alone

    @property
    def reranking(self) -> "RerankingOptions | None":
        """As that of `RetrievalOptions`."""
        return self if self.rerank else None

    def check(self, config: Part) -> None:
        """As that of `Evaluation`."""
        super().check(config)
        checks.above_zero(config, "eval.top_k", "eval.memory_gib")
        if self.dual_softmax and self.rerank:
            raise UserError(
                "config.eval.dual_softmax and config.eval.rerank are two ways to score again;"
                " switch one of them off"
            )


@dataclass(frozen=True, kw_only=True)
class SummingOptions(RerankingOptions):
    """How retrieval is evaluated where matching scores and cosines may be added."""

    plus_similarity: bool = True  # a candidate's score is its matching score and its cosine


@dataclass(frozen=True, kw_only=True)
class AnsweringOptions(Evaluation):
    """How question answering is evaluated: by ranking the answers of a list."""

    top_k: int = 128  # answers of each question that are scored whole
    memory_gib: float = 2.0  # bound on what scoring answers holds at once
    first_piece: int  # how often the first piece counts in an answer's score: 1, or 2 as in ALBEF
    answering: ClassVar[Literal["rank", "generate"]] = "rank"

    def check(self, config: Part) -> None:
        """As that of `Evaluation`."""
        super().check(config)
        checks.above_zero(config, "eval.top_k", "eval.memory_gib")
        if self.first_piece not in (1, 2):
            raise UserError(f"config.eval.first_piece={self.first_piece} must be 1 or 2")


@dataclass(frozen=True, kw_only=True)
class GeneratingOptions(AnsweringOptions):
    """How question answering is evaluated where answers may be written, too."""

    first_piece: int = 1
    answering: Literal["rank", "generate"] = "rank"  # the list's answers; or word by word
    beams: int = 3  # of generating; 1 follows a single answer
    max_length: int = 10  # of an answer that is generated, its start and end included
    min_length: int = 1

    def check(self, config: Part) -> None:
        """As that of `Evaluation`."""
        super().check(config)
        checks.generation(config, "eval")
