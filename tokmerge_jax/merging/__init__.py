"""Token merging as pure functions on arrays: it knows no model."""

from tokmerge_jax.merging import matching, merge, mergers, saliency, schedule, temporal
from tokmerge_jax.merging.mergers import MERGERS, Merger, ToMe, VidTLDR, per_layer
from tokmerge_jax.merging.tokens import Evidence, Tokens

__all__ = [
    "MERGERS",
    "Evidence",
    "Merger",
    "ToMe",
    "Tokens",
    "VidTLDR",
    "matching",
    "merge",
    "mergers",
    "per_layer",
    "saliency",
    "schedule",
    "temporal",
]
