"""Random masking: what stays, in which order, and where UMT uses it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.layers.masking import unmasked
from tokmerge_jax.merging.merger import find
from tokmerge_jax.models.umt import UMTViT
from tokmerge_jax.types import UserError


@given(
    ratio=st.sampled_from((0.0, 0.2, 0.5, 0.8)),
    class_tokens=st.integers(0, 2),
    seed=st.integers(0, 2**31),
)
def test_class_tokens_and_a_part_of_the_patches_stay_in_order(ratio, class_tokens, seed):
    x = jnp.broadcast_to(jnp.arange(10.0 + class_tokens)[:, None], (4, 10 + class_tokens, 3))
    kept = np.asarray(unmasked(x, jax.random.key(seed), ratio, class_tokens))
    assert kept.shape == (4, class_tokens + round(10 * (1 - ratio)), 3)
    numbers = kept[..., 0]
    assert (numbers[:, :class_tokens] == np.arange(class_tokens)).all()
    assert (np.diff(numbers, axis=1) > 0).all()
    assert (kept == numbers[..., None]).all()


def test_each_video_loses_others_and_all_patches_are_equally_likely():
    x = jnp.broadcast_to(jnp.arange(8.0)[:, None], (4000, 8, 1))
    kept = np.asarray(unmasked(x, jax.random.key(1), 0.5))[..., 0].astype(int)
    counts = np.bincount(kept.ravel(), minlength=8)
    np.testing.assert_allclose(counts / 4000, 0.5, atol=0.04)  # 5 standard deviations
    assert len(np.unique(kept, axis=0)) == 70  # all choices of 4 of 8


@pytest.mark.parametrize(("ratio", "train", "tokens"), [(0.75, True, 2), (0.75, False, 8)])
def test_umt_leaves_patches_out_of_its_training_only(ratio, train, tokens):
    network = UMTViT(8, 2, (), 4, 2, mask_ratio=ratio)
    video = jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 3))
    params = jax.jit(network.init)(jax.random.key(1), video)
    apply = jax.jit(network.apply, static_argnames="train")
    rngs = {"dropout": jax.random.key(2)}
    every, x = (apply(params, video, train=mode, rngs=rngs).x for mode in (False, train))
    assert x.shape == (3, tokens, 8)
    apart = np.abs(np.asarray(x)[:, :, None] - np.asarray(every)[:, None]).max(axis=-1)  # [B,M,N]
    assert (apart.min(axis=2) == 0).all()


@pytest.mark.parametrize("name", ["unchanged", "unchanged_runs"])
def test_patches_that_are_compared_over_time_cannot_be_left_out(name):
    merger = find(name, ("input",))(2, 4)  # the patches of the first frame stay
    network = UMTViT(8, 2, (merger,), 4, 2, mask_ratio=0.5)
    video = jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 3))
    params = jax.jit(network.init)(jax.random.key(1), video)

    def tokens(train):
        def run():
            bound = network.bind(params, rngs={"dropout": jax.random.key(2)})
            return bound(video, train=train).x

        return jax.eval_shape(run)

    assert tokens(train=False).shape == (3, 6, 8)
    with pytest.raises(UserError, match=r"^config\.train\.mask_ratio leaves out patches that"):
        tokens(train=True)
