"""Merging that is alike in all frames of a clip, so that a place stays the same place over time.

No original has it; the mean of the frames' evidence decides.
"""

import jax
from einops import rearrange, reduce, repeat

from tokmerge_jax.merging.matching import unit
from tokmerge_jax.merging.merger import Merger
from tokmerge_jax.merging.tokens import Evidence, Tokens


def merged(merger: Merger, tokens: Tokens, evidence: Evidence, frames: int) -> Tokens:
    """Merges the tokens [B T,N,C] of clips of T `frames`, the same ones in all frames of a clip.

    The merger reads one token for each place of a clip, [B,N,T C]. What it compares are the unit
    vectors of all frames, side by side: their cosine is the mean of the frames' cosines. Of other
    evidence it reads the mean over frames.
    """

    def of_clips(x: jax.Array) -> jax.Array:
        return rearrange(x, "(b t) n c -> b n (t c)", t=frames)

    def compared(x: jax.Array | None) -> jax.Array | None:
        return None if x is None else of_clips(unit(x))

    def mean(x: jax.Array | None) -> jax.Array | None:
        return None if x is None else reduce(x, "(b t) n -> b n", "mean", t=frames)

    def first(x: jax.Array | None) -> jax.Array | None:
        return None if x is None else x[::frames]

    def of_frames(x: jax.Array | None) -> jax.Array | None:
        return None if x is None else repeat(x, "b n -> (b t) n", t=frames)

    about = Evidence(
        keys=compared(evidence.keys),
        entropy=mean(evidence.entropy),
        received=mean(evidence.received),
        attended=mean(evidence.attended),
        shift=mean(evidence.shift),
    )
    clips = merger(
        Tokens(
            of_clips(tokens.x), first(tokens.size), first(tokens.origin), metric=compared(tokens.x)
        ),
        about,
    )
    return tokens.replace(
        x=rearrange(clips.x, "b n (t c) -> (b t) n c", t=frames),
        size=of_frames(clips.size),
        origin=of_frames(clips.origin),
    )
