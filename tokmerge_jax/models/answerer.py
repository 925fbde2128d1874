"""Question answering: a video transformer, a BERT that reads questions, one that answers.

Sources: Unmasked Teacher (ICCV 2023), section 4.3, after VindLU (CVPR 2023); TESTA (Findings of
EMNLP 2023), section 3, on BLIP (ICML 2022). The ranking of answers is ALBEF's (NeurIPS 2021).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tokmerge_jax.layers.attention import KeysValues
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.timesformer import TimeSformer
from tokmerge_jax.models.umt_vit import UMTViT


class Answerer(nn.Module):
    """Encodes videos, reads questions about them, and tells how likely answers are.

    Attributes:
      vision: the video transformer.
      text: the question encoder, whose fusion layers read the video's tokens.
      decoder: the answer decoder; all its layers read the question's states.
      smoothing: of the labels, in answers' likelihoods; see `log_probability`.
      dtype: of the computation; log-probabilities are float32.
    """

    vision: UMTViT | TimeSformer
    text: Bert
    decoder: Bert
    smoothing: float = 0.0
    dtype: DTypeLike = jnp.float32

    def encode_video(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False
    ) -> Float[Array, "B N C"]:
        """Normalised pixels -> tokens."""
        return self.vision(video, train=train).x

    def memory(self, tokens: Float[Array, "G N C"]) -> tuple[KeysValues, ...]:
        """What reading a question needs to know of a video, whatever the question."""
        return self.text.memory(tokens)

    def read(
        self,
        memory: tuple[KeysValues, ...],
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
        *,
        train: bool = False,
    ) -> Float[Array, "B L C"]:
        """States of B = G * P questions, P in a row about each of G videos."""
        states = self.text.encode_text(ids, mask, train=train)
        return self.text.fuse(states, mask, memory, train=train)

    def answer_memory(self, states: Float[Array, "G L C"]) -> tuple[KeysValues, ...]:
        """What answering needs to know of a question, whatever the answer."""
        return self.decoder.memory(states)

    def next_words(
        self,
        memory: tuple[KeysValues, ...],
        question_mask: Bool[Array, "G L"],
        ids: Int[Array, "B A"],
        visible: Bool[Array, "B A A"],
        positions: Int[Array, "B A"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B A W"]:
        """Logits of the word that follows each position of an answer (float32).

        Args:
          memory: of `answer_memory`, for G questions.
          question_mask: False on the questions' padding.
          ids: B = G * P rows, P in a row for each question.
          visible: which positions [reader, read] belong to what a reader has read, itself included.
            Rows may hold many answers that share their beginnings, as a tree does.
          positions: places of `ids` in their answers; 0, 1, ... if not given.
          train: use dropout.
        """
        x = self.decoder.encode_text(ids, visible, positions, train=train)
        x = self.decoder.fuse(x, visible, memory, question_mask, train=train)
        return self.decoder.words(x)

    def log_likelihood(
        self,
        memory: tuple[KeysValues, ...],
        question_mask: Bool[Array, "G L"],
        ids: Int[Array, "B A"],
        *,
        train: bool = False,
    ) -> Float[Array, " B"]:
        """Log-probability of each answer: of all its ids but the first; 0 is padding."""
        mask = ids != 0
        causal = jnp.tril(jnp.ones((ids.shape[1],) * 2, bool))
        visible = causal[None] & mask[:, None]
        logits = self.next_words(memory, question_mask, ids, visible, train=train)
        places = repeat(jnp.arange(ids.shape[1] - 1), "a -> b a", b=len(ids))
        logs = log_probability(logits, places, ids[:, 1:], self.smoothing)
        return jnp.where(mask[:, 1:], logs, 0).sum(axis=1)

    def __call__(
        self,
        video: Float[Array, "B T H W 3"],
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
        answer_ids: Int[Array, "B A"],
    ) -> Float[Array, " B"]:
        """Log-likelihood of an answer to a question about each video."""
        states = self.read(self.memory(self.encode_video(video)), ids, mask)
        return self.log_likelihood(self.answer_memory(states), mask, answer_ids)


def log_probability(
    logits: Float[Array, "B A W"],
    places: Int[Array, "B E"],
    words: Int[Array, "B E"],
    smoothing: float = 0.0,
) -> Float[Array, "B E"]:
    """log softmax(logits) at (place, word), of E such pairs in each row.

    A share `smoothing` of each is that of the mean word: minus the cross-entropy with smoothed
    labels. Rounding aside, words of one place have the same order with and without it.
    """
    total = jax.nn.logsumexp(logits, axis=-1)
    rows = jnp.arange(logits.shape[0])[:, None]
    found = logits[rows, places, words]
    if smoothing:
        found += smoothing * (logits.mean(axis=-1)[rows, places] - found)
    return found - total[rows, places]
