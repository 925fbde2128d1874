"""The pre-norm block that merges tokens."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.attention import Attention
from tokmerge_jax.layers.functional import MLP, gelu
from tokmerge_jax.layers.lora import PROJECTIONS
from tokmerge_jax.layers.normed_attention import NormedAttention
from tokmerge_jax.merging import Evidence, Merger, Tokens, shift, together


class Block(nn.Module):
    """x += attention(norm(x)); x += MLP(norm(x)); x = merger(x) once, where its `place` says.

    With `mutable=["intermediates"]`, the block records the tokens before and after merging, and
    the evidence.

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
        tokens, y, evidence = self._attend(merger, tokens, queries, weight)
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
        merger: Merger | None,
        tokens: Tokens,
        queries: jax.Array | None,
        weight: jax.Array | None,
    ) -> tuple[Tokens, jax.Array, Evidence]:
        """Attends; returns the tokens (`queries`, if given), the update of each, and evidence."""
        norm = self.norm(self.epsilon, dtype=self.dtype, name="attention_norm")
        attention = Attention(
            self.heads,
            tokens.x.shape[-1],
            biased=self.biased,
            normed=self.normed,
            causal=self.causal,
            lora_rank=self.lora_rank,
            logit_cap=self.logit_cap,
            dtype=self.dtype,
            name="attention",
        )
        attend = NormedAttention(norm, attention, self.proportional)
        if merger and merger.place in ("before", "within"):
            return self._attend_ahead(attend, merger, tokens)
        y, evidence = attend(tokens, merger.needs if merger else frozenset(), queries, weight)
        return tokens if queries is None else Tokens(queries), y, evidence

    def _attend_ahead(
        self, attend: NormedAttention, merger: Merger, tokens: Tokens
    ) -> tuple[Tokens, jax.Array, Evidence]:
        """Merges by the attention map to come, then attends anew or by that map."""
        evidence = attend.ahead(tokens, merger.needs)
        merged = self._merged(merger, tokens, evidence)
        if merger.place == "before":
            return merged, *attend(merged)
        alike = partial(self._merge, merger, evidence=evidence)
        return merged, attend.of_groups(tokens, merged, alike), evidence

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
        tokens = self._merge(merger, tokens, evidence)
        self.sow("intermediates", "after_merging", tokens)
        return tokens

    def _merge(self, merger: Merger, tokens: Tokens, evidence: Evidence) -> Tokens:
        if self.alike > 1:
            return together.merged(merger, tokens, evidence, self.alike)
        return merger(tokens, evidence)
