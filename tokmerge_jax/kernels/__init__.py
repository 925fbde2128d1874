"""Hot operations, one file each."""

from tokmerge_jax.kernels.attention import attention
from tokmerge_jax.kernels.parts import in_parts

__all__ = ["attention", "in_parts"]
