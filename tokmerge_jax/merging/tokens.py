"""What travels through the blocks of a network, and what a block's attention can tell of it."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Tokens(flax.struct.PyTreeNode):
    """Tokens that know how much they stand for.

    Attributes:
      x: [B,N,C], the tokens.
      size: float32 [B,N], how much each stands for; None as long as all stand for themselves.
      origin: int32 [B,N0], for each token of the input the one that holds it now; None unless
        the tokens are traced.
    """

    x: jax.Array
    size: jax.Array | None = None
    origin: jax.Array | None = None

    @classmethod
    def traced(cls, x: Float[Array, "B N C"]) -> "Tokens":
        """Tokens that remember where each token of `x` goes, for pictures and for unmerging."""
        return cls(x, origin=jnp.broadcast_to(jnp.arange(x.shape[1], dtype=jnp.int32), x.shape[:2]))


class Evidence(flax.struct.PyTreeNode):
    """What attention tells about tokens. A part that no merger asked for is None.

    Attributes:
      keys: [B,N,D], each token's key, the mean over heads.
      entropy: float32 [B,N], sum_j a_ij log a_ij of the attention map's mean over heads, sizes
        left out: the negative entropy, so larger is more peaked.
      received: float32 [B,N], the attention that each token gets from all others, sizes left out:
        sum_i!=j a_ij of the map's mean over heads.
    """

    keys: jax.Array | None = None
    entropy: jax.Array | None = None
    received: jax.Array | None = None
