"""Question answering by ranking a list of answers.

Each video is encoded once however many questions it has, each question read once however many
answers; of these, the ones that begin most likely are scored whole (`answers.Answers`). Protocol:
UMT (ICCV 2023), after ALBEF (NeurIPS 2021), section 4.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from tqdm import tqdm

from tokmerge_jax import parallel
from tokmerge_jax.evaluation.answers import Answers, Tree, size_of
from tokmerge_jax.evaluation.retrieval import Model
from tokmerge_jax.evaluation.speed import Speed
from tokmerge_jax.evaluation.store import Rows, Store
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.types import Batch, Questions, UserError

_PER_CALL = 8  # most questions about a video that are read in one call
_COPIES = 3  # arrays of the logits' size that scoring holds at once, about


@dataclasses.dataclass(frozen=True)
class Options:
    """How to evaluate. See `configs/base/vid_tldr_qa.py`.

    Attributes:
      batch_size: videos encoded at a time.
      top_k: answers of each question that are scored whole.
      memory_gib: bound on what scoring holds at once on each device.
    """

    batch_size: int
    top_k: int
    memory_gib: float

    def __post_init__(self) -> None:
        for name in ("batch_size", "top_k", "memory_gib"):
            if getattr(self, name) <= 0:
                raise UserError(f"config.eval.{name}={getattr(self, name)} must be positive")


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The best answers of every question.

    Attributes:
      answers: int32 [Q,k], numbers of the answer list, best first.
      scores: float32 [Q,k], log p(first piece) + log p(answer): the first piece counts twice.
      clips_per_second: videos encoded a second, compiling apart; None if too few were.
    """

    answers: np.ndarray
    scores: np.ndarray
    clips_per_second: float | None


def evaluate(
    model: Model,
    batches: Callable[[int, int], Iterator[Batch]],
    questions: Questions,
    texts: tuple[Int[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]],
    answer_ids: Int[np.ndarray, "A M"],
    vocabulary: int,
    options: Options,
    store: Store,
    watch: Stopwatch,
) -> Ranking:
    """Ranks the answers of all questions; goes on where `store` says that a run was.

    Args:
      model: whose `encode_video`, `video_memory`, `read` and `next_piece` are used (see
        `types.System`).
      batches: `(batch size, first row)` -> batches of `video`, `index` and `mask` in order.
      questions: what is asked about which video.
      texts: the questions' ids, and which of them are not padding.
      answer_ids: the answer list's ids.
      vocabulary: W, how many words the decoder knows.
      options: how.
      store: keeps rankings as they come; belongs to this model and these questions.
      watch: is told how long each stage took.

    Raises:
      UserError: if `options.memory_gib` is too little for one question of each video in a batch.
    """
    kept = min(options.top_k, len(answer_ids))
    shape = (len(questions.texts), kept)
    rows = (
        store.make(f"answers_top{kept}", shape, np.int32),
        store.make(f"scores_top{kept}", shape, np.float32),
    )
    size = parallel.batch_size(model.mesh, options.batch_size)
    start = questions.about[rows[1].todo[0]] if len(rows[1].todo) else len(questions.videos)
    about = np.asarray(questions.about)
    most = int(np.bincount(about).max())
    listed = Answers(answer_ids)
    logits = listed.most_nodes(kept) * vocabulary
    together = _questions_per_call(
        size // model.mesh.shape["data"], most, logits, options.memory_gib
    )
    ranker = Ranker(model, texts, listed, kept)
    encode, remember = model.compiled("encode_video"), model.compiled("video_memory")
    speed = Speed(store)
    with tqdm(total=shape[0], initial=shape[0] - len(rows[1].todo), desc="answering") as bar:
        for batch in batches(size, start) if start < len(questions.videos) else ():
            with watch("encode videos"), speed(int(np.sum(batch["mask"]))):
                tokens = encode(np.asarray(batch["video"]))["tokens"].block_until_ready()
            with watch("answer"):
                memory = remember(tokens)
                for asked in _chunks(np.asarray(batch["index"]), about, together):
                    bar.update(_write(rows, asked, *ranker(memory, asked)))
    answers, scores = (np.array(part.values) for part in rows)
    return Ranking(answers, scores, speed.clips_per_second)


class Ranker:
    """Ranks answers of questions about the videos of a batch."""

    def __init__(
        self, model: Model, texts: tuple[np.ndarray, np.ndarray], answers: Answers, kept: int
    ) -> None:
        self._read, self._next = model.compiled("read"), model.compiled("next_piece")
        self._texts, self._answers, self._kept = texts, answers, kept
        self._first, self._first_place = answers.first_pieces()

    def __call__(self, memory: Any, asked: Int[np.ndarray, "B P"]) -> tuple[np.ndarray, np.ndarray]:
        """Answers and scores [B,P,k] of the questions `asked` (-1 = none) about B videos."""
        ids, mask = (part[asked] for part in self._texts)
        seen = self._read(memory, ids, mask)
        start = self._steps(seen, mask, [self._first] * asked.size)[:, self._first_place]
        kept = np.argsort(-start, axis=1, kind="stable")[:, : self._kept]
        trees = [self._answers.tree(row) for row in kept]
        steps = self._steps(seen, mask, trees)
        whole = [self._answers.log_likelihood(*pair) for pair in zip(kept, steps, strict=True)]
        scores = np.take_along_axis(start, kept, axis=1) + np.stack(whole)
        best = np.lexsort((kept, -scores))  # of equal scores the lower answer number first
        found = (np.take_along_axis(part, best, axis=1) for part in (kept, scores))
        answers, scores = (part.reshape((*asked.shape, -1)) for part in found)
        return answers, scores

    def _steps(self, seen: Any, mask: np.ndarray, trees: list[Tree]) -> Float[np.ndarray, "G E"]:
        """Log-probabilities of the trees' steps."""
        trees = [tree.padded(size_of(trees)) for tree in trees]
        columns = zip(*(dataclasses.astuple(tree) for tree in trees), strict=True)
        ids, positions, visible, places, pieces = (np.stack(column) for column in columns)
        return np.asarray(self._next(seen, mask, ids, visible, positions, places, pieces))


def _chunks(
    videos: Int[np.ndarray, " B"], about: Int[np.ndarray, " Q"], together: int
) -> Iterator[Int[np.ndarray, "B P"]]:
    """The questions about the videos, P of each at a time; -1 where there is none."""
    queues = [np.flatnonzero(about == video) for video in videos]
    for begin in range(0, max(map(len, queues)), together):
        parts = [queue[begin : begin + together] for queue in queues]
        filled = [np.pad(part, (0, together - len(part)), constant_values=-1) for part in parts]
        yield np.stack(filled)


def _write(
    rows: tuple[Rows, Rows], asked: np.ndarray, answers: np.ndarray, scores: np.ndarray
) -> int:
    """Stores the rankings of the questions that were asked, and says how many those are new."""
    real = asked >= 0
    places = asked[real]
    fresh = np.isin(places, rows[1].todo).sum()
    rows[0].write(places, answers[real])
    rows[1].write(places, scores[real])
    return int(fresh)


def _questions_per_call(videos: int, most: int, logits: int, limit_gib: float) -> int:
    """How many questions about each of a device's `videos` are answered at a time."""
    per_question = _COPIES * 4 * logits
    fitting = int(limit_gib * 2**30 // (videos * per_question))
    if fitting < 1:
        needed = videos * per_question / 2**30
        raise UserError(
            f"config.eval.memory_gib={limit_gib:g} is too little to answer a question about each of"
            f" a device's {videos} videos; it takes {needed:.2f}, or a smaller"
            " config.eval.batch_size"
        )
    return min(fitting, most, _PER_CALL)
