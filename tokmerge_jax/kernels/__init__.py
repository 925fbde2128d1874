"""Hot operations, one file each."""

from tokmerge_jax.kernels.attention import attention
from tokmerge_jax.kernels.cached import few_at_a_time
from tokmerge_jax.kernels.received import received

__all__ = ["attention", "few_at_a_time", "received"]
