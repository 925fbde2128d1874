"""Merging that is alike in all frames of a clip, so that a place stays the same place over time.

No original has it; the mean of the frames' evidence decides.
"""

import jax
import jax.numpy as jnp
from einops import rearrange, reduce
from jaxtyping import Array, Float

from tokmerge_jax.merging.matching import unit
from tokmerge_jax.merging.merger import Merger
from tokmerge_jax.merging.tokens import Evidence, Tokens


def merged(merger: Merger, tokens: Tokens, evidence: Evidence, frames: int) -> Tokens:
    """Merges the tokens [B T,N,C] of clips of T `frames`, the same ones in all frames of a clip.

    The merger reads one token for each place of a clip, [B,N,T C]. What it compares are the unit
    vectors of all frames, side by side: their cosine is the mean of the frames' cosines. Other
    evidence is the mean over frames.
    """
    about = jax.tree.map(
        lambda x: reduce(x, "(b t) n -> b n", "mean", t=frames),
        evidence.replace(keys=None, rotated=None),
    )
    if evidence.keys is not None:
        about = about.replace(keys=_side_by_side(unit(evidence.keys), frames))
    metric = _side_by_side(unit(tokens.compared), frames)
    size, origin = jax.tree.map(lambda x: x[::frames], (tokens.size, tokens.origin))
    clips = merger(Tokens(_side_by_side(tokens.x, frames), size, origin, metric=metric), about)
    size, origin = jax.tree.map(lambda x: jnp.repeat(x, frames, axis=0), (clips.size, clips.origin))
    x = rearrange(clips.x, "b n (t c) -> (b t) n c", t=frames)
    return tokens.replace(x=x, size=size, origin=origin, metric=None)


def _side_by_side(x: Float[Array, "BT N C"], frames: int) -> Float[Array, "B N TC"]:
    return rearrange(x, "(b t) n c -> b n (t c)", t=frames)
