"""Text-video retrieval: encode, compare, select candidates, re-rank them with the matching head.

Shared work is done once: a video's cross-attention keys and values serve all its candidates, and a
pair that both directions need is scored once. The model is known only through `system.Retrieval`.
Protocol: UMT (ICCV 2023), evaluation.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from tokmerge_jax import hosts, parallel, runtime
from tokmerge_jax.config.evaluation import RetrievalOptions
from tokmerge_jax.evaluation import metrics
from tokmerge_jax.evaluation.context import Context, Model, Speed, ahead
from tokmerge_jax.evaluation.rows import Places, Rows
from tokmerge_jax.evaluation.store import Store
from tokmerge_jax.progress import Progress
from tokmerge_jax.runtime import finite
from tokmerge_jax.signatures import Features, Memory
from tokmerge_jax.system import Matching, Retrieval
from tokmerge_jax.types import UserError

NO_CANDIDATE = np.float32(-100)
"""The score of a pair that is not re-ranked, as in the original."""

_TEXTS = 64  # texts per batch when encoding
_PER_CALL = 32  # largest number of texts matched with a video per call
_COPIES = 16  # approximate number of arrays as large as the texts that matching holds at once

Texts = tuple[Int[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]]
"""Ids of texts, and their mask (False on padding)."""

_Input = tuple[np.ndarray, tuple[np.ndarray, ...]]
"""(rows of a batch, its arrays); the arrays may have more rows, which are padding."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """All scores of a gallery.

    Attributes:
      similarity: float32 [V,Q], cosine similarity, averaged over a video's embeddings.
      text_to_video: float32 [Q,V], scores by which texts rank videos. With re-ranking, matching
        scores of the candidates and `NO_CANDIDATE` elsewhere; otherwise the similarity, after
        `dual_softmax` if configured.
      video_to_text: float32 [V,Q], scores by which videos rank texts.
      clips_per_second: videos encoded per second, without compilation; None if not measured.

    Raises:
      UserError: if a score is not finite.
    """

    similarity: np.ndarray
    text_to_video: np.ndarray
    video_to_text: np.ndarray
    clips_per_second: float | None

    def __post_init__(self) -> None:
        finite(self.similarity, "similarity", video=None, text=None)
        finite(self.text_to_video, "score", text=None, video=None)
        finite(self.video_to_text, "score", video=None, text=None)


def evaluate(
    context: Context,
    retrieval: Retrieval,
    videos: int,
    texts: Texts,
    options: RetrievalOptions,
    *,
    usable: Callable[[], tuple[Sequence[int], Sequence[int]]] | None = None,
) -> Scores:
    """Scores all videos and texts of a gallery.

    Args:
      context: model, videos, store and stopwatch.
      retrieval: the system's functions; without a matching head, tokens and states are not kept.
      videos: number of videos in the gallery.
      texts: the gallery's texts.
      options: the `eval` part of the configuration.
      usable: called after all videos were read; returns the videos and the texts to score. The
        others are treated as absent, so V and Q of the scores count only these. None = all.

    Raises:
      UserError: if re-ranking is configured but there is no matching head, `options.memory_gib` is
        too little for one pair, or a score is not finite.
    """
    matching, reranking = retrieval.matching, options.reranking
    if reranking and matching is None:
        raise UserError("config.eval.rerank needs a matching head, and this system has none")
    with context.watch("encode texts"):
        text_features = _encode_texts(context, retrieval, texts)
    speed = Speed(context.store)
    with context.watch("encode videos"):
        video_features = _encode_videos(context, retrieval, videos, options.batch_size, speed)
    scored, asked = usable() if usable else (range(videos), range(len(texts[0])))
    embedding = video_features["embedding"].values.mean(axis=1)[list(scored)]
    similarity = embedding @ text_features["embedding"].values[list(asked)].T
    finite(similarity, "similarity", video=None, text=None)
    clips_per_second = speed.clips_per_second
    if matching is None or reranking is None:
        to_video, to_text = similarity.T, similarity
        if options.dual_softmax:
            to_video, to_text = (dual_softmax(x, options.dual_softmax) for x in (to_video, to_text))
        return Scores(similarity, to_video, to_text, clips_per_second)
    of_text = metrics.highest(similarity.T, reranking.top_k)
    of_video = metrics.highest(similarity, reranking.top_k)
    wanted = of_text.T | of_video
    tokens = _Part(video_features["tokens"], scored)
    states, mask = _Part(text_features["states"], asked), _Part(texts[1], asked)
    pairs = _name_of([wanted, np.asarray(scored), np.asarray(asked)])
    with context.watch("re-rank"):
        rows = context.store.make(f"match_{pairs}", similarity.shape, np.float32, scored)
        match(
            context.model,
            matching,
            tokens,
            (states, mask),
            wanted=wanted,
            todo=hosts.share(rows.todo),
            write=rows.write,
            memory_gib=reranking.memory_gib,
            written=context.watch.note,
        )
        scores = context.store.whole(f"match_{pairs}", scored)
    if reranking.plus_similarity:
        scores = scores + similarity
    to_video = np.where(of_text, scores.T, NO_CANDIDATE)
    to_text = np.where(of_video, scores, NO_CANDIDATE)
    return Scores(similarity, to_video, to_text, clips_per_second)


def _name_of(pairs: Sequence[np.ndarray]) -> str:
    """A name of the pairs to re-rank, on which all processes must agree.

    Raises:
      UserError: if they do not.
    """
    name = runtime.digest(pairs)[:16]
    if len(set(hosts.gather(name))) > 1:
        raise UserError(
            "the processes find different candidates, since their similarities differ in the last"
            " digits; run them on hosts of one kind"
        )
    return name


def dual_softmax(similarity: Float[np.ndarray, "R S"], scale: float) -> Float[np.ndarray, "R S"]:
    """Multiplies each score by its column's softmax over all rows.

    Columns that are similar to every row count less. It uses all queries of the gallery at once, so
    the results cannot be compared with those of other protocols. Source: CAMoE (arXiv 2109.04290),
    section 3.4.

    Args:
      similarity: similarity of queries (rows) and ranked items (columns).
      scale: factor of the similarities in the softmax; CLIP's is 100.
    """
    logits = np.float32(scale) * similarity
    share = np.exp(logits - logits.max(axis=0, keepdims=True))
    return similarity * (share / share.sum(axis=0, keepdims=True))


def _encode_texts(context: Context, retrieval: Retrieval, texts: Texts) -> "_Features":
    """Computes embeddings [Q,E] of all texts and, for a matching head, states [Q,L,C]."""
    count = len(texts[0])
    size = parallel.batch_size(context.model.mesh, min(_TEXTS, count))
    names = ("embedding", "states") if retrieval.matching else ("embedding",)
    arrays = _Features(context.store, "text", names, count)
    encode = context.model.compiled(retrieval.encode_text)
    batches = functools.partial(text_batches, texts, size)
    arrays.collect(encode, batches, lambda rows: context.watch.note())
    return arrays


def text_batches(texts: Texts, size: int, rows: np.ndarray | None = None) -> Iterator[_Input]:
    """Yields ids and masks of the texts `rows` (None = all) in batches of `size`; repeats pad."""
    wanted = np.arange(len(texts[0])) if rows is None else rows
    for first in range(0, len(wanted), size):
        index = wanted[first : first + size]
        padded = np.resize(index, size)  # to the compiled size
        yield index, tuple(part[padded] for part in texts)


def _encode_videos(
    context: Context, retrieval: Retrieval, videos: int, batch_size: int, speed: Speed
) -> "_Features":
    """Computes embeddings [V,F,E] of all videos and, for a matching head, tokens [V,N,C]."""
    size = parallel.batch_size(context.model.mesh, batch_size)

    def inputs(rows: np.ndarray) -> Iterator[_Input]:
        for batch in context.batches(size, rows):
            index, mask = np.asarray(batch["index"]), np.asarray(batch["mask"])
            yield index[mask], (np.asarray(batch["video"]),)

    def written(rows: int) -> None:
        speed.add(rows)
        context.watch.note()

    names = ("embedding", "tokens") if retrieval.matching else ("embedding",)
    arrays = _Features(context.store, "video", names, videos, range(videos))
    arrays.collect(context.model.compiled(retrieval.encode_video), inputs, written)
    return arrays


class _Part:
    """Some rows of an array on disk, read on demand."""

    def __init__(self, values: "RowReader", rows: Sequence[int]) -> None:
        self._values, self._rows = values, np.asarray(rows)

    def __getitem__(self, places: Places, /) -> np.ndarray:
        return self._values[self._rows[places]]


class _Features:
    """Arrays on disk with one row per video or text."""

    def __init__(
        self,
        store: Store,
        unit: str,
        names: tuple[str, ...],
        count: int,
        videos: Sequence[int] | None = None,
    ) -> None:
        self._store, self._unit, self._names, self._count = store, unit, names, count
        self._videos = videos
        opened = {name: store.open(f"{unit}_{name}", videos) for name in names}
        self._rows = {name: rows for name, rows in opened.items() if rows is not None}
        self._made: dict[str, Rows] = {}

    def __getitem__(self, name: str) -> Rows:
        return self._rows[name]

    def collect(
        self,
        function: Callable[..., Features],
        inputs: Callable[[np.ndarray], Iterator[_Input]],
        written: Callable[[int], None],
    ) -> None:
        """Computes this process's share of the missing rows and waits for the others'.

        `written(number of rows)` is called after each batch.

        Raises:
          UserError: if a feature is not finite.
        """
        missing = hosts.share(self._missing())
        desc, done = f"encoding {self._unit}s", self._count - len(missing)
        with Progress(desc, self._count, self._unit, done=done, compiles=True) as bar:
            for index, arrays in ahead(function, inputs(missing) if len(missing) else ()):
                for name in self._names:
                    values = np.asarray(arrays[name])[: len(index)]
                    finite(values, name, **{self._unit: index})
                    self._row_array(name, values).write(index, values)
                bar.update(len(index))
                written(len(index))
        opened = {
            name: self._store.gathered(f"{self._unit}_{name}", self._videos) for name in self._names
        }
        self._rows = {name: rows for name, rows in opened.items() if rows is not None}

    def _missing(self) -> np.ndarray:
        """The rows that at least one of the arrays lacks, ascending."""
        every = np.arange(self._count)
        todo = [self._rows[name].todo if name in self._rows else every for name in self._names]
        return np.unique(np.concatenate(todo))

    def _row_array(self, name: str, values: np.ndarray) -> Rows:
        if name not in self._made:
            shape, array = (self._count, *values.shape[1:]), f"{self._unit}_{name}"
            self._made[name] = self._store.make(array, shape, values.dtype, self._videos)
        return self._made[name]


@runtime_checkable
class RowReader(Protocol):
    """Rows that can be read by index, such as the tokens [V,N,C] of all videos."""

    def __getitem__(self, places: Places, /) -> np.ndarray:
        """Reads the rows at `places`, or one row."""
        ...


def match(
    model: Model,
    matching: Matching,
    tokens: RowReader,
    texts: tuple[RowReader, RowReader],
    *,
    wanted: Bool[np.ndarray, "V Q"],
    todo: Int[np.ndarray, " N"],
    write: Callable[[np.ndarray, np.ndarray], None],
    memory_gib: float,
    names: Sequence[str] | None = None,
    written: Callable[[], None] = lambda: None,
) -> None:
    """Computes the matching scores of the wanted pairs of some videos, each once, and writes them.

    Each device of the mesh works on one video at a time, with that video's own texts.

    Args:
      model: parameters and mesh.
      matching: the matching head's functions.
      tokens: tokens [V,N,C] of all videos.
      texts: states [Q,L,C] and masks [Q,L] of all texts.
      wanted: marks the pairs.
      todo: the videos.
      write: stores the scores [B,Q] of some videos.
      memory_gib: memory limit in GiB.
      names: names of the videos, for messages; None = their numbers.
      written: called after each write.

    Raises:
      UserError: if `memory_gib` is too little for one pair, or a score is not finite.
    """
    video_memory, score = model.compiled(matching.video_memory), model.compiled(matching.match)
    together, most = model.mesh.size, int(wanted.sum(axis=1).max())
    done = len(wanted) - len(todo)
    with Progress("re-ranking videos", len(wanted), "video", done=done, compiles=True) as bar:
        for first in range(0, len(todo), together):
            videos = todo[first : first + together]
            padded = np.resize(videos, together)
            memory = video_memory(tokens[padded])
            size = _texts_per_call(memory, texts[0], most, memory_gib)
            scores = np.zeros((len(videos), wanted.shape[1]), np.float32)
            queues = [np.flatnonzero(wanted[video]) for video in padded]
            for begin in range(0, max(map(len, queues)), size):
                places = [queue[begin : begin + size] for queue in queues]
                padded_places = np.stack([np.pad(x, (0, size - len(x))) for x in places])
                result = np.asarray(score(memory, texts[0][padded_places], texts[1][padded_places]))
                for row, place in enumerate(places[: len(videos)]):
                    scores[row, place] = result[row, : len(place)]
            called = videos if names is None else [names[video] for video in videos]
            write(videos, finite(scores, "matching score", video=called, text=None))
            bar.update(len(videos))
            written()


def _texts_per_call(memory: Memory, states: RowReader, most: int, limit_gib: float) -> int:
    """Number of texts per video and call that fit into the memory limit."""
    videos = len(jax.tree.leaves(memory)[0])
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(memory))
    per_text = videos * _COPIES * 4 * states[0].size
    fitting = int((limit_gib * 2**30 - held) // per_text)
    if fitting < 1:
        needed = (held + per_text) / 2**30
        raise UserError(
            f"config.eval.memory_gib={limit_gib:g} is too little to match {videos} videos with one"
            f" text each; set it to at least {needed:.2f}"
        )
    return min(fitting, most, _PER_CALL)
