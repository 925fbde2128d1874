"""Multiple choice: selects the option that describes a video.

An option's score is 0.7 times its matching probability plus 0.3 times its softmax of cosine /
temperature. Protocol: UMT (ICCV 2023), MSRVTT-MC, after Singularity (ACL 2023).
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Int

from tokmerge_jax import hosts, parallel
from tokmerge_jax.evaluation.context import Context, Speed
from tokmerge_jax.progress import Progress
from tokmerge_jax.runtime import finite
from tokmerge_jax.signatures import Features
from tokmerge_jax.system import MultipleChoice

MATCH, CONTRAST = 0.7, 0.3
"""Weights of the two probabilities in an option's score."""


@dataclasses.dataclass(frozen=True)
class OptionScores:
    """The scores of each video's options.

    Attributes:
      match: float32 [V,O], matching probabilities.
      contrast: float32 [V,O], softmax over a video's options.
      clips_per_second: videos encoded per second, without compilation; None if not measured.

    Raises:
      UserError: if a score is not finite.
    """

    match: Float[np.ndarray, "V O"]
    contrast: Float[np.ndarray, "V O"]
    clips_per_second: float | None

    def __post_init__(self) -> None:
        finite(self.scores, "score", video=None, option=None)

    @property
    def scores(self) -> Float[np.ndarray, "V O"]:
        """The scores that rank the options."""
        return MATCH * self.match + CONTRAST * self.contrast


def evaluate(
    context: Context,
    choosing: MultipleChoice,
    texts: tuple[Int[np.ndarray, "V O L"], Bool[np.ndarray, "V O L"]],
    batch_size: int,
) -> OptionScores:
    """Scores every video's options.

    Args:
      context: model, videos, store and stopwatch; scores of videos that are left out stay 0.
      choosing: the system's functions.
      texts: ids of the options, and their mask (False on padding).
      batch_size: number of videos per batch.

    Raises:
      UserError: if a score is not finite.
    """
    model, store, watch = context.model, context.store, context.watch
    shape = texts[0].shape[:2]
    names, videos = ("match", "contrast"), range(shape[0])
    rows = {name: store.make(name, shape, np.float32, videos) for name in names}
    encode, read = model.compiled(choosing.encode_video), model.compiled(choosing.encode_text)
    video_memory, choose = model.compiled(choosing.video_memory), model.compiled(choosing.choose)
    size, speed = parallel.batch_size(model.mesh, batch_size), Speed(store)
    todo = hosts.share(rows["contrast"].todo)
    done = shape[0] - len(todo)
    with Progress("choosing", shape[0], "video", done=done, compiles=True) as bar:
        for batch in context.batches(size, todo) if len(todo) else ():
            index, mask = np.asarray(batch["index"]), np.asarray(batch["mask"])
            with watch("encode videos"), speed(int(mask.sum())):
                video_features = encode(np.asarray(batch["video"]))
                video_features["tokens"].block_until_ready()
            with watch("choose"):
                ids, known = (part[index] for part in texts)
                embedding, states = _option_features(read, ids, known)
                memory = video_memory(video_features["tokens"])
                probabilities = choose(
                    memory, video_features["embedding"], embedding, states, known
                )
                for name in names:
                    values = np.asarray(probabilities[name])[: mask.sum()]
                    finite(values, f"probability ({name})", video=index[mask], option=None)
                    rows[name].write(index[mask], values)
            bar.update(int(mask.sum()))
    match, contrast = (store.whole(name, videos) for name in names)
    return OptionScores(match, contrast, speed.clips_per_second)


def _option_features(
    read: Callable[[np.ndarray, np.ndarray], Features], ids: np.ndarray, mask: np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """Embeddings [B,P,E] and states [B,P,L,C] of the P options of B videos."""
    features = read(*(rearrange(x, "b p l -> (b p) l") for x in (ids, mask)))
    embedding, states = (
        rearrange(features[name], "(b p) ... -> b p ...", b=len(ids))
        for name in ("embedding", "states")
    )
    return embedding, states
