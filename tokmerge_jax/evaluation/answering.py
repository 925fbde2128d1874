"""Question answering by ranking a list of answers.

Each video is encoded once however many questions it has, each question read once however many
answers; of these, the ones that begin most likely are scored whole (`answers.Answers`). Protocols:
UMT (ICCV 2023), after ALBEF (NeurIPS 2021), section 4; TESTA (Findings of EMNLP 2023).
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from tokmerge_jax import parallel
from tokmerge_jax.config.evaluation import AnsweringOptions, GeneratingOptions
from tokmerge_jax.evaluation import decoding
from tokmerge_jax.evaluation.answers import Answers, Tree, size_of
from tokmerge_jax.evaluation.context import Context, Model
from tokmerge_jax.evaluation.speed import Speed
from tokmerge_jax.evaluation.store import Rows
from tokmerge_jax.progress import Progress
from tokmerge_jax.runtime import finite
from tokmerge_jax.signatures import Memory
from tokmerge_jax.system import Answering
from tokmerge_jax.types import Questions, UserError

_PER_CALL = 8  # most questions about a video that are read in one call
COPIES = 3  # arrays of the logits' size that scoring holds at once, about

Respond = Callable[[Memory, Int[np.ndarray, "B P"]], tuple[np.ndarray, ...]]
"""`(memory of B videos, numbers of P questions about each, -1 = none)` -> arrays [B,P,...]."""


def generation(options: GeneratingOptions, end: int) -> decoding.Options:
    """How answers are generated that the piece `end` ends; 0 is padding."""
    return decoding.Options(end, 0, options.max_length, options.min_length, options.beams)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The best answers of every question.

    Attributes:
      answers: int32 [Q,k], numbers of the answer list, best first.
      scores: float32 [Q,k], log p(answer); its first piece counts `first_piece` times.
      clips_per_second: videos encoded a second, compiling apart; None if too few were.

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
      context: questions about whose videos that never come stay 0 in the ranking.
      answering: the functions to use.
      questions: what is asked about which video.
      texts: the questions' ids, and which of them are not padding.
      answer_ids: the answer list's ids.
      options: how.

    Raises:
      UserError: if `options.memory_gib` is too little for one question, or a score is not finite.
    """
    kept, listed = min(options.top_k, len(answer_ids)), Answers(answer_ids)
    ranker = Ranker(context.model, answering, texts, listed, kept, options.first_piece)
    shape, name = (len(questions.texts), kept), f"top{kept}"
    if options.first_piece != 2:  # the name is older than the choice
        name += f"_first{options.first_piece}"
    rows = (
        context.store.make(f"answers_{name}", shape, np.int32, questions.about),
        context.store.make(f"scores_{name}", shape, np.float32, questions.about),
    )
    held = COPIES * listed.most_nodes(kept) * answering.vocabulary
    speed = each_question(
        context, answering, questions, ranker, rows=rows, held=held, options=options
    )
    answers, scores = (np.array(part.values) for part in rows)
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
    """Fills `rows` with what `respond` says to all open questions.

    Args:
      context: as of `evaluate`.
      answering: its `encode_video` and `video_memory` are used.
      questions: what is asked about which video.
      respond: answers questions about the videos of a batch.
      rows: one array for each that `respond` gives; the last is done where all are.
      held: float32 numbers that answering one question holds at once, about; where one of each
        video in a batch is too much for `options.memory_gib`, batches are smaller.
      options: how.

    Returns:
      Videos encoded a second, if it could be measured.
    """
    model, watch = context.model, context.watch
    ways, about = model.mesh.shape["data"], np.asarray(questions.about)
    videos, together = _per_call(
        parallel.batch_size(model.mesh, options.batch_size) // ways,
        int(np.bincount(about).max()),
        held,
        options.memory_gib,
    )
    count, todo = len(rows[-1].values), rows[-1].todo
    wanted = np.unique(about[todo])
    speed, encode = Speed(context.store), model.compiled(answering.encode_video)
    remember = model.compiled(answering.video_memory)
    with Progress("answering", count, "question", done=count - len(todo), compiles=True) as bar:
        for batch in context.batches(videos * ways, wanted) if len(wanted) else ():
            with watch("encode videos"), speed(int(np.sum(batch["mask"]))):
                tokens = encode(np.asarray(batch["video"]))["tokens"].block_until_ready()
            with watch("answer"):
                memory = remember(tokens)
                for asked in _chunks(np.asarray(batch["index"]), about, together):
                    bar.update(_write(rows, asked, respond(memory, asked)))
    return speed.clips_per_second


class Ranker:
    """Ranks answers of questions about the videos of a batch; `Respond`."""

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
        """Answers and scores [B,P,k] of the questions `asked` (-1 = none) about B videos."""
        ids, mask = (part[asked] for part in self._texts)
        seen = self._read(memory, ids, mask)
        start = self._steps(seen, mask, [self._first] * asked.size)[:, self._first_place]
        finite(start, "likelihood of an answer's first piece", question=asked.ravel())
        kept = np.argsort(-start, axis=1, kind="stable")[:, : self._kept]
        trees = [self._answers.tree(row) for row in kept]
        steps = self._steps(seen, mask, trees)
        whole = [self._answers.log_likelihood(*pair) for pair in zip(kept, steps, strict=True)]
        scores = self._more_often * np.take_along_axis(start, kept, axis=1) + np.stack(whole)
        best = np.lexsort((kept, -scores))  # of equal scores the lower answer number first
        found = (np.take_along_axis(part, best, axis=1) for part in (kept, scores))
        answers, scores = (part.reshape((*asked.shape, -1)) for part in found)
        return answers, scores

    def _steps(self, seen: Memory, mask: np.ndarray, trees: list[Tree]) -> Float[np.ndarray, "G E"]:
        """Log-probabilities of the trees' steps."""
        trees = [tree.padded(size_of(trees)) for tree in trees]
        logs = self._next(
            seen,
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
    """The questions about the videos, P of each at a time; -1 where there is none."""
    queues = [np.flatnonzero(about == video) for video in videos]
    for begin in range(0, max(map(len, queues)), together):
        parts = [queue[begin : begin + together] for queue in queues]
        filled = [np.pad(part, (0, together - len(part)), constant_values=-1) for part in parts]
        yield np.stack(filled)


def _write(rows: tuple[Rows, ...], asked: np.ndarray, found: tuple[np.ndarray, ...]) -> int:
    """Stores what was found for the questions that were asked, and says how many those are new."""
    real = asked >= 0
    places = asked[real]
    fresh = np.isin(places, rows[-1].todo).sum()
    for part, values in zip(rows, found, strict=True):
        part.write(places, finite(values[real], "score of an answer", question=places))
    return int(fresh)


def _per_call(videos: int, most: int, held: int, limit_gib: float) -> tuple[int, int]:
    """Of how many of a device's `videos` how many questions each are answered at a time."""
    fitting = int(limit_gib * 2**30 // (4 * held))
    if fitting < 1:
        raise UserError(
            f"config.eval.memory_gib={limit_gib:g} is too little to answer a question; it takes"
            f" {4 * held / 2**30:.2f}, or fewer answers that are scored (config.eval.top_k), or"
            " fewer beams (config.eval.beams)"
        )
    videos = min(videos, fitting)
    return videos, min(fitting // videos, most, _PER_CALL)
