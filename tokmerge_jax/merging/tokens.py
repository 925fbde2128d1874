"""Tokens as they pass through the blocks of a network, and evidence of a block about them."""

from typing import Literal

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax.types import UserError

PositionRule = Literal["mean", "kept"]


class Tokens(flax.struct.PyTreeNode):
    """Tokens that know how many input tokens they stand for.

    Attributes:
      x: [B,N,C], the tokens.
      size: float32 [B,N], the number of input tokens that each stands for; None before any merge.
      origin: int32 [B,N0], the present token of each input token; None unless tokens are traced.
      position: float32 [B,N,2], (column, row) of each token, for networks whose attention rotates
        queries and keys by it; None in all others.
      position_rule: the position of a merged token: the mean by size, or that of the kept token.
      metric: [B,N,D], what a merger that compares tokens themselves compares instead of `x`, for
        its one call; None = `x`.
    """

    x: jax.Array
    size: jax.Array | None = None
    origin: jax.Array | None = None
    position: jax.Array | None = None
    position_rule: PositionRule = flax.struct.field(pytree_node=False, default="mean")
    metric: jax.Array | None = None

    @property
    def compared(self) -> jax.Array:
        """`metric`, or the tokens themselves."""
        return self.x if self.metric is None else self.metric

    @classmethod
    def traced(cls, x: Float[Array, "B N C"]) -> "Tokens":
        """Makes tokens that trace where each token of `x` goes, for pictures and unmerging."""
        return cls(x, origin=jnp.broadcast_to(jnp.arange(x.shape[1], dtype=jnp.int32), x.shape[:2]))


class Evidence(flax.struct.PyTreeNode):
    """Facts about tokens that a layer computes for its merger; parts that are not needed are None.

    Attributes:
      keys: [B,N,D], each token's key, the mean over heads.
      entropy: float32 [B,N], sum_j a_ij log a_ij of the attention map's mean over heads, sizes
        left out: the negative entropy, so larger is more peaked.
      received: float32 [B,N], the attention that each token j receives from all others, sizes left
        out: sum_i!=j a_ij of the map's mean over heads.
      attended: float32 [B,N], the attention that each token j receives from all, itself included,
        sizes counted: the mean a_ij over heads and i.
      shift: float32 [B,N], ||u - x||, u being what the MLP adds to x.
      difference: float32 [B,N], 1 - the cosine of each patch and that of the frame before; see
        `unchanged.difference`.
      frames: T, the number of frames that `difference` is about.
      rotated: [B,N,D], `keys` after rotary positions; None where there are none.
    """

    keys: jax.Array | None = None
    entropy: jax.Array | None = None
    received: jax.Array | None = None
    attended: jax.Array | None = None
    shift: jax.Array | None = None
    difference: jax.Array | None = None
    rotated: jax.Array | None = None
    frames: int = flax.struct.field(pytree_node=False, default=1, kw_only=True)


def read(
    part: str, merger: object, tokens: object, evidence: object, *, frames: bool = False
) -> jax.Array:
    """Reads a part of the evidence for a merger, after checks of shapes, which work under jit too.

    Args:
      part: the name of a part of `Evidence`.
      merger: the merger that reads it, for the message.
      tokens: the tokens that will merge.
      evidence: the evidence that the block computed.
      frames: whether frames [B,T,N,C] merge, with evidence about [B,N,T]; otherwise tokens [B,N,C].

    Raises:
      UserError: if the part is missing or is about other tokens, or the tokens are not a batch.
    """
    name = type(merger).__name__
    shape = _shape(tokens, name, "frames, places" if frames else "tokens")
    value = getattr(evidence, part) if isinstance(evidence, Evidence) else None
    if value is None:
        raise UserError(
            f"{name} reads the evidence {part!r}, which the block does not give; pass"
            f" merging.Evidence({part}=...), to be computed where merger.needs holds {part!r}"
        )
    about = (shape[0], shape[2], shape[1]) if frames else shape[:2]
    channels = ("channels",) if part in ("keys", "rotated") else ()
    if value.shape[: len(about)] != about or value.ndim != len(about + channels):
        wanted = ", ".join(map(str, about + channels))
        raise UserError(
            f"{name} merges x of shape {shape}, whose {part} have the shape ({wanted}), not"
            f" {value.shape}"
        )
    return value


def _shape(tokens: object, name: str, axes: str) -> tuple[int, ...]:
    """The shape of the tokens of a batch.

    Raises:
      UserError: if they are not a batch of `Tokens`.
    """
    form = f"[batch, {axes}, channels]"
    if not isinstance(tokens, Tokens):
        raise UserError(
            f"{name} merges merging.Tokens, not {type(tokens).__name__}; write merging.Tokens(x), x"
            f" of shape {form}"
        )
    shape = jnp.shape(tokens.x)
    if len(shape) != 2 + len(axes.split()):
        raise UserError(
            f"{name} merges x of shape {form}, not {shape}; for a single sample write x[None]"
        )
    return shape
