"""The block of divided space-time: attention over time, attention within each frame, MLP.

Source: TimeSformer (ICML 2021), section 3; merging as in TESTA (Findings of EMNLP 2023), section 3.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import pack, rearrange, reduce, repeat, unpack
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.attention import Attention
from tokmerge_jax.layers.functional import MLP, Dense
from tokmerge_jax.merging.space_time import VideoTokens
from tokmerge_jax.merging.testa import Aggregation


class DividedBlock(nn.Module):
    """Attention over time at each place, attention within each frame, and an MLP.

    Attributes:
      heads: K; the number of channels is that of the tokens.
      merging: mergers of frames (after the attention over time) and of patches (before the MLP).
      learned_scale: whether the result of the attention over time has a learned scale per frame.
      mlp_ratio: hidden width of the MLP as a multiple of the channels.
      epsilon: epsilon of all norms.
      dtype: dtype of the computation.
    """

    heads: int
    merging: Aggregation = Aggregation()
    learned_scale: bool = False
    mlp_ratio: int = 4
    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, class_token: Float[Array, "B 1 C"], clip: VideoTokens
    ) -> tuple[Float[Array, "B 1 C"], VideoTokens]:
        """Applies the block to a class token and the patches of a video, which may merge."""
        clip = self._over_time(clip)
        class_token, clip = self._in_frames(class_token, clip)
        norm = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="mlp_norm")
        width = clip.x.shape[-1]
        mlp = MLP(self.mlp_ratio * width, width, dtype=self.dtype, name="mlp")
        x, shapes = pack([class_token, clip.x], "b * c")
        x += mlp(norm(x))
        class_token, x = unpack(x, shapes, "b * c")
        clip = clip.replace(x=x)
        self.sow("intermediates", "out", (class_token, clip))
        return class_token, clip

    def _over_time(self, clip: VideoTokens) -> VideoTokens:
        """Attends over time at every place, then merges frames."""
        _, frames, patches, width = clip.x.shape
        merger = self.merging.frames
        norm = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="temporal_norm")
        attention = self._attention("temporal_attention", width)
        out = Dense(width, dtype=self.dtype, name="temporal_out")
        x = rearrange(norm(clip.x), "b t p c -> (b p) t c")
        y, evidence = attention.attend(
            x,
            attention.keys_values(x),
            needs=merger.needs if merger else frozenset(),
            following=None if self.learned_scale else out,
        )
        if self.learned_scale:
            zeros = nn.initializers.zeros_init()
            scale = 1 + jnp.tanh(self.param("temporal_scaling", zeros, (frames,)))
            y = out(y * scale[None, :, None].astype(y.dtype))
        clip = clip.replace(x=clip.x + rearrange(y, "(b p) t c -> b t p c", p=patches))
        if merger is None:
            return clip
        about = jax.tree.map(lambda e: rearrange(e, "(b p) ... -> b p ...", p=patches), evidence)
        return clip.merge_frames(merger, about)

    def _in_frames(
        self, class_token: jax.Array, clip: VideoTokens
    ) -> tuple[jax.Array, VideoTokens]:
        """Attends within each frame, which has a copy of the class token, then merges patches.

        The class token receives the mean of its copies' results.
        """
        _, frames, _, width = clip.x.shape
        merger = self.merging.patches
        norm = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="attention_norm")
        attention = self._attention("attention", width)
        copies = repeat(class_token, "b 1 c -> b t 1 c", t=frames)
        rows = rearrange(jnp.concatenate([copies, clip.x], axis=2), "b t n c -> (b t) n c")
        x = norm(rows)
        y, evidence = attention.attend(
            x, attention.keys_values(x), needs=merger.needs if merger else frozenset()
        )
        rows += y
        class_token += reduce(y[:, :1], "(b t) 1 c -> b 1 c", "mean", t=frames)
        if merger is None:
            return class_token, clip.replace(
                x=rearrange(rows[:, 1:], "(b t) p c -> b t p c", t=frames)
            )
        return class_token, clip.merge_patches(merger, evidence, rows)

    def _attention(self, name: str, width: int) -> Attention:
        return Attention(self.heads, width, dtype=self.dtype, name=name)
