"""Multiple choice: which of a video's options says what it shows.

An option's score is 0.7 of its matching probability and 0.3 of its share in a softmax of cosines
over the temperature. Protocol: UMT (ICCV 2023), MSRVTT-MC, after Singularity (ACL 2023).
"""

import dataclasses

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Int

from tokmerge_jax import parallel
from tokmerge_jax.evaluation.context import Context
from tokmerge_jax.evaluation.speed import Speed
from tokmerge_jax.progress import Progress
from tokmerge_jax.runtime import finite
from tokmerge_jax.system import MultipleChoice

MATCH, CONTRAST = 0.7, 0.3
"""Weights of the two probabilities in an option's score."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What speaks for each option.

    Attributes:
      match: float32 [V,O], matching probabilities.
      contrast: float32 [V,O], shares in the softmax over a video's options.
      clips_per_second: videos encoded a second, compiling apart; None if too few were.

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
        """What options are ranked by."""
        return MATCH * self.match + CONTRAST * self.contrast


def evaluate(
    context: Context,
    choosing: MultipleChoice,
    texts: tuple[Int[np.ndarray, "V O L"], Bool[np.ndarray, "V O L"]],
    batch_size: int,
) -> Chosen:
    """Scores every video's options.

    Args:
      context: the scores of whose videos that never come stay 0.
      choosing: the functions to use.
      texts: ids of the options, and which of them are not padding.
      batch_size: videos encoded at a time.

    Raises:
      UserError: if a score is not finite.
    """
    model, store, watch = context.model, context.store, context.watch
    shape = texts[0].shape[:2]
    rows = {
        name: store.make(name, shape, np.float32, range(shape[0])) for name in ("match", "contrast")
    }
    encode, read = model.compiled(choosing.encode_video), model.compiled(choosing.encode_text)
    remember, choose = model.compiled(choosing.video_memory), model.compiled(choosing.choose)
    size, speed = parallel.batch_size(model.mesh, batch_size), Speed(store)
    todo = rows["contrast"].todo
    done = shape[0] - len(todo)
    with Progress("choosing", shape[0], "video", done=done, compiles=True) as bar:
        for batch in context.batches(size, todo) if len(todo) else ():
            index, mask = np.asarray(batch["index"]), np.asarray(batch["mask"])
            with watch("encode videos"), speed(int(mask.sum())):
                seen = encode(np.asarray(batch["video"]))
                seen["tokens"].block_until_ready()
            with watch("choose"):
                ids, known = (part[index] for part in texts)
                words = read(*(rearrange(x, "b p l -> (b p) l") for x in (ids, known)))
                embedding, states = (
                    rearrange(words[name], "(b p) ... -> b p ...", b=len(ids))
                    for name in ("embedding", "states")
                )
                memory = remember(seen["tokens"])
                probabilities = choose(memory, seen["embedding"], embedding, states, known)
                for name in ("match", "contrast"):
                    values = np.asarray(probabilities[name])[: mask.sum()]
                    finite(values, f"probability ({name})", video=index[mask], option=None)
                    rows[name].write(index[mask], values)
            bar.update(int(mask.sum()))
    match, contrast = (np.array(rows[name].values) for name in ("match", "contrast"))
    return Chosen(match, contrast, speed.clips_per_second)
