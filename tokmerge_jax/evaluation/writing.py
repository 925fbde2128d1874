"""Question answering by writing answers: beam search over a decoder that has read the question.

Each video is encoded once however many questions it has. Protocol: TESTA (Findings of EMNLP 2023),
after BLIP (ICML 2022).
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int

from tokmerge_jax.config.evaluation import GeneratingOptions
from tokmerge_jax.evaluation.answering import COPIES, each_question
from tokmerge_jax.evaluation.context import Context, Model
from tokmerge_jax.runtime import finite
from tokmerge_jax.signatures import Memory
from tokmerge_jax.system import Answering, Writing
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
    context: Context,
    answering: Answering,
    writing: Writing,
    questions: Questions,
    texts: tuple[Int[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]],
    options: GeneratingOptions,
) -> Written:
    """Answers all questions by `writing`; other arguments and errors as of `answering.evaluate`."""
    count, longest = len(questions.texts), int(texts[1].sum(axis=1).max())
    ids, mask = (part[:, :longest] for part in texts)  # padding is attended to: none of all
    name = f"beams{options.beams}_length{options.min_length}to{options.max_length}"
    rows = (
        context.store.make(
            f"written_{name}", (count, options.max_length), np.int32, questions.about
        ),
        context.store.make(f"written_scores_{name}", (count,), np.float32, questions.about),
    )
    places = longest + _CACHES * options.beams * options.max_length
    held = COPIES * options.beams * answering.vocabulary + places * writing.place_size
    writer = Writer(context.model, answering, writing, (ids, mask))
    speed = each_question(
        context, answering, questions, writer, rows=rows, held=held, options=options
    )
    written, scores = (np.array(part.values) for part in rows)
    return Written(written, scores, longest, speed)


class Writer:
    """Answers questions about the videos of a batch; `answering.Respond`."""

    def __init__(
        self,
        model: Model,
        answering: Answering,
        writing: Writing,
        texts: tuple[np.ndarray, np.ndarray],
    ) -> None:
        self._read, self._write = model.compiled(answering.read), model.compiled(writing.write)
        self._texts = texts

    def __call__(self, memory: Memory, asked: Int[np.ndarray, "B P"]) -> tuple[np.ndarray, ...]:
        """Ids [B,P,L] and scores [B,P] of answers to the questions `asked` about B videos."""
        ids, mask = (part[asked] for part in self._texts)
        found = self._write(self._read(memory, ids, mask))
        parts = (np.asarray(found[name]) for name in ("ids", "score"))
        return tuple(part.reshape((*asked.shape, *part.shape[1:])) for part in parts)
