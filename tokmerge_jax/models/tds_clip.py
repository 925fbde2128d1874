"""TDS-CLIP: action recognition by a side network that reads every block of a frozen CLIP.

Source: TDS-CLIP (arXiv 2408.10688), which extends Side4Video (arXiv 2311.15769). Merging in the
frozen transformer, undone where the side network reads, is this library's: ToMe (ICLR 2023).
"""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from tokmerge_jax.layers.batch_norm import BatchNorm
from tokmerge_jax.layers.functional import Dense, patchify, product
from tokmerge_jax.layers.fused import fused_norm_dense
from tokmerge_jax.layers.side import EPSILON, SideBlock, over_time
from tokmerge_jax.merging import Tokens
from tokmerge_jax.models.clip_vit import CLIPViT
from tokmerge_jax.types import Params


class SideNetwork(nn.Module):
    """A network beside another one, of which it reads the video and the tokens of each block.

    Attributes:
      width: D, a multiple of 64.
      patch_size: edge of a patch in pixels.
      differences: whether it reads differences of neighbouring frames and gates by differences of
        tokens; without them it is Side4Video.
      remat: whether blocks are recomputed in the backward pass: less memory, more time.
      dtype: dtype of the computation.
    """

    width: int
    patch_size: int
    differences: bool = True
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B T M H W 3"],
        taps: list[Tokens],
        *,
        train: bool = False,
    ) -> Float[Array, "B D"]:
        """Returns the video's feature (float32).

        Args:
          video: normalised pixels, M neighbouring frames for each of T; the other network reads the
            middle ones.
          taps: that network's tokens after each block, [B T,n,C], the class token first; where
            tokens have merged, traced ones.
          train: whether to norm by the statistics of this batch, and to update the running ones.
        """
        stem = SideStem(
            self.width, self.patch_size, self.differences, dtype=self.dtype, name="stem"
        )
        x = stem(video, train)
        normal = nn.initializers.normal(0.01)
        positions = self.param("position_embedding", normal, x.shape[2:])
        # Broadcast once for all blocks: gradients add up before they are summed over frames.
        positions = jnp.broadcast_to(positions, x.shape)
        for i, tokens in enumerate(taps):
            layer = functools.partial(SideNetwork._layer, i=i, train=train)
            layer = nn.remat(layer) if self.remat and train else layer
            x = layer(self, x, tokens, positions)
        return BatchNorm(name="norm")(x, train).mean(axis=(1, 2))

    def _layer(
        self, x: jax.Array, tokens: Tokens, positions: jax.Array, *, i: int, train: bool
    ) -> jax.Array:
        """Mixes in tokens of the other network's block i, then applies the own block."""
        read = Tap(self.width, dtype=self.dtype, name=f"tap_{i}")(tokens)
        read = rearrange(read, "(b t) n d -> b t n d", b=len(x))
        x = 0.5 * x + 0.5 * read[:, :, 1:]
        block = SideBlock(self.differences, dtype=self.dtype, name=f"block_{i}")
        return block(x, read[:, :, 0], positions, train)


class FrameAverage(nn.Module):
    """The mean of the frames' last class tokens after a batch norm, in place of a side network.

    With a classifier this is linear probing of the other network's frames, which ignores their
    order.
    """

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T M H W 3"], taps: list[Tokens], *, train: bool = False
    ) -> Float[Array, "B C"]:
        """Returns the video's feature (float32); arguments as in `SideNetwork`."""
        first = rearrange(taps[-1].x[:, 0], "(b t) c -> b t c", b=len(video))
        return BatchNorm(name="norm")(first, train).mean(axis=1)


class SideStem(nn.Module):
    """The side network's patches: those of the middle frames plus half those of differences.

    Attributes:
      width: D.
      patch_size: edge of a patch in pixels.
      differences: whether differences are read. As in the originals, patches then lie one pixel up
        and left of CLIP's, and pixels outside the frame are zeros.
      dtype: dtype of the computation.
    """

    width: int
    patch_size: int
    differences: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T M H W 3"], train: bool = False
    ) -> Float[Array, "B T N D"]:
        """Returns the patches, row by row."""
        x = self._embed("patch", video[:, :, video.shape[2] // 2], train)
        if not self.differences:
            return x
        change = video[:, :, 1:] - video[:, :, :-1]
        change = rearrange(change, "b t m h w c -> b t h w (m c)")
        return x + 0.5 * self._embed("difference", change, train)

    def _embed(self, name: str, frames: jax.Array, train: bool) -> jax.Array:
        """Embeds frames [B,T,H,W,K] as normed patches [B,T,N,D], each from three frames."""
        frames = frames.astype(self.dtype)
        if self.differences:
            height, width = frames.shape[2:4]
            frames = jnp.pad(frames, [(0, 0), (0, 0), (1, 0), (1, 0), (0, 0)])
            frames = frames[:, :, :height, :width]
        patches = patchify(frames, self.patch_size)
        patches = rearrange(patches, "b (t n) p -> b t n p", t=frames.shape[1])
        embed = PatchesOverTime(self.width, dtype=self.dtype, name=f"{name}_embedding")
        return BatchNorm(dtype=self.dtype, name=f"{name}_norm")(embed(patches), train)


class PatchesOverTime(nn.Module):
    """A convolution over a patch in three frames, zeros before the first and after the last.

    Attributes:
      width: D.
      dtype: dtype of the computation.
    """

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, patches: Float[Array, "B T N C"]) -> Float[Array, "B T N D"]:
        """Multiplies each patch with all three taps at once, then shifts the results in time."""
        inputs = patches.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3 * inputs, self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        kernel = rearrange(kernel.astype(self.dtype), "(tap p) d -> p (tap d)", tap=3)
        x = product(patches.astype(self.dtype), kernel)
        x = rearrange(x, "b t n (tap d) -> b t n tap d", tap=3)
        return over_time(x) + bias[None, None, None].astype(self.dtype)


class Tap(nn.Module):
    """The layer by which the side network reads another network's tokens.

    Attributes:
      width: D.
      dtype: dtype of the computation.
    """

    width: int
    dtype: DTypeLike = jnp.float32

    def __call__(self, tokens: Tokens) -> Float[Array, "G N D"]:
        """Reads tokens [G,n,C]; returns one for each token of the input, undoing merges."""
        x = self.read(tokens.x)
        if tokens.size is None:
            return x
        assert tokens.origin is not None
        return jnp.take_along_axis(x, tokens.origin[..., None], axis=1, mode="promise_in_bounds")

    @nn.compact
    def read(self, x: Float[Array, "G n C"]) -> Float[Array, "G n D"]:
        """Norms and projects the tokens as they are."""
        norm = nn.LayerNorm(EPSILON, dtype=self.dtype, name="norm")
        return fused_norm_dense(norm, Dense(self.width, dtype=self.dtype, name="projection"), x)


class TDSCLIP(nn.Module):
    """A classifier of videos: a frozen CLIP, a side network, a linear head.

    Attributes:
      vision: CLIP's image transformer, frozen: no gradient enters it. It merges within frames only,
        and never the class token.
      side: the side network, or `FrameAverage` for linear probing.
      classes: K.
    """

    vision: CLIPViT
    side: SideNetwork | FrameAverage
    classes: int

    def setup(self) -> None:  # noqa: D102
        self.head = Dense(self.classes)

    def features(
        self, video: Float[Array, "B T M H W 3"], *, train: bool = False
    ) -> Float[Array, "B D"]:
        """Encodes normalised pixels, M neighbouring frames for each of T, to features (float32)."""
        taps: list[Tokens] = []
        merges = any(self.vision.mergers)
        self.vision(video[:, :, video.shape[2] // 2], trace=merges, after_block=taps.append)
        return self.side(video, jax.lax.stop_gradient(taps), train=train)

    def __call__(
        self, video: Float[Array, "B T M H W 3"], *, train: bool = False
    ) -> Float[Array, "B K"]:
        """Classifies normalised pixels: logits (float32)."""
        return self.head(self.features(video, train=train))


def split_collections(params: Params) -> Mapping[str, PyTree]:
    """Splits a tree that holds running statistics as "batch_stats" into Flax's collections."""
    return {
        "params": {name: part for name, part in params.items() if name != "batch_stats"},
        "batch_stats": params["batch_stats"],
    }
