"""A merger of one's own, by its "module:Class" in a configuration, in a small UMT and CLIP."""

import dataclasses

import clip_case
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import umt_case

import tokmerge_jax
from tokmerge_jax.merging import Merger, merge
from tokmerge_jax.merging.matching import Matching
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class IntoLongest(Merger):
    """Merges the r shortest tokens into the longest; knows how many layers are left."""

    layers: int = 0

    @classmethod
    def at(cls, layer, depth, r, class_tokens):
        return cls(r, class_tokens, depth - layer)

    @staticmethod
    def most(tokens, class_tokens):
        return tokens - class_tokens - 1

    def macs(self, tokens, width, heads):
        return 7 * tokens * width

    def __call__(self, tokens, evidence):
        length = jnp.linalg.norm(tokens.x, axis=-1).at[:, : self.class_tokens].set(jnp.inf)
        order = jnp.argsort(length, descending=True).astype(jnp.int32)
        kept, source = order[:, : -self.r], order[:, -self.r :]
        longest = jnp.full_like(source, self.class_tokens)
        return merge.tokens(Matching(kept, source, longest), tokens)


NAME = f"{__name__}:IntoLongest"
KEYS = {"model.merger.name": NAME}
UMT, CLIP = golden.load("vidtldr-tiny"), golden.load("tempme-tiny")  # 4 and 6 layers


def mergers_of(system):
    return tuple(merger for merger in system.network.vision.mergers if merger)


def macs_of(layer, width):
    """Returns MACs by hand: attention of tokens that enter, the merger, MLP of those that leave."""
    n, m = layer.tokens_in, layer.tokens_out
    return 4 * n * width**2 + 2 * n**2 * width + 7 * n * width + 8 * m * width**2


def test_in_umt():
    """It merges 90 %, then 3 of the 7 that are left; the layers' cost is its own."""
    config = umt_case.config_of(UMT).override({**KEYS, "model.merger.r": (0.9, 3)})
    system = unchecked(tokmerge_jax.build(config))
    params = golden.parameters(system, UMT.weights())
    assert system.trace_video
    trace = jax.jit(system.trace_video)(params, umt_case.videos(UMT, 2))
    n = system.merging.schedule.tokens
    r = int(0.9 * n)
    assert mergers_of(system) == (IntoLongest(r, 0, 4), IntoLongest(3, 0, 3))
    np.testing.assert_array_equal(trace["size"][0], [[1 + r, *[1] * (n - r - 1)]] * 2)
    for origin, size in zip(np.asarray(trace["origin"][1]), trace["size"][1], strict=True):
        np.testing.assert_array_equal(np.bincount(origin), size)
    first = system.merging.cost[1]
    assert (first.tokens_in, first.tokens_out) == (n, n - r)
    assert first.macs == macs_of(first, config.model.vision.width)


@pytest.mark.slow
def test_in_clip():
    """Checks merging within each frame: the class token stays first, and r may exceed half."""
    config = clip_case.config_of(CLIP).override({**KEYS, "model.merger.r": (12, 2)})
    system = unchecked(tokmerge_jax.build(config))
    params = golden.parameters(system, CLIP.weights())
    video = clip_case.videos(CLIP)
    assert system.trace_video
    trace = jax.jit(system.trace_video)(params, video)
    assert mergers_of(system) == (IntoLongest(12, 1, 6), IntoLongest(2, 1, 5))
    frames = config.model.vision.frames
    np.testing.assert_array_equal(trace["size"][0], [[1, 13, 1, 1, 1] * frames] * len(video))
    first = system.merging.cost[1]
    assert (first.tokens_in, first.tokens_out) == (17 * frames, 5 * frames)
    frame = dataclasses.replace(first, tokens_in=17, tokens_out=5)
    assert first.macs == frames * macs_of(frame, config.model.vision.width)


def test_more_than_it_can_merge_is_refused():
    config = clip_case.config_of(CLIP).override({**KEYS, "model.merger.r": (16,)})
    with pytest.raises(UserError, match="r=16 of the 17 tokens that enter layer 0; at most 15"):
        tokmerge_jax.build(config)
