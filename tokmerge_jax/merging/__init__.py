"""Token merging as pure functions on arrays, independent of any model."""

from tokmerge_jax.merging import (
    costs,
    matching,
    merge,
    merger,
    schedule,
    tempme,
    testa,
    together,
    vid_tldr,
)
from tokmerge_jax.merging.merger import Merger, most, per_layer, proportional, register
from tokmerge_jax.merging.prune import Prune
from tokmerge_jax.merging.tokens import Evidence, Tokens
from tokmerge_jax.merging.tome import ToMe
from tokmerge_jax.merging.vid_tldr import VidTLDR

__all__ = [
    "Evidence",
    "Merger",
    "Prune",
    "ToMe",
    "Tokens",
    "VidTLDR",
    "costs",
    "matching",
    "merge",
    "merger",
    "most",
    "per_layer",
    "proportional",
    "register",
    "schedule",
    "tempme",
    "testa",
    "together",
    "vid_tldr",
]
