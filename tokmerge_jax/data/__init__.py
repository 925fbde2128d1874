"""Videos and texts: annotations, decoding, frame sampling, transforms, tokenising, the loader."""

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
