"""Question answering by generating answers: beam search with a decoder, given the question.

Each video is encoded once for all its questions. Protocol: TESTA (Findings of EMNLP 2023), after
BLIP (ICML 2022).
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

_CACHES = 2  # key/value caches held at once: the beams', and the same reordered


@dataclasses.dataclass(frozen=True)
class WrittenAnswers:
    """The generated answer to every question.

    Attributes:
      ids: int32 [Q,L]: start token, word pieces, end token if there was room, then 0.
      scores: float32 [Q], log-likelihood divided by length (`decoding.Texts`).
      padded_to: number of tokens to which all questions were padded (the longest one's).
      clips_per_second: videos encoded per second, without compilation; None if not measured.

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
) -> WrittenAnswers:
    """Generates answers to all questions; arguments and errors as in `answering.evaluate`."""
    count, longest = len(questions.texts), int(texts[1].sum(axis=1).max())
    ids, mask = (part[:, :longest] for part in texts)  # common padding, which would be attended to
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
    names = (f"written_{name}", f"written_scores_{name}")
    written, scores = (context.store.whole(part, questions.about) for part in names)
    return WrittenAnswers(written, scores, longest, speed)


class Writer:
    """Generates answers to questions about the videos of a batch; an `answering.Respond`."""

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
        """Returns (ids [B,P,L], scores [B,P]) of answers to the questions `asked`."""
        ids, mask = (part[asked] for part in self._texts)
        written_texts = self._write(self._read(memory, ids, mask))
        parts = (np.asarray(written_texts[name]) for name in ("ids", "score"))
        return tuple(part.reshape((*asked.shape, *part.shape[1:])) for part in parts)
