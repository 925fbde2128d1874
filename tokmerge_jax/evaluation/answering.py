"""Question answering by ranking a list of answers.

Each video is encoded once for all its questions, and each question is read once for all answers.
The answers whose first word piece is likeliest are scored completely (`answers.Answers`).
Protocols: UMT (ICCV 2023), after ALBEF (NeurIPS 2021), section 4; TESTA (Findings of EMNLP 2023).
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from tokmerge_jax import hosts, parallel
from tokmerge_jax.config.evaluation import AnsweringOptions, GeneratingOptions
from tokmerge_jax.evaluation import decoding
from tokmerge_jax.evaluation.answers import Answers, Tree, size_of
from tokmerge_jax.evaluation.context import Context, Model, Speed
from tokmerge_jax.evaluation.rows import Rows
from tokmerge_jax.progress import Progress
from tokmerge_jax.runtime import finite
from tokmerge_jax.signatures import Memory
from tokmerge_jax.system import Answering
from tokmerge_jax.types import Questions, UserError

_PER_CALL = 8  # largest number of questions about a video per call
COPIES = 3  # approximate number of arrays as large as the logits that scoring holds at once

Respond = Callable[[Memory, Int[np.ndarray, "B P"]], tuple[np.ndarray, ...]]
"""(memory of B videos, numbers [B,P] of questions about each; -1 = padding) -> arrays [B,P,...]."""


def generation(options: GeneratingOptions, end: int) -> decoding.Options:
    """The options of generating answers; `end` is the id of the end token, 0 is padding."""
    return decoding.Options(end, 0, options.max_length, options.min_length, options.beams)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The best answers of every question.

    Attributes:
      answers: int32 [Q,k], indices into the answer list, best first.
      scores: float32 [Q,k], log p(answer), with its first piece counted `first_piece` times.
      clips_per_second: videos encoded per second, without compilation; None if not measured.

    Raises:
      UserError: if a score is not finite.
    """

    answers: np.ndarray
    scores: np.ndarray
    clips_per_second: float | None

    def __post_init__(self) -> None:
        finite(self.scores, "score", question=None)


def evaluate(
    context: Context,
    answering: Answering,
    questions: Questions,
    texts: tuple[Int[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]],
    answer_ids: Int[np.ndarray, "A M"],
    options: AnsweringOptions,
) -> Ranking:
    """Ranks the answers of all questions.

    Args:
      context: model, videos, store and stopwatch; the ranking of questions about videos that are
        left out stays 0.
      answering: the system's functions.
      questions: the questions and their videos.
      texts: the questions' ids, and their mask (False on padding).
      answer_ids: the answer list's ids.
      options: the `eval` part of the configuration.

    Raises:
      UserError: if `options.memory_gib` is too little for one question, or a score is not finite.
    """
    kept, listed = min(options.top_k, len(answer_ids)), Answers(answer_ids)
    ranker = Ranker(context.model, answering, texts, listed, kept, options.first_piece)
    shape, name = (len(questions.texts), kept), f"top{kept}_first{options.first_piece}"
    rows = (
        context.store.make(f"answers_{name}", shape, np.int32, questions.about),
        context.store.make(f"scores_{name}", shape, np.float32, questions.about),
    )
    held = COPIES * listed.most_nodes(kept) * answering.vocabulary
    speed = each_question(
        context, answering, questions, ranker, rows=rows, held=held, options=options
    )
    names = (f"answers_{name}", f"scores_{name}")
    answers, scores = (context.store.whole(part, questions.about) for part in names)
    return Ranking(answers, scores, speed)


def each_question(
    context: Context,
    answering: Answering,
    questions: Questions,
    respond: Respond,
    *,
    rows: tuple[Rows, ...],
    held: int,
    options: AnsweringOptions,
) -> float | None:
    """Fills `rows` with the responses to all questions that have none yet.

    Args:
      context: as in `evaluate`.
      answering: the system's functions `encode_video` and `video_memory`.
      questions: the questions and their videos.
      respond: answers questions about the videos of a batch.
      rows: one array on disk per result of `respond`; a question is done when the last one is.
      held: approximate number of float32 values that answering one question holds at once; if one
        question per video of a batch exceeds `options.memory_gib`, batches get smaller.
      options: the `eval` part of the configuration.

    Returns:
      Videos encoded per second; None if not measured.
    """
    model, watch = context.model, context.watch
    ways, about = model.mesh.size, np.asarray(questions.about)
    videos, together = _per_call(
        parallel.batch_size(model.mesh, options.batch_size) // ways,
        int(np.bincount(about).max()),
        held,
        options.memory_gib,
    )
    count, todo = len(about), rows[-1].todo
    wanted = hosts.share(np.unique(about[todo]))
    left = int(np.isin(about[todo], wanted).sum())
    speed, encode = Speed(context.store), model.compiled(answering.encode_video)
    video_memory = model.compiled(answering.video_memory)
    with Progress("answering", count, "question", done=count - left, compiles=True) as bar:
        for batch in context.batches(videos * ways, wanted) if len(wanted) else ():
            with watch("encode videos"), speed(int(np.sum(batch["mask"]))):
                tokens = encode(np.asarray(batch["video"]))["tokens"].block_until_ready()
            with watch("answer"):
                memory = video_memory(tokens)
                for asked in _chunks(np.asarray(batch["index"]), about, together):
                    bar.update(_write(rows, asked, respond(memory, asked)))
    return speed.clips_per_second


class Ranker:
    """Ranks the answers to questions about the videos of a batch; a `Respond`."""

    def __init__(
        self,
        model: Model,
        answering: Answering,
        texts: tuple[np.ndarray, np.ndarray],
        answers: Answers,
        kept: int,
        first_piece: int,
    ) -> None:
        self._read, self._next = (
            model.compiled(answering.read),
            model.compiled(answering.next_piece),
        )
        self._texts, self._answers, self._kept = texts, answers, kept
        self._more_often = first_piece - 1
        self._first, self._first_place = answers.first_pieces()

    def __call__(
        self, memory: Memory, asked: Int[np.ndarray, "B P"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (answers, scores) [B,P,k] for the questions `asked` (-1 = padding)."""
        ids, mask = (part[asked] for part in self._texts)
        question_memory = self._read(memory, ids, mask)
        start = self._steps(question_memory, mask, [self._first] * asked.size)[:, self._first_place]
        finite(start, "likelihood of an answer's first piece", question=asked.ravel())
        kept = np.argsort(-start, axis=1, kind="stable")[:, : self._kept]
        trees = [self._answers.tree(row) for row in kept]
        steps = self._steps(question_memory, mask, trees)
        whole = [self._answers.log_likelihood(*pair) for pair in zip(kept, steps, strict=True)]
        scores = self._more_often * np.take_along_axis(start, kept, axis=1) + np.stack(whole)
        best = np.lexsort((kept, -scores))  # ties rank by answer number
        ranked = (np.take_along_axis(part, best, axis=1) for part in (kept, scores))
        answers, scores = (part.reshape((*asked.shape, -1)) for part in ranked)
        return answers, scores

    def _steps(
        self, question_memory: Memory, mask: np.ndarray, trees: list[Tree]
    ) -> Float[np.ndarray, "G E"]:
        """Log-probabilities [G,E] of the trees' steps."""
        trees = [tree.padded(size_of(trees)) for tree in trees]
        logs = self._next(
            question_memory,
            mask,
            ids=np.stack([tree.ids for tree in trees]),
            visible=np.stack([tree.visible for tree in trees]),
            positions=np.stack([tree.positions for tree in trees]),
            places=np.stack([tree.places for tree in trees]),
            pieces=np.stack([tree.pieces for tree in trees]),
        )
        return np.asarray(logs)


def _chunks(
    videos: Int[np.ndarray, " B"], about: Int[np.ndarray, " Q"], together: int
) -> Iterator[Int[np.ndarray, "B P"]]:
    """Yields numbers [B,P] of the questions about the videos, P per video at a time; -1 pads."""
    queues = [np.flatnonzero(about == video) for video in videos]
    for begin in range(0, max(map(len, queues)), together):
        parts = [queue[begin : begin + together] for queue in queues]
        filled = [np.pad(part, (0, together - len(part)), constant_values=-1) for part in parts]
        yield np.stack(filled)


def _write(rows: tuple[Rows, ...], asked: np.ndarray, arrays: tuple[np.ndarray, ...]) -> int:
    """Stores the responses to the questions `asked`; returns the number of new ones."""
    real = asked >= 0
    places = asked[real]
    fresh = np.isin(places, rows[-1].todo).sum()
    for part, values in zip(rows, arrays, strict=True):
        part.write(places, finite(values[real], "score of an answer", question=places))
    return int(fresh)


def _per_call(videos: int, most: int, held: int, limit_gib: float) -> tuple[int, int]:
    """Returns (videos per device, questions per video) of a call within the memory limit."""
    fitting = int(limit_gib * 2**30 // (4 * held))
    if fitting < 1:
        raise UserError(
            f"config.eval.memory_gib={limit_gib:g} is too little to answer a question; set it to at"
            f" least {4 * held / 2**30:.2f}, or reduce the scored answers (config.eval.top_k) or"
            " the beams (config.eval.beams)"
        )
    videos = min(videos, fitting)
    return videos, min(fitting // videos, most, _PER_CALL)
