"""Hot operations, one file each."""

from tokmerge_jax.kernels.attention import attention

__all__ = ["attention"]
