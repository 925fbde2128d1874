"""Videos and texts: annotations, decoding, frame sampling, transforms, tokenisation, loading."""

from tokmerge_jax.data.loader import (
    Source,
    TrainingSource,
    open_actions,
    open_choices,
    open_questions,
    open_retrieval,
    open_training,
)

__all__ = [
    "Source",
    "TrainingSource",
    "open_actions",
    "open_choices",
    "open_questions",
    "open_retrieval",
    "open_training",
]
