"""Text-video retrieval: encode, compare, select candidates, re-rank them with the matching head.

Shared work is done once: a video's cross-attention keys and values serve all its candidates, and a
pair that both directions need is scored once. The model is known only through `system.Retrieval`.
Protocol: UMT (ICCV 2023), evaluation.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int

from tokmerge_jax import hosts, parallel, runtime
from tokmerge_jax.config.evaluation import RerankingOptions, RetrievalOptions
from tokmerge_jax.evaluation.blocks import Computed
from tokmerge_jax.evaluation.candidates import Pairs
from tokmerge_jax.evaluation.context import Context, Speed, ahead
from tokmerge_jax.evaluation.matching import RowReader, match
from tokmerge_jax.evaluation.rows import Places, Rows
from tokmerge_jax.evaluation.scores import Scores, Similarity, dual_softmax
from tokmerge_jax.evaluation.store import Store
from tokmerge_jax.progress import Progress
from tokmerge_jax.runtime import finite
from tokmerge_jax.signatures import Features
from tokmerge_jax.system import Matching, Retrieval
from tokmerge_jax.types import UserError

_TEXTS = 64  # texts per batch when encoding

Texts = tuple[Int[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]]
"""Ids of texts, and their mask (False on padding)."""

_Input = tuple[np.ndarray, tuple[np.ndarray, ...]]
"""(rows of a batch, its arrays); the arrays may have more rows, which are padding."""


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
    text_features, speed = _encode_texts(context, retrieval, texts), Speed(context.store)
    video_features = _encode_videos(context, retrieval, videos, options.batch_size, speed)
    scored, asked = usable() if usable else (range(videos), range(len(texts[0])))
    embedding = video_features["embedding"].values.mean(axis=1)[list(scored)]
    similarity = Similarity(
        finite(embedding, "embedding", video=scored),
        finite(text_features["embedding"].values[list(asked)], "embedding", text=asked),
    )
    if matching is None or reranking is None:
        to_video, to_text = similarity.T, similarity
        if options.dual_softmax:
            to_video, to_text = (dual_softmax(x, options.dual_softmax) for x in (to_video, to_text))
    else:
        features = video_features["tokens"], text_features["states"], texts[1]
        to_video, to_text = _rerank(
            context, matching, reranking, similarity, features, (scored, asked)
        )
    return Scores(similarity, to_video, to_text, speed.clips_per_second)


def text_embeddings(
    context: Context, retrieval: Retrieval, texts: Texts
) -> Float32[np.ndarray, "Q E"]:
    """The embeddings of texts, which are stored as those of a gallery.

    Raises:
      UserError: if one is not finite.
    """
    return np.asarray(_encode_texts(context, retrieval, texts)["embedding"].values, np.float32)


def _rerank(
    context: Context,
    matching: Matching,
    options: RerankingOptions,
    similarity: Similarity,
    features: tuple[RowReader, RowReader, RowReader],
    numbers: tuple[Sequence[int], Sequence[int]],
) -> tuple[Computed, Computed]:
    """Matches the most similar pairs, of which this process takes a share.

    Args:
      context: as `evaluate`.
      matching: the matching head's functions.
      options: the number of candidates, and the memory.
      similarity: of the videos and texts that are scored.
      features: tokens of all videos of the gallery, states and masks of all its texts.
      numbers: the numbers in the gallery of the videos and texts that are scored.

    Returns:
      The scores that rank videos for each text, and texts for each video.
    """
    videos, asked = map(np.asarray, numbers)
    tokens, *states_and_mask = features
    states, mask = (_Part(rows, asked) for rows in states_and_mask)
    pairs = Pairs(similarity, options.top_k)
    name = f"match_{_name_of([pairs.video, pairs.text, videos, asked])}"
    of_pairs = videos[pairs.video]

    def write(videos: np.ndarray, scores: list[np.ndarray]) -> None:
        rows.write(pairs.places(videos), np.concatenate(scores))
        context.watch.note()

    with context.watch("re-rank"):
        rows = context.store.make(name, of_pairs.shape, np.float32, of_pairs)
        match(
            context.model,
            matching,
            _Part(tokens, videos),
            (states, mask),
            wanted=np.split(pairs.text, pairs.begins[1:-1]),
            todo=hosts.share(np.unique(pairs.video[rows.todo])),
            write=write,
            memory_gib=options.memory_gib,
        )
        scores = context.store.whole(name, of_pairs)
    finite(scores, "matching score", video=of_pairs)
    return pairs.ways(scores, options.plus_similarity)


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


def _encode_texts(context: Context, retrieval: Retrieval, texts: Texts) -> "_Features":
    """Computes embeddings [Q,E] of all texts and, for a matching head, states [Q,L,C]."""
    count = len(texts[0])
    size = parallel.batch_size(context.model.mesh, min(_TEXTS, count))
    names = ("embedding", "states") if retrieval.matching else ("embedding",)
    arrays = _Features(context.store, "text", names, count)
    encode = context.model.compiled(retrieval.encode_text)
    batches = functools.partial(text_batches, texts, size)
    with context.watch("encode texts"):
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
    with context.watch("encode videos"):
        arrays.collect(context.model.compiled(retrieval.encode_video), inputs, written)
    return arrays


class _Part:
    """Some rows of an array on disk, read on demand."""

    def __init__(self, values: RowReader, rows: Int[np.ndarray, " _"]) -> None:
        self._values, self._rows = values, rows

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
