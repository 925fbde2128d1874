"""Attention that gives evidence for mergers, and the pre-norm block that merges tokens."""

from collections.abc import Callable, Set

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax import kernels
from tokmerge_jax.layers.functional import MLP, Dense, gelu
from tokmerge_jax.layers.fused import fused_dense_dense
from tokmerge_jax.layers.lora import PROJECTIONS, LoRA
from tokmerge_jax.layers.rotary import rotation
from tokmerge_jax.merging import Evidence, Merger, Tokens, shift, together

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
        query = self._project(self.query, x)
        keys = key.mean(axis=2) if "keys" in needs else None
        if rotate:
            query, key = rotate(query), rotate(key)
        rotated = key.mean(axis=2) if rotate and "rotated" in needs else None
        scale, cap = query.shape[-1] ** -0.5, self.logit_cap
        if self.causal and weight is None:
            weight = jnp.tril(jnp.ones((1, x.shape[1], key.shape[1]), jnp.float32))
        drops = train and self.dropout > 0
        if drops or (weight is not None and weight.ndim == 3):
            y, entropy = self._attend_dense(query, key, value, weight, scale, drops), None
        else:
            y, entropy = kernels.attention(
                query, key, value, weight, scale=scale, cap=cap, entropy="entropy" in needs
            )
        received = attended = None
        if "received" in needs:
            received = kernels.received(query, key, scale=scale, cap=cap)
        if "attended" in needs:
            attended = kernels.attended(query, key, weight, scale=scale, cap=cap)
        y = rearrange(y, "b n k d -> b n (k d)")
        y = self.out(y) if following is None else fused_dense_dense(self.out, following, y)
        return y, Evidence(keys, entropy, received, attended, rotated=rotated)

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


class Block(nn.Module):
    """x += attention(norm(x)); x += MLP(norm(x)); x = merger(x) between them or at the end.

    The merger's `place` says where it is called. With `mutable=["intermediates"]`, the block
    records the tokens before and after merging, and the evidence.

    Attributes:
      heads: K; the number of channels is that of the tokens.
      merger: the merger of this layer, or None.
      proportional: whether a key's weight is the number of tokens merged into it (ToMe, section 3).
      biased: see `Attention`.
      normed: see `Attention`.
      causal: see `Attention`.
      alike: number of neighbouring samples, the frames of a clip, in which the same tokens merge
        (`merging.together`).
      lora_rank: see `Attention`.
      logit_cap: see `Attention`.
      activation: see `MLP`.
      mlp_width: hidden width of the MLP; None = four times the channels.
      norm: the class of both norms.
      epsilon: epsilon of both norms.
      layer_scale: whether what attention and the MLP add is scaled by trained factors per channel.
      drop_path: probability that a sample skips attention, or the MLP, in training.
      dtype: of the computation.
    """

    heads: int
    merger: Merger | None = None
    proportional: bool = True
    biased: tuple[str, ...] = PROJECTIONS
    normed: bool = False
    causal: bool = False
    alike: int = 1
    lora_rank: int = 0
    logit_cap: float = 0.0
    activation: Callable[[jax.Array], jax.Array] = gelu
    mlp_width: int | None = None
    norm: Callable[..., nn.Module] = nn.LayerNorm
    epsilon: float = 1e-6
    layer_scale: bool = False
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
        """Applies the block to tokens [B,N,C]; returns tokens [B,N-r,C], or the queries [B,Q,C].

        Args:
          tokens: the tokens that enter; if they have positions, attention rotates by them.
          train: whether to use `drop_path`.
          queries: if given, only these are computed, for a last block whose other outputs are not
            read. Nothing merges then, and the result has neither sizes nor origin. Not for tokens
            with positions.
          weight: with `queries`, the weight of each of the N tokens as a key; None = its size.
        """
        skip = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), deterministic=not train)
        merger = self.merger if queries is None else None
        needs = merger.needs if merger else frozenset()
        y, evidence = self._attend(tokens, queries, weight, needs)
        tokens = tokens if queries is None else Tokens(queries)
        tokens = tokens.replace(x=tokens.x + skip(self._scaled(y, "attention_scale")))
        if merger and merger.place == "attention":
            tokens = self._merged(merger, tokens, evidence)
        x, update = tokens.x, self._scaled(self._mlp(tokens.x), "mlp_scale")
        tokens = tokens.replace(x=x + skip(update))
        if merger and merger.place == "mlp":
            if "shift" in merger.needs:
                evidence = evidence.replace(shift=shift.distance(update, x))
            tokens = self._merged(merger, tokens, evidence)
        self.sow("intermediates", "out", tokens.x)
        return tokens

    def _attend(
        self,
        tokens: Tokens,
        queries: jax.Array | None,
        weight: jax.Array | None,
        needs: Set[str],
    ) -> tuple[jax.Array, Evidence]:
        """Attends to the normed tokens; see `__call__` and `Attention.attend`."""
        width = tokens.x.shape[-1]
        norm = self.norm(self.epsilon, dtype=self.dtype, name="attention_norm")
        attention = Attention(
            self.heads,
            width,
            biased=self.biased,
            normed=self.normed,
            causal=self.causal,
            lora_rank=self.lora_rank,
            logit_cap=self.logit_cap,
            dtype=self.dtype,
            name="attention",
        )
        normed, size = norm(tokens.x), tokens.size if self.proportional else None
        place = tokens.position
        rotate = None if place is None else rotation(place, width // self.heads)
        return attention.attend(
            normed if queries is None else norm(queries),
            attention.keys_values(normed),
            size if weight is None else weight,
            needs=needs,
            rotate=rotate,
        )

    def _mlp(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        norm = self.norm(self.epsilon, dtype=self.dtype, name="mlp_norm")
        mlp = MLP(self.mlp_width or 4 * width, width, self.activation, dtype=self.dtype, name="mlp")
        return mlp(norm(x))

    def _scaled(self, update: jax.Array, name: str) -> jax.Array:
        """Scales what a half of the block adds by the factors `name`, if there are any."""
        if not self.layer_scale:
            return update
        factors = self.param(name, nn.initializers.ones_init(), update.shape[-1:])
        return update * jnp.asarray(factors, self.dtype)[None, None]

    def _merged(self, merger: Merger, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges, and records what the merger read and returned."""
        self.sow("intermediates", "before_merging", tokens)
        self.sow("intermediates", "evidence", evidence)
        if self.alike > 1:
            tokens = together.merged(merger, tokens, evidence, self.alike)
        else:
            tokens = merger(tokens, evidence)
        self.sow("intermediates", "after_merging", tokens)
        return tokens
