"""Question answering: a video transformer, a BERT for questions, and one for answers.

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
from tokmerge_jax.models.umt import UMTViT


class Answerer(nn.Module):
    """Encodes videos, reads questions about them, and scores answers.

    Attributes:
      vision: the video transformer.
      text: the question encoder, whose fusion layers read the video's tokens.
      decoder: the answer decoder; all its layers read the question's states.
      smoothing: label smoothing in the answers' likelihoods; see `log_probability`.
      dtype: dtype of the computation; log-probabilities are float32.
    """

    vision: UMTViT | TimeSformer
    text: Bert
    decoder: Bert
    smoothing: float = 0.0
    dtype: DTypeLike = jnp.float32

    def encode_video(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False
    ) -> Float[Array, "B N C"]:
        """Encodes normalised pixels to tokens."""
        return self.vision(video, train=train).x

    def memory(self, tokens: Float[Array, "G N C"]) -> tuple[KeysValues, ...]:
        """Returns the keys and values of a video's tokens, which serve all questions about it."""
        return self.text.memory(tokens)

    def read(
        self,
        memory: tuple[KeysValues, ...],
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
        *,
        train: bool = False,
    ) -> Float[Array, "B L C"]:
        """Encodes B = G * P questions, P consecutive ones about each of G videos."""
        states = self.text.encode_text(ids, mask, train=train)
        return self.text.fuse(states, mask, memory, train=train)

    def answer_memory(self, states: Float[Array, "G L C"]) -> tuple[KeysValues, ...]:
        """Returns the keys and values of a question's states, which serve all its answers."""
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
        """Returns the logits of the word after each position of an answer (float32).

        Args:
          memory: a result of `answer_memory` for G questions.
          question_mask: False on the questions' padding.
          ids: B = G * P rows, P consecutive ones for each question.
          visible: [query, key]: earlier positions of the same answer, and itself. A row may
            hold many answers that share beginnings, as a tree.
          positions: positions of `ids` within their answers; 0, 1, ... if not given.
          train: whether to use dropout.
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
        """Returns the log-probability of each answer: all its ids but the first; 0 is padding."""
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
        """Returns the log-likelihood of one answer to one question about each video."""
        states = self.read(self.memory(self.encode_video(video)), ids, mask)
        return self.log_likelihood(self.answer_memory(states), mask, answer_ids)


def log_probability(
    logits: Float[Array, "B A W"],
    places: Int[Array, "B E"],
    words: Int[Array, "B E"],
    smoothing: float = 0.0,
) -> Float[Array, "B E"]:
    """Returns log softmax(logits) at E pairs (place, word) in each row.

    With smoothing s: (1 - s) log p(word) + s (mean of log p over all words), which is minus the
    cross-entropy with smoothed labels. The order of the words at one place does not depend on s.
    """
    total = jax.nn.logsumexp(logits, axis=-1)
    rows = jnp.arange(logits.shape[0])[:, None]
    chosen = logits[rows, places, words]
    if smoothing:
        chosen += smoothing * (logits.mean(axis=-1)[rows, places] - chosen)
    return chosen - total[rows, places]
