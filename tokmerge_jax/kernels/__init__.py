"""Hot operations: attention in several forms, column sums of its map, and microbatches."""

from tokmerge_jax.kernels.attention import FORMS, Form, attention, choose
from tokmerge_jax.kernels.capping import capped
from tokmerge_jax.kernels.column_sums import attended, received
from tokmerge_jax.kernels.microbatch import few_at_a_time

__all__ = [
    "FORMS",
    "Form",
    "attended",
    "attention",
    "capped",
    "choose",
    "few_at_a_time",
    "received",
]
