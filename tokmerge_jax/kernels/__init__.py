"""Hot operations, one file each."""

from tokmerge_jax.kernels.attention import FORMS, Form, attention, choose
from tokmerge_jax.kernels.cached import few_at_a_time
from tokmerge_jax.kernels.received import received

__all__ = ["FORMS", "Form", "attention", "choose", "few_at_a_time", "received"]
