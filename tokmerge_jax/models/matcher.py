"""The matching head that UMT and TESTA share.

Source: ALBEF (NeurIPS 2021), section 3.2.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tokmerge_jax.layers.attention import KeysValues
from tokmerge_jax.models.bert import Bert


class Matcher(nn.Module):
    """Scores how well texts match videos, from the texts' states and the videos' tokens.

    Attributes:
      text: BERT, whose fusion layers read the video's tokens.
    """

    text: Bert

    def setup(self) -> None:  # noqa: D102
        self.match_head = nn.Dense(2)

    def memory(self, tokens: Float[Array, "G N C"]) -> tuple[KeysValues, ...]:
        """Returns the fusion layers' keys and values of a video, which serve all texts."""
        return self.text.memory(tokens)

    def match(
        self,
        memory: tuple[KeysValues, ...],
        states: Float[Array, "B L C"],
        mask: Bool[Array, "B L"],
        *,
        train: bool = False,
    ) -> Float[Array, "B 2"]:
        """Returns logits (no match, match) of B = G * P texts, P consecutive ones per video."""
        x = self.text.fuse(states, mask, memory, first_only=True, train=train)
        return self.match_head(x[:, 0].astype(jnp.float32))
