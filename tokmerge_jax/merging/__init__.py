"""Token merging as pure functions on arrays: it knows no model."""

from tokmerge_jax.merging import matching, merge, mergers, schedule, tempme, testa, vid_tldr
from tokmerge_jax.merging.mergers import MERGERS, Merger, Prune, ToMe, VidTLDR, per_layer
from tokmerge_jax.merging.tokens import Evidence, Tokens

__all__ = [
    "MERGERS",
    "Evidence",
    "Merger",
    "Prune",
    "ToMe",
    "Tokens",
    "VidTLDR",
    "matching",
    "merge",
    "mergers",
    "per_layer",
    "schedule",
    "tempme",
    "testa",
    "vid_tldr",
]
