"""Videos and texts: annotations, decoding, frame sampling, transforms, tokenising, the loader."""

from tokmerge_jax.data.loader import (
    RetrievalSource,
    TrainingSource,
    open_retrieval,
    open_training,
)

__all__ = ["RetrievalSource", "TrainingSource", "open_retrieval", "open_training"]
