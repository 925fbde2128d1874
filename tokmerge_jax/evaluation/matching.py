"""Scores of pairs of videos and texts by the matching head, within a limit of memory."""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Int

from tokmerge_jax.evaluation.context import Model
from tokmerge_jax.evaluation.rows import Places
from tokmerge_jax.progress import Progress
from tokmerge_jax.runtime import finite
from tokmerge_jax.signatures import Memory
from tokmerge_jax.system import Matching
from tokmerge_jax.types import UserError

_PER_CALL = 32  # largest number of texts matched with a video per call
_COPIES = 16  # approximate number of arrays as large as the texts that matching holds at once


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
    wanted: Sequence[Int[np.ndarray, " _"]],
    todo: Int[np.ndarray, " N"],
    write: Callable[[np.ndarray, list[np.ndarray]], None],
    memory_gib: float,
    names: Sequence[str] | None = None,
) -> None:
    """Computes the matching scores of the wanted pairs of some videos, each once, and writes them.

    Each device of the mesh works on one video at a time, with that video's own texts.

    Args:
      model: parameters and mesh.
      matching: the matching head's functions.
      tokens: tokens [V,N,C] of all videos.
      texts: states [Q,L,C] and masks [Q,L] of all texts.
      wanted: the texts of each video.
      todo: the videos.
      write: stores the scores [P] of each of some videos, in the order of their texts.
      memory_gib: memory limit in GiB.
      names: names of the videos, for messages; None = their numbers.

    Raises:
      UserError: if `memory_gib` is too little for one pair, or a score is not finite.
    """
    video_memory, score = model.compiled(matching.video_memory), model.compiled(matching.match)
    together, most = model.mesh.size, max(map(len, wanted))
    done = len(wanted) - len(todo)
    with Progress("re-ranking videos", len(wanted), "video", done=done, compiles=True) as bar:
        for first in range(0, len(todo), together):
            videos = todo[first : first + together]
            padded = np.resize(videos, together)
            memory = video_memory(tokens[padded])
            size = _texts_per_call(memory, texts[0], most, memory_gib)
            queues, score_texts = [wanted[v] for v in padded], functools.partial(score, memory)
            scores = _match_texts(score_texts, texts, queues, size)[: len(videos)]
            for video, of_video in zip(videos, scores, strict=True):
                called = video if names is None else names[video]
                finite(of_video[None], "matching score", video=[called], text=wanted[video])
            write(videos, scores)
            bar.update(len(videos))


def _match_texts(
    score: Callable[[np.ndarray, np.ndarray], jax.Array],
    texts: tuple[RowReader, RowReader],
    queues: Sequence[Int[np.ndarray, " _"]],
    size: int,
) -> list[np.ndarray]:
    """Scores the texts in each video's queue, `size` of them per video and call."""
    scores = [np.empty(len(queue), np.float32) for queue in queues]
    for begin in range(0, max(map(len, queues)), size):
        places = [queue[begin : begin + size] for queue in queues]
        padded = np.stack([np.pad(x, (0, size - len(x))) for x in places])
        result = np.asarray(score(texts[0][padded], texts[1][padded]))
        for of_video, row in zip(scores, result, strict=True):
            part = of_video[begin : begin + size]
            part[:] = row[: len(part)]
    return scores


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
