"""Frames to patches."""

from jaxtyping import Array, Float


def patchify(video: Float[Array, "B T H W C"], edge: int) -> Float[Array, "B N D"]:
    """Cuts each frame into patches of `edge` x `edge` pixels.

    Patches come in order of frame, row, column; each is flattened as row, column, colour. A dense
    layer on them equals a convolution whose kernel and stride are the patch.
    """
    batch, frames, height, width, colours = video.shape
    tiles = video.reshape(batch, frames, height // edge, edge, width // edge, edge, colours)
    return tiles.transpose(0, 1, 2, 4, 3, 5, 6).reshape(batch, -1, edge * edge * colours)
