"""What networks that read a video's tokens to match a text with it have in common.

Source: ALBEF (NeurIPS 2021), section 3.2.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tokmerge_jax.layers.attention import KeysValues
from tokmerge_jax.models.bert import Bert


class Matcher(nn.Module):
    """Tells how well texts match videos, from their states and tokens.

    Attributes:
      text: BERT, whose fusion layers read the video's tokens.
    """

    text: Bert

    def setup(self) -> None:  # noqa: D102
        self.match_head = nn.Dense(2)

    def memory(self, tokens: Float[Array, "G N C"]) -> tuple[KeysValues, ...]:
        """What the fusion layers need to know of a video, whatever the text."""
        return self.text.memory(tokens)

    def match(
        self,
        memory: tuple[KeysValues, ...],
        states: Float[Array, "B L C"],
        mask: Bool[Array, "B L"],
        *,
        train: bool = False,
    ) -> Float[Array, "B 2"]:
        """Logits (no match, match) of B = G * P texts, P in a row with each of G videos."""
        x = self.text.fuse(states, mask, memory, first_only=True, train=train)
        return self.match_head(x[:, 0].astype(jnp.float32))
