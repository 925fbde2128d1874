"""Attention that gives evidence for mergers."""

from collections.abc import Callable, Set

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax import kernels
from tokmerge_jax.layers.functional import Dense
from tokmerge_jax.layers.fused import fused_dense_dense
from tokmerge_jax.layers.lora import PROJECTIONS, LoRA
from tokmerge_jax.merging import Evidence

KeysValues = tuple[Float[Array, "G M K D"], Float[Array, "G M K D"]]


class Attention(nn.Module):
    """softmax(q k' / sqrt(D) + log weight) v, with a projection on each side.

    Attributes:
      heads: K.
      width: number of channels of the queries and of the result.
      biased: the projections of `PROJECTIONS` that have a bias; UMT's and BEiT's keys have none.
      normed: whether queries and keys are RMS-normed, all heads together.
      out_width: number of channels of the result if it differs; None = `width`.
      causal: whether a query sees only keys up to its own place, in calls without weights.
      lora_rank: rank of the trained change of the projections (`layers.lora`); 0 = no change.
      dropout: dropout rate of the attention probabilities in training.
      logit_cap: the largest absolute logit (`kernels.attention`); 0 = none.
      dtype: dtype of the computation; parameters and the softmax are always float32.
    """

    heads: int
    width: int
    biased: tuple[str, ...] = PROJECTIONS
    normed: bool = False
    out_width: int | None = None
    causal: bool = False
    lora_rank: int = 0
    dropout: float = 0.0
    logit_cap: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        self.query, self.key, self.value = (
            Dense(self.width, use_bias=name in self.biased, dtype=self.dtype)
            for name in PROJECTIONS
        )
        self.out = Dense(self.out_width or self.width, dtype=self.dtype)
        if self.normed:
            self.query_norm, self.key_norm = (nn.RMSNorm(dtype=self.dtype) for _ in range(2))
        self.drop = nn.Dropout(self.dropout)
        if self.lora_rank:
            self.lora = LoRA(self.lora_rank, self.width, dtype=self.dtype)

    def keys_values(
        self, context: Float[Array, "B M C"], of_values: Float[Array, "B M C"] | None = None
    ) -> KeysValues:
        """Returns the keys and values of `context`, for any number of `attend` calls.

        Values are made of `of_values` where it is given.
        """
        keys = self._project(self.key, context)
        return keys, self._project(self.value, context if of_values is None else of_values)

    def attend(
        self,
        x: Float[Array, "B N C"],
        keys_values: KeysValues,
        weight: Float[Array, "B M"] | Float[Array, "B N M"] | None = None,
        *,
        needs: Set[str] = frozenset(),
        following: nn.Dense | None = None,
        rotate: Callable[[jax.Array], jax.Array] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B N E"], Evidence]:
        """Attends from `x` to `keys_values`; returns the result and the evidence for a merger.

        Args:
          x: the tokens that the queries are made of.
          keys_values: a result of the method `keys_values`.
          weight: weight of each key, [B,M] for all queries or [B,N,M] for each one: a token's size,
            or 0 for padding; None = 1 for all.
          needs: parts of `Evidence` to compute: "keys", "entropy", "received", "attended" (not
            where each query has its own weights) or "rotated".
          following: a linear layer to apply to the result, fused with the last projection.
          rotate: applied to the queries, and to the keys of the same tokens (`layers.rotary`);
            "keys" are those before.
          train: whether to use dropout.
        """
        key, value = keys_values
        query, key, evidence = self._compared(x, key, weight, needs, rotate)
        scale, cap = query.shape[-1] ** -0.5, self.logit_cap
        if self.causal and weight is None:
            weight = jnp.tril(jnp.ones((1, x.shape[1], key.shape[1]), jnp.float32))
        drops = train and self.dropout > 0
        if self.is_initializing():  # parameters depend on shapes alone, and tracing takes long
            y, entropy = jnp.zeros(query.shape, value.dtype), jnp.zeros(query.shape[:2])
        elif drops or (weight is not None and weight.ndim == 3):
            y, entropy = self._attend_dense(query, key, value, weight, scale, drops), None
        else:
            y, entropy = kernels.attention(
                query, key, value, weight, scale=scale, cap=cap, entropy="entropy" in needs
            )
        y = rearrange(y, "b n k d -> b n (k d)")
        y = self.out(y) if following is None else fused_dense_dense(self.out, following, y)
        return y, evidence.replace(entropy=entropy)

    def ahead(
        self,
        x: Float[Array, "B N C"],
        weight: Float[Array, "B N"] | None = None,
        *,
        needs: Set[str],
        rotate: Callable[[jax.Array], jax.Array] | None = None,
    ) -> Evidence:
        """The evidence about tokens before they attend to each other: all but the entropy.

        The arguments are those of `attend`.
        """
        return self._compared(x, self._project(self.key, x), weight, needs, rotate)[2]

    def _compared(
        self,
        x: jax.Array,
        key: jax.Array,
        weight: jax.Array | None,
        needs: Set[str],
        rotate: Callable[[jax.Array], jax.Array] | None,
    ) -> tuple[jax.Array, jax.Array, Evidence]:
        """Returns the queries and keys that attention compares, and what they tell of tokens."""
        query = self._project(self.query, x)
        keys = key.mean(axis=2) if "keys" in needs else None
        if rotate:
            query, key = rotate(query), rotate(key)
        evidence = Evidence(
            keys, rotated=key.mean(axis=2) if rotate and "rotated" in needs else None
        )
        scale, cap = query.shape[-1] ** -0.5, self.logit_cap
        if "received" in needs:
            evidence = evidence.replace(received=kernels.received(query, key, scale=scale, cap=cap))
        if "attended" in needs:
            seen = kernels.attended(query, key, weight, scale=scale, cap=cap)
            evidence = evidence.replace(attended=seen)
        return query, key, evidence

    def _project(self, layer: nn.Dense, x: jax.Array) -> jax.Array:
        """Projects x [B,N,C] to queries, keys or values of each head, [B,N,K,D]."""
        y = layer(x)
        if self.lora_rank:
            assert layer.name
            y += self.lora(x, layer.name)
        if self.normed and layer is not self.value:
            y = (self.query_norm if layer is self.query else self.key_norm)(y)
        return rearrange(y, "b n (k d) -> b n k d", k=self.heads)

    def _attend_dense(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        weight: jax.Array | None,
        scale: float,
        drops: bool,
    ) -> jax.Array:
        """Attends with all probabilities [B,K,N,M] in memory, for dropout or weights per query."""
        logits = scale * jnp.einsum("bnkd,bmkd->bknm", query, key).astype(jnp.float32)
        logits = kernels.capped(logits, self.logit_cap)
        if weight is not None:
            weight = weight if weight.ndim == 3 else weight[:, None]
            logits += jnp.log(weight)[:, None]
        probabilities = self.drop(jax.nn.softmax(logits), deterministic=not drops)
        return jnp.einsum("bknm,bmkd->bnkd", probabilities.astype(value.dtype), value)
