"""The first half of a pre-norm block: attention among normed tokens, which may merge ahead of it.

Source: merging one step ahead is that of Multi-criteria Token Fusion (CVPR 2024), section 3.3.
"""

import dataclasses
from collections.abc import Callable, Set

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from tokmerge_jax.layers.attention import Attention
from tokmerge_jax.layers.rotary import rotation
from tokmerge_jax.merging import Evidence, Tokens, merge


@dataclasses.dataclass(frozen=True)
class NormedAttention:
    """attention(norm(x)), rotated by positions where tokens have them.

    Attributes:
      norm: the norm, a module of the block.
      attention: the attention, a module of the block.
      proportional: whether a key's weight is its token's size.
    """

    norm: nn.Module
    attention: Attention
    proportional: bool

    def __call__(
        self,
        tokens: Tokens,
        needs: Set[str] = frozenset(),
        queries: Float[Array, "B Q C"] | None = None,
        weight: Float[Array, "B N"] | None = None,
    ) -> tuple[Float[Array, "B M C"], Evidence]:
        """Attends to tokens [B,N,C], from `queries` or else from themselves; see `Block`."""
        normed = self.norm(tokens.x)
        return self.attention.attend(
            normed if queries is None else self.norm(queries),
            self.attention.keys_values(normed),
            self._size(tokens) if weight is None else weight,
            needs=needs,
            rotate=self._rotate(tokens),
        )

    def ahead(self, tokens: Tokens, needs: Set[str]) -> Evidence:
        """What the attention map of tokens [B,N,C] will tell of them; see `Attention.ahead`."""
        normed, rotate = self.norm(tokens.x), self._rotate(tokens)
        return self.attention.ahead(normed, self._size(tokens), needs=needs, rotate=rotate)

    def of_groups(
        self, tokens: Tokens, merged: Tokens, merge_alike: Callable[[Tokens], Tokens]
    ) -> Float[Array, "B M C"]:
        """Attends by the map of tokens [B,N,C] to the values of those that they merged into.

        The paper merges the map: columns by sum, rows by the means of tokens. Attention is linear
        in its values, so it gives the same that each key has its group's value and the results
        merge as tokens do; no map is in memory, and all forms of attention serve.

        Args:
          tokens: the tokens before merging.
          merged: the result [B,M,C].
          merge_alike: merges any tokens in the place of `tokens`, in the same groups.
        """
        known = tokens.replace(metric=tokens.x)
        groups = merge_alike(known.replace(origin=Tokens.traced(tokens.x).origin))
        assert groups.origin is not None
        normed = self.norm(tokens.x)
        y, _ = self.attention.attend(
            normed,
            self.attention.keys_values(normed, merge.restore(self.norm(merged.x), groups.origin)),
            self._size(tokens),
            rotate=self._rotate(tokens),
        )
        return merge_alike(known.replace(x=y)).x

    def _size(self, tokens: Tokens) -> jax.Array | None:
        return tokens.size if self.proportional else None

    def _rotate(self, tokens: Tokens) -> Callable[[jax.Array], jax.Array] | None:
        width = self.attention.width // self.attention.heads
        return None if tokens.position is None else rotation(tokens.position, width)
