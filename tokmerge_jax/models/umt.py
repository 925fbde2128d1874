"""UMT for retrieval (video transformer, BERT, embedding space, matching head) and recognition.

Source: Unmasked Teacher (ICCV 2023), section 3; merging as in vid-TLDR (CVPR 2024); matching is
ALBEF's (NeurIPS 2021), section 3.2.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import reduce
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tokmerge_jax.layers.attention import KeysValues
from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.functional import Dense, patchify, unit
from tokmerge_jax.layers.masking import unmasked
from tokmerge_jax.layers.positions import space_time
from tokmerge_jax.merging import Evidence, Merger, Tokens, proportional
from tokmerge_jax.merging.unchanged import difference
from tokmerge_jax.models.matcher import Matcher
from tokmerge_jax.types import UserError

_COMPARED = (
    "config.train.mask_ratio leaves out patches that a merger before the first block compares; set"
    " it to 0, or choose another config.model.merger.name"
)


class UMTViT(nn.Module):
    """UMT's video transformer.

    Attributes:
      width: C.
      heads: K.
      mergers: one per block, None where nothing merges; their number is the depth. The first may
        act at the place "input", on embedded patches.
      patch_size: edge of a patch in pixels.
      table_frames: number of frames of the checkpoint's position table.
      grid: edge of its frames in patches, from which other videos interpolate; 0 = the video's.
      drop_path: rate in the last block; the rate grows linearly from 0.
      mask_ratio: share of the patches that a training step leaves out.
      remat: whether blocks are recomputed in the backward pass: less memory, more time.
      last_norm: whether a norm follows the last block.
      dtype: dtype of the computation.
    """

    width: int
    heads: int
    mergers: tuple[Merger | None, ...]
    patch_size: int
    table_frames: int
    grid: int = 0
    drop_path: float = 0.0
    mask_ratio: float = 0.0
    remat: bool = False
    last_norm: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False, trace: bool = False
    ) -> Tokens:
        """Encodes normalised pixels to tokens [B,N,C], with their origin if `trace`.

        Raises:
          UserError: if patches are left out that a merger at the place "input" has to compare.
        """
        frames = video.shape[1]
        embed = Dense(self.width, dtype=self.dtype, name="patch_embedding")
        patches = embed(patchify(video, self.patch_size))
        x = self._placed(patches, video.shape)
        first, class_tokens = next(iter(self.mergers), None), x.shape[1] - patches.shape[1]
        at_input = first and first.place == "input"
        if self.mask_ratio and train:
            if at_input:
                raise UserError(_COMPARED)
            x = unmasked(x, self.make_rng("dropout"), self.mask_ratio, class_tokens)
        tokens = Tokens.traced(x) if trace else Tokens(x)
        if first and at_input:
            changed = difference(patches, frames, class_tokens)
            evidence = Evidence(difference=changed, frames=frames)
            tokens = first(tokens, evidence)
            self.sow("intermediates", "evidence", evidence)
            self.sow("intermediates", "after_merging", tokens)
        kind = nn.remat(Block, static_argnums=2) if self.remat and train else Block
        for i, merger in enumerate(self.mergers):
            tokens = self._block(kind, i, merger)(tokens, train)
        if not self.last_norm:
            return tokens
        return tokens.replace(x=nn.LayerNorm(1e-6, dtype=self.dtype, name="norm")(tokens.x))

    @nn.nowrap
    def positions(self, frames: int, patches: int) -> np.ndarray:
        """The position table [N,C] for `frames` frames of `patches` patches."""
        return space_time(patches, self.width, frames, self.table_frames, self.grid)

    def _placed(self, patches: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Adds positions to the patches [B,T P,C] of a video of this shape."""
        table = self.positions(shape[1], patches.shape[1] // shape[1])
        return patches + jnp.asarray(table, self.dtype)[None]

    def _block(self, kind: type[Block], i: int, merger: Merger | None) -> Block:
        """The i-th block of the transformer."""
        return kind(
            self.heads,
            merger,
            proportional(self.mergers),
            biased=("query", "value"),
            drop_path=self.drop_path * i / max(len(self.mergers) - 1, 1),
            dtype=self.dtype,
            name=f"block_{i}",
        )


class UMT(Matcher):
    """Encodes videos and texts separately, and scores how well they match.

    Attributes:
      vision: the video transformer.
      text: BERT, whose fusion layers read the video's tokens.
      embed_dim: E.
      keep_temporal: whether tokens are pooled per frame (F = T) instead of per video (F = 1); needs
        a `vision` without mergers, so that tokens are in order.
      dtype: dtype of the computation; embeddings and scores are float32.
    """

    vision: UMTViT
    embed_dim: int
    keep_temporal: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        super().setup()
        self.pool_norm = nn.LayerNorm(1e-6, dtype=self.dtype)
        self.vision_projection = nn.Dense(self.embed_dim, dtype=self.dtype)
        self.text_projection = nn.Dense(self.embed_dim, dtype=self.dtype)
        self.temperature = self.param("temperature", nn.initializers.constant(0.07), ())

    @property
    def vocabulary(self) -> int:
        """The size W of the vocabulary."""
        return self.text.vocab_size

    def encode_video(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False
    ) -> tuple[Float[Array, "B N C"], Float[Array, "B F E"]]:
        """Encodes normalised pixels to tokens and embeddings of unit norm (float32).

        The embedding is the mean of all tokens; as in the original, sizes are ignored.
        """
        x = self.vision(video, train=train).x
        frames = video.shape[1] if self.keep_temporal else 1
        pooled = reduce(x, "b (f n) c -> b f c", "mean", f=frames)
        return x, unit(self.vision_projection(self.pool_norm(pooled)))

    def encode_text(
        self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"], *, train: bool = False
    ) -> tuple[Float[Array, "B L C"], Float[Array, "B E"]]:
        """Encodes token ids to states and embeddings of unit norm (float32)."""
        states = self.text.encode_text(ids, mask, train=train)
        return states, unit(self.text_projection(states[:, 0]))

    def predict_words(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
        memory: tuple[KeysValues, ...],
        *,
        train: bool = False,
    ) -> Float[Array, "B L W"]:
        """Returns the logits of the word at each position of a text, given its video (float32)."""
        states = self.text.encode_text(ids, mask, train=train)
        return self.text.words(self.text.fuse(states, mask, memory, train=train))

    def __call__(
        self,
        video: Float[Array, "B T H W 3"],
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
    ) -> tuple[Float[Array, "B F E"], Float[Array, "B E"], Float[Array, "B 2"]]:
        """Returns both embeddings, and the matching logits of each video with its own text."""
        tokens, video_embedding = self.encode_video(video)
        states, text_embedding = self.encode_text(ids, mask)
        if self.text.predicts_words:  # so that its head is initialised
            self.text.words(states)
        return video_embedding, text_embedding, self.match(self.memory(tokens), states, mask)


class UMTClassifier(nn.Module):
    """Classifies clips by the mean of their tokens.

    As in the embedding of vid-TLDR's retrieval, all tokens that are left count the same, however
    many patches each stands for. Norm and head compute in float32.

    Attributes:
      vision: the video transformer, without a last norm.
      classes: K.
    """

    vision: UMTViT
    classes: int

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False
    ) -> Float[Array, "B K"]:
        """Classifies normalised pixels: logits (float32)."""
        pooled = self.vision(video, train=train).x.mean(axis=1, dtype=jnp.float32)
        near_zero = nn.initializers.normal(2e-5)  # as the original's fine-tuning begins
        head = Dense(self.classes, kernel_init=near_zero, name="head")
        return head(nn.LayerNorm(1e-6, name="norm")(pooled))
