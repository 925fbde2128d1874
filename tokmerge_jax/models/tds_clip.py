"""TDS-CLIP: actions by a side network that reads every block of a frozen CLIP.

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
from tokmerge_jax.layers.dense import Dense, normed, product
from tokmerge_jax.layers.functional import patchify
from tokmerge_jax.layers.side import EPSILON, SideBlock, over_time
from tokmerge_jax.merging import Tokens
from tokmerge_jax.models.clip_vit import CLIPViT
from tokmerge_jax.types import Params


class SideNetwork(nn.Module):
    """The blocks beside another network's, which see video and that network's tokens.

    Attributes:
      width: D, a multiple of 64.
      patch_size: edge of a patch in pixels.
      differences: see the differences of neighbouring frames, and gate by those of tokens; without
        them this is Side4Video.
      remat: compute blocks again for their gradients rather than keep what they computed.
      dtype: of the computation.
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
        """The video's feature (float32).

        Args:
          video: normalised pixels, M neighbouring frames for each of T; the other network has seen
            the middle ones.
          taps: that network's tokens after each block, [B T,n,C], the class token first; where
            tokens have merged, traced ones.
          train: norm by the statistics of this batch, and remember them.
        """
        stem = SideStem(
            self.width, self.patch_size, self.differences, dtype=self.dtype, name="stem"
        )
        x = stem(video, train)
        normal = nn.initializers.normal(0.01)
        positions = self.param("position_embedding", normal, x.shape[2:])
        # Once for all blocks, whose gradients then add up before they are summed over frames.
        positions = jnp.broadcast_to(positions, x.shape)
        for i, tokens in enumerate(taps):
            layer = functools.partial(SideNetwork._layer, i=i, train=train)
            layer = nn.remat(layer) if self.remat and train else layer
            x = layer(self, x, tokens, positions)
        return BatchNorm(name="norm")(x, train).mean(axis=(1, 2))

    def _layer(
        self, x: jax.Array, tokens: Tokens, positions: jax.Array, *, i: int, train: bool
    ) -> jax.Array:
        """What block i of the other network gave is taken in, then the side's own block."""
        read = Tap(self.width, dtype=self.dtype, name=f"tap_{i}")(tokens)
        read = rearrange(read, "(b t) n d -> b t n d", b=len(x))
        x = 0.5 * x + 0.5 * read[:, :, 1:]
        block = SideBlock(self.differences, dtype=self.dtype, name=f"block_{i}")
        return block(x, read[:, :, 0], positions, train)


class FrameAverage(nn.Module):
    """In place of a side network: the mean of the frames' last class tokens, each normed by batch.

    With a classifier it is what linear probing of the other network's frames is: the order of
    frames is lost.
    """

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T M H W 3"], taps: list[Tokens], *, train: bool = False
    ) -> Float[Array, "B C"]:
        """The video's feature (float32); arguments as of `SideNetwork`."""
        first = rearrange(taps[-1].x[:, 0], "(b t) c -> b t c", b=len(video))
        return BatchNorm(name="norm")(first, train).mean(axis=1)


class SideStem(nn.Module):
    """The side network's own patches: of the middle frames and, half as much, of differences.

    Attributes:
      width: D.
      patch_size: edge of a patch in pixels.
      differences: whether differences are seen. As in the originals this also decides where
        patches lie: with them, one pixel up and left of CLIP's, the pixels outside being zeros.
      dtype: of the computation.
    """

    width: int
    patch_size: int
    differences: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T M H W 3"], train: bool = False
    ) -> Float[Array, "B T N D"]:
        """Patches row by row."""
        x = self._embed("patch", video[:, :, video.shape[2] // 2], train)
        if not self.differences:
            return x
        change = video[:, :, 1:] - video[:, :, :-1]
        change = rearrange(change, "b t m h w c -> b t h w (m c)")
        return x + 0.5 * self._embed("difference", change, train)

    def _embed(self, name: str, frames: jax.Array, train: bool) -> jax.Array:
        """Frames [B,T,H,W,K] -> normed patches [B,T,N,D], of three frames each."""
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
      dtype: of the computation.
    """

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, patches: Float[Array, "B T N P"]) -> Float[Array, "B T N D"]:
        """Each patch meets all three taps at once; their results then go where they belong."""
        inputs = patches.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3 * inputs, self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        kernel = rearrange(kernel.astype(self.dtype), "(tap p) d -> p (tap d)", tap=3)
        x = product(patches.astype(self.dtype), kernel)
        x = rearrange(x, "b t n (tap d) -> b t n tap d", tap=3)
        return over_time(x) + bias[None, None, None].astype(self.dtype)


class Tap(nn.Module):
    """Another network's tokens as the side network takes them in.

    Attributes:
      width: D.
      dtype: of the computation.
    """

    width: int
    dtype: DTypeLike = jnp.float32

    def __call__(self, tokens: Tokens) -> Float[Array, "G N D"]:
        """Tokens [G,n,C] -> one for each token of the input; those that merged share theirs."""
        x = self.read(tokens.x)
        if tokens.size is None:
            return x
        assert tokens.origin is not None
        return jnp.take_along_axis(x, tokens.origin[..., None], axis=1, mode="promise_in_bounds")

    @nn.compact
    def read(self, x: Float[Array, "G n C"]) -> Float[Array, "G n D"]:
        """Tokens as they are, normed and projected."""
        norm = nn.LayerNorm(EPSILON, dtype=self.dtype, name="norm")
        return normed(norm, Dense(self.width, dtype=self.dtype, name="projection"), x)


class TDSCLIP(nn.Module):
    """Classifies videos.

    Attributes:
      vision: CLIP's image transformer, frozen: no gradient enters it. What it merges, it merges
        in each frame apart, and the class token must not.
      side: the network that is trained with the classifier, or what stands in its place.
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
        """Normalised pixels of M neighbouring frames for each of T -> features (float32)."""
        taps: list[Tokens] = []
        merges = any(self.vision.mergers)
        self.vision(video[:, :, video.shape[2] // 2], trace=merges, after_block=taps.append)
        return self.side(video, jax.lax.stop_gradient(taps), train=train)

    def __call__(
        self, video: Float[Array, "B T M H W 3"], *, train: bool = False
    ) -> Float[Array, "B K"]:
        """Normalised pixels -> logits (float32)."""
        return self.head(self.features(video, train=train))


def variables(params: Params) -> Mapping[str, PyTree]:
    """Flax's collections of a tree that holds the running statistics as "batch_stats"."""
    return {
        "params": {name: part for name, part in params.items() if name != "batch_stats"},
        "batch_stats": params["batch_stats"],
    }
