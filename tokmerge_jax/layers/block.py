"""The pre-norm vision transformer block, which may merge tokens."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.attention import Attention
from tokmerge_jax.layers.mlp import MLP, gelu
from tokmerge_jax.merging import Evidence, Merger, Tokens


class Block(nn.Module):
    """x += attention(norm(x)); x += MLP(norm(x)); x = merger(x) between them or at the end.

    The merger's `place` says which. With `mutable=["intermediates"]` the block records the tokens
    before and after merging, and the evidence.

    Attributes:
      heads: K; the width is that of the tokens.
      merger: the merger of this layer, or None.
      proportional: whether a key's weight is the number of tokens merged into it (ToMe, section 3).
      key_bias: see `Attention`.
      causal: see `Attention`.
      lora_rank: see `Attention`.
      activation: see `MLP`.
      mlp_ratio: hidden width of the MLP as a multiple of the channels.
      epsilon: of both norms.
      drop_path: probability that a sample skips a half of the block in training.
      dtype: of the computation.
    """

    heads: int
    merger: Merger | None = None
    proportional: bool = True
    key_bias: bool = True
    causal: bool = False
    lora_rank: int = 0
    activation: Callable[[jax.Array], jax.Array] = gelu
    mlp_ratio: int = 4
    epsilon: float = 1e-6
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        tokens: Tokens,
        train: bool = False,
        queries: Float[Array, "B Q C"] | None = None,
        weight: Float[Array, "B N"] | None = None,
    ) -> Tokens:
        """Applies the block to tokens [B,N,C]; returns tokens [B,N-r,C], or the queries' [B,Q,C].

        Args:
          tokens: the tokens that enter.
          train: whether samples skip halves of the block, at the rate `drop_path`.
          queries: the only tokens to compute, for a last block whose other outputs nobody reads.
            Nothing merges then, and the result has neither sizes nor origin.
          weight: with `queries`, the weight of each of the N tokens as a key; None = its size.
        """
        width = tokens.x.shape[-1]
        skip = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), deterministic=not train)
        norm = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="attention_norm")
        attention = Attention(
            self.heads,
            width,
            key_bias=self.key_bias,
            causal=self.causal,
            lora_rank=self.lora_rank,
            dtype=self.dtype,
            name="attention",
        )
        merger = self.merger if queries is None else None
        normed, own = norm(tokens.x), tokens.size if self.proportional else None
        y, evidence = attention.attend(
            normed if queries is None else norm(queries),
            attention.keys_values(normed),
            own if weight is None else weight,
            needs=merger.needs if merger else frozenset(),
        )
        tokens = tokens if queries is None else Tokens(queries)
        tokens = tokens.replace(x=tokens.x + skip(y))
        if merger and merger.place == "attention":
            tokens = self._merged(merger, tokens, evidence)
        norm = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="mlp_norm")
        mlp = MLP(self.mlp_ratio * width, width, self.activation, dtype=self.dtype, name="mlp")
        x, update = tokens.x, mlp(norm(tokens.x))
        tokens = tokens.replace(x=x + skip(update))
        if merger and merger.place == "mlp":
            if "shift" in merger.needs:
                evidence = evidence.replace(shift=_distance(update, x))
            tokens = self._merged(merger, tokens, evidence)
        self.sow("intermediates", "out", tokens.x)
        return tokens

    def _merged(self, merger: Merger, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges, and records what the merger read and returned."""
        self.sow("intermediates", "before_merging", tokens)
        self.sow("intermediates", "evidence", evidence)
        tokens = merger(tokens, evidence)
        self.sow("intermediates", "after_merging", tokens)
        return tokens


def _distance(a: Float[Array, "B N C"], b: Float[Array, "B N C"]) -> Float[Array, "B N"]:
    """Euclidean distance of each pair of tokens, in float32; no gradient passes."""
    a, b = (jax.lax.stop_gradient(x).astype(jnp.float32) for x in (a, b))
    return jnp.linalg.norm(a - b, axis=-1)
