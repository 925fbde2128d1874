"""Question answering by writing answers: beam search over a decoder that has read the question.

Each video is encoded once however many questions it has. Protocol: TESTA (Findings of EMNLP 2023),
after BLIP (ICML 2022).
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from tokmerge_jax.config.evaluation import GeneratingOptions
from tokmerge_jax.evaluation.answering import COPIES, each_question
from tokmerge_jax.evaluation.retrieval import Batches, Model
from tokmerge_jax.evaluation.store import Store
from tokmerge_jax.runtime import Stopwatch, finite
from tokmerge_jax.types import Questions

_CACHES = 2  # what beams have read, and the same in the order of the next beams


@dataclasses.dataclass(frozen=True)
class Written:
    """The answer to every question.

    Attributes:
      ids: int32 [Q,L], its start, its pieces, its end if there was room, 0 after it.
      scores: float32 [Q], its log-likelihood over its length (`decoding.Texts`).
      padded_to: length of the longest question, to which all were padded.
      clips_per_second: videos encoded a second, compiling apart; None if too few were.

    Raises:
      UserError: if a score is not finite.
    """

    ids: np.ndarray
    scores: np.ndarray
    padded_to: int
    clips_per_second: float | None

    def __post_init__(self) -> None:
        finite(self.scores, "score", question=None)


def evaluate(
    model: Model,
    batches: Batches,
    questions: Questions,
    texts: tuple[Int[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]],
    vocabulary: int,
    place: int,
    options: GeneratingOptions,
    store: Store,
    watch: Stopwatch,
) -> Written:
    """Answers all questions; arguments and errors as of `answering.evaluate`.

    `write` of the model is used in the place of `next_piece`; `place` is how many numbers the
    decoder keeps of each place that it has read, of a question or an answer.
    """
    count, longest = len(questions.texts), int(texts[1].sum(axis=1).max())
    ids, mask = (part[:, :longest] for part in texts)  # padding is attended to: none of all
    name = f"beams{options.beams}_length{options.min_length}to{options.max_length}"
    rows = (
        store.make(f"written_{name}", (count, options.max_length), np.int32, questions.about),
        store.make(f"written_scores_{name}", (count,), np.float32, questions.about),
    )
    writer, beams = Writer(model, (ids, mask)), options.beams
    held = COPIES * beams * vocabulary + (longest + _CACHES * beams * options.max_length) * place
    speed = each_question(model, batches, questions, writer, rows, held, options, store, watch)
    written, scores = (np.array(part.values) for part in rows)
    return Written(written, scores, longest, speed)


class Writer:
    """Answers questions about the videos of a batch; `answering.Respond`."""

    def __init__(self, model: Model, texts: tuple[np.ndarray, np.ndarray]) -> None:
        self._read, self._write = model.compiled("read"), model.compiled("write")
        self._texts = texts

    def __call__(self, memory: Any, asked: Int[np.ndarray, "B P"]) -> tuple[np.ndarray, ...]:
        """Ids [B,P,L] and scores [B,P] of answers to the questions `asked` about B videos."""
        ids, mask = (part[asked] for part in self._texts)
        found = self._write(self._read(memory, ids, mask))
        parts = (np.asarray(found[name]) for name in ("ids", "score"))
        return tuple(part.reshape((*asked.shape, *part.shape[1:])) for part in parts)
