"""VideoPrism: attention within frames, then over time at each place, then among all tokens.

Source: VideoPrism (ICML 2024), its released code. Merging in it has no original. Tokens merge
within frames: alike in all frames of a clip, so that attention over time finds a place in each of
them, or in every frame on its own, whose places are then restored for that attention.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tokmerge_jax import kernels
from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.functional import Dense, patchify, unit
from tokmerge_jax.layers.norm import OffsetNorm
from tokmerge_jax.layers.pooling import WidePooling
from tokmerge_jax.layers.positions import linear_grid, linear_times
from tokmerge_jax.merging import Merger, Tokens, merge
from tokmerge_jax.models.videoprism_text import LOGIT_CAP, VideoPrismText

After = Literal["dense", "regroup"]


class Blocks(nn.Module, kw_only=True):
    """Blocks in a row, which may merge tokens.

    Attributes:
      heads: K.
      mlp_width: hidden width of the MLPs.
      mergers: one per block, None where nothing merges; their number is the depth.
      proportional: whether a key's weight is the number of tokens merged into it.
      alike: number of neighbouring samples in which the same tokens merge.
      logit_cap: see `Attention`.
      dtype: of the computation.
    """

    heads: int
    mlp_width: int
    mergers: tuple[Merger | None, ...]
    proportional: bool = True
    alike: int = 1
    logit_cap: float = LOGIT_CAP
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Tokens:
        """Applies the blocks to tokens [B,N,C]."""
        return self._blocks(tokens)

    def _blocks(self, tokens: Tokens) -> Tokens:
        records = self.is_mutable_collection("intermediates")
        for i, merger in enumerate(self.mergers):
            block = Block(
                self.heads,
                merger,
                proportional=self.proportional,
                alike=self.alike,
                logit_cap=self.logit_cap,
                norm=OffsetNorm,
                mlp_width=self.mlp_width,
                dtype=self.dtype,
                name=f"block_{i}",
            )
            whole = records or (merger is not None and self.alike > 1)
            rows = tokens.x.shape[1]
            tokens = block(tokens) if whole else kernels.few_at_a_time(block, (tokens,), rows)
        return tokens


class FrameViT(Blocks, kw_only=True):
    """Encodes the frames of videos, each on its own.

    Attributes:
      width: C.
      patch_size: edge of a patch in pixels.
      grid: edge of the position table in patches, which is interpolated for frames of other sizes.
    """

    width: int
    patch_size: int
    grid: int

    @nn.compact
    def __call__(self, video: Float[Array, "B T H W 3"], *, trace: bool = False) -> Tokens:
        """Encodes pixels in [0,1] to normed tokens [B T,N,C], with their origin if `trace`."""
        frames = rearrange(video, "b t h w c -> (b t) 1 h w c")
        x = Dense(self.width, dtype=self.dtype, name="patch_embedding")(
            patchify(frames, self.patch_size)
        )
        table = _table(self, "position_embedding", self.grid**2, self.width)
        rows, columns = (edge // self.patch_size for edge in video.shape[2:4])
        x += linear_grid(table, self.grid, rows, columns, antialias=True)[None].astype(x.dtype)
        tokens = self._blocks(Tokens.traced(x) if trace else Tokens(x))
        return tokens.replace(x=OffsetNorm(dtype=self.dtype, name="norm")(tokens.x))


class VideoPrismEncoder(nn.Module, kw_only=True):
    """The plain VideoPrism, which encodes videos to tokens.

    Attributes:
      vision: the transformer of frames.
      temporal: the blocks over time.
      table_frames: number of frames of the table of times, which is interpolated for others.
      restores: whether frames merge on their own, so that all their places return for attention
        over time; otherwise `vision` merges alike in all frames of a clip.
      dtype: of the computation.
    """

    vision: FrameViT
    temporal: Blocks
    table_frames: int
    restores: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        self.times = _table(self, "time_embedding", self.table_frames, self.vision.width)
        self.temporal_norm = OffsetNorm(dtype=self.dtype)

    def encode(
        self, video: Float[Array, "B T H W 3"], *, trace: bool = False
    ) -> tuple[Float[Array, "BT M C"], Tokens]:
        """Encodes pixels in [0,1].

        Returns:
          What each token of a frame is after the attention over time, or each place if `restores`;
          the tokens of frames before, [B T,N,C], for their sizes and, with `trace` or `restores`,
          their origin.
        """
        tokens = self.vision(video, trace=trace or self.restores)
        x = _restored(tokens.x, tokens) if self.restores else tokens.x
        return self._over_time(x, video.shape[1]), tokens

    def __call__(self, video: Float[Array, "B T H W 3"]) -> Float[Array, "B M C"]:
        """Encodes pixels in [0,1] to a token for every place, frame by frame: M = T P."""
        x, tokens = self.encode(video, trace=True)
        return self.dense(x, tokens, video.shape[1])

    def dense(
        self, x: Float[Array, "BT N C"], tokens: Tokens, frames: int
    ) -> Float[Array, "B M C"]:
        """A token for every place, from the results of `encode` with `trace`."""
        x = x if self.restores else _restored(x, tokens)
        return rearrange(x, "(b t) p c -> b (t p) c", t=frames)

    def _over_time(self, x: Float[Array, "BT N C"], frames: int) -> Float[Array, "BT N C"]:
        """Attends over the frames of a clip, at each place."""
        places = x.shape[1]
        x = rearrange(x, "(b t) n c -> (b n) t c", t=frames)
        times = linear_times(self.times, frames)[None].astype(x.dtype)
        x = self.temporal(Tokens(x + times)).x
        return rearrange(self.temporal_norm(x), "(b n) t c -> (b t) n c", n=places)


class VideoPrism(VideoPrismEncoder, kw_only=True):
    """VideoPrism-LvT, which also encodes texts: both have vectors of C channels.

    Attributes:
      auxiliary: the blocks among all tokens of a video.
      text: the text transformer.
      after: if `restores`, the tokens of the auxiliary blocks: all places (dense), or the means of
        the places that had merged (regroup).
    """

    auxiliary: Blocks
    text: VideoPrismText
    after: After = "dense"

    def setup(self) -> None:  # noqa: D102
        super().setup()
        self.pool = WidePooling(
            self.vision.heads, 4 * self.vision.width, norm=OffsetNorm, dtype=self.dtype
        )

    def encode_video(self, video: Float[Array, "B T H W 3"]) -> Float[Array, "B 1 C"]:
        """Encodes pixels in [0,1] to an embedding of each video, of unit norm (float32)."""
        return self.embed(*self.encode(video), video.shape[1])

    def embed(
        self, x: Float[Array, "BT N C"], tokens: Tokens, frames: int
    ) -> Float[Array, "B 1 C"]:
        """The embeddings of videos, from the results of `encode`."""
        if self.restores:
            tokens = merge.regroup(x, tokens) if self.after == "regroup" else Tokens(x)
        else:
            tokens = Tokens(x, tokens.size)
        tokens = jax.tree.map(
            lambda part: rearrange(part, "(b t) n ... -> b (t n) ...", t=frames),
            Tokens(tokens.x, tokens.size),
        )
        tokens = self.auxiliary(tokens)
        return unit(self.pool(tokens.x, tokens.size))[:, None]

    def encode_text(self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"]) -> Float[Array, "B C"]:
        """Encodes token ids to embeddings of unit norm (float32)."""
        return unit(self.text(ids, mask))

    def __call__(
        self,
        video: Float[Array, "B T H W 3"],
        ids: Int[Array, "Q L"],
        mask: Bool[Array, "Q L"],
    ) -> tuple[Float[Array, "B 1 C"], Float[Array, "Q C"]]:
        """Returns the embeddings of both."""
        return self.encode_video(video), self.encode_text(ids, mask)


def _table(module: nn.Module, name: str, rows: int, width: int) -> jax.Array:
    """A learned table of positions."""
    init = nn.initializers.normal(width**-0.5)
    return jnp.asarray(module.param(name, init, (rows, width)))


def _restored(x: Float[Array, "B N C"], tokens: Tokens) -> Float[Array, "B M C"]:
    """What the traced tokens are, at every place that they hold."""
    assert tokens.origin is not None
    return merge.restore(x, tokens.origin)
