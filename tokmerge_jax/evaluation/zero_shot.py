"""Action recognition without training: by the cosines of videos with prompts about each action.

Source: CLIP (ICML 2021), section 3.1; InternVideo2's released code takes the mean of cosines.
"""

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32, Int

from tokmerge_jax.evaluation import actions
from tokmerge_jax.evaluation.actions import ActionScores
from tokmerge_jax.evaluation.context import Context
from tokmerge_jax.evaluation.retrieval import text_embeddings
from tokmerge_jax.signatures import Array
from tokmerge_jax.system import Recognition, ZeroShot
from tokmerge_jax.types import Params

A = TypeVar("A", jax.Array, np.ndarray)

SCALE = 100.0
"""Number of the logit of a cosine of 1, that of CLIP's released networks."""


def evaluate(
    context: Context,
    zero_shot: ZeroShot,
    texts: tuple[Int[np.ndarray, "K P L"], Bool[np.ndarray, "K P L"]],
    videos: Sequence[str],
    batch_size: int,
) -> ActionScores:
    """Scores every video's actions: the softmax of `SCALE` times cosines.

    Args:
      context: model, videos, store and stopwatch; scores of videos that are left out stay 0.
      zero_shot: the system's functions.
      texts: ids of P prompts about each of K actions, and their mask (False on padding).
      videos: names of the videos.
      batch_size: number of videos per batch.

    Raises:
      UserError: if a feature or score is not finite.
    """
    classes, prompts, length = texts[0].shape
    ids, mask = (part.reshape(classes * prompts, length) for part in texts)
    embedding = text_embeddings(context, zero_shot.retrieval, (ids, mask))
    return actions.evaluate(
        context,
        recognition(zero_shot, action_vectors(zero_shot, embedding, classes)),
        videos,
        views=1,
        classes=classes,
        batch_size=batch_size,
    )


def recognition(zero_shot: ZeroShot, vectors: Float32[np.ndarray, "K E"]) -> Recognition:
    """Recognises actions by their vectors."""

    def classify(params: Params, video: Array) -> jax.Array:
        embedding = zero_shot.retrieval.encode_video(params, video)["embedding"].mean(axis=1)
        return logits(embedding, jnp.asarray(vectors))

    return Recognition(classify)


def logits(embedding: A, vectors: A) -> A:
    """The logits [B,1,K] of videos [B,E], as those of a single view each."""
    return SCALE * (embedding @ vectors.T)[:, None]


def score(zero_shot: ZeroShot) -> str:
    """The rule of the scores, for results.json."""
    mean = "the unit mean of prompts" if zero_shot.unit_actions else "each prompt, their mean"
    return f"softmax of {SCALE:g} times the cosine with {mean}"


def action_vectors(
    zero_shot: ZeroShot, embedding: Float32[np.ndarray, "KP E"], classes: int
) -> Float32[np.ndarray, "K E"]:
    """The mean of the unit vectors of each action's prompts, scaled to unit length on request.

    Without that, its product with a video is the mean of the prompts' cosines.

    Args:
      zero_shot: the system's functions.
      embedding: of P prompts about each action, one action after the other.
      classes: K, the number of actions.
    """
    mean = embedding.reshape(classes, -1, embedding.shape[-1]).mean(axis=1)
    if not zero_shot.unit_actions:
        return mean
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
