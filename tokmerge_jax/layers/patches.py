"""Frames to patches."""

from einops import rearrange
from jaxtyping import Array, Float


def patchify(video: Float[Array, "B T H W C"], edge: int) -> Float[Array, "B N D"]:
    """Cuts each frame into patches of `edge` x `edge` pixels.

    Patches come in order of frame, row, column; each is flattened as row, column, colour. A dense
    layer on them equals a convolution whose kernel and stride are the patch.
    """
    return rearrange(video, "b t (h i) (w j) c -> b (t h w) (i j c)", i=edge, j=edge)
