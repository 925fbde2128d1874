"""Multiple choice: selects the option that describes a video.

An option's score is its softmax of cosine / temperature; with a matching head, 0.3 times that plus
0.7 times its matching probability. Protocol: UMT (ICCV 2023), MSRVTT-MC, after Singularity (ACL
2023); without a matching head, InternVideo2's released code.
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
      match: float32 [V,O], matching probabilities; None without a matching head.
      contrast: float32 [V,O], softmax over a video's options.
      clips_per_second: videos encoded per second, without compilation; None if not measured.

    Raises:
      UserError: if a score is not finite.
    """

    match: Float[np.ndarray, "V O"] | None
    contrast: Float[np.ndarray, "V O"]
    clips_per_second: float | None

    def __post_init__(self) -> None:
        finite(self.scores, "score", video=None, option=None)

    @property
    def scores(self) -> Float[np.ndarray, "V O"]:
        """The scores that rank the options."""
        if self.match is None:
            return self.contrast
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
    head, videos = choosing.video_memory, range(shape[0])
    names = ("match", "contrast") if head else ("contrast",)
    rows = {name: store.make(name, shape, np.float32, videos) for name in names}
    encode, read = model.compiled(choosing.encode_video), model.compiled(choosing.encode_text)
    choose = model.compiled(choosing.choose)
    remember = model.compiled(head) if head else None
    size, speed = parallel.batch_size(model.mesh, batch_size), Speed(store)
    todo = hosts.share(rows["contrast"].todo)
    done = shape[0] - len(todo)
    with Progress("choosing", shape[0], "video", done=done, compiles=True) as bar:
        for batch in context.batches(size, todo) if len(todo) else ():
            index, mask = np.asarray(batch["index"]), np.asarray(batch["mask"])
            with watch("encode videos"), speed(int(mask.sum())):
                video_features = encode(np.asarray(batch["video"]))
                video_features["embedding"].block_until_ready()
            with watch("choose"):
                ids, known = (part[index] for part in texts)
                embedding, states = _option_features(read, ids, known)
                memory = remember(video_features["tokens"]) if remember else None
                probabilities = choose(
                    memory, video_features["embedding"], embedding, states, known
                )
                for name in names:
                    values = np.asarray(probabilities[name])[: mask.sum()]
                    finite(values, f"probability ({name})", video=index[mask], option=None)
                    rows[name].write(index[mask], values)
            bar.update(int(mask.sum()))
    whole = {name: store.whole(name, videos) for name in names}
    return OptionScores(whole.get("match"), whole["contrast"], speed.clips_per_second)


def _option_features(
    read: Callable[[np.ndarray, np.ndarray], Features], ids: np.ndarray, mask: np.ndarray
) -> tuple[jax.Array, jax.Array | None]:
    """Embeddings [B,P,E] and any states [B,P,L,C] of the P options of B videos."""
    features = read(*(rearrange(x, "b p l -> (b p) l") for x in (ids, mask)))
    options = {
        name: rearrange(x, "(b p) ... -> b p ...", b=len(ids)) for name, x in features.items()
    }
    return options["embedding"], options.get("states")
