"""TDS-CLIP by its definitions: what is trained, what training costs, merging that loses nothing."""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tds_clip_case
from tds_clip_case import SMALL

from tokmerge_jax.layers import side
from tokmerge_jax.models.tds_clip import split_collections


def drawn(sizes):
    """Parameters of such a network, drawn: nothing in it is zero."""
    shapes = tds_clip_case.abstract_params(tds_clip_case.module_of(sizes), sizes)
    rng = np.random.default_rng(3)

    def draw(path, leaf):
        x = rng.standard_normal(leaf.shape, np.float32) / max(1, leaf.size) ** 0.25
        return 1 + x**2 if path[-1].key in ("scale", "var") else x

    return jax.tree_util.tree_map_with_path(draw, shapes)


def video_of(batch=1, frames=3):
    return np.random.default_rng(4).standard_normal((batch, frames, 5, 32, 32, 3), np.float32)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("differences", "trained"), [(True, 24_224_526), (False, 21_112_686)])
def test_parameters_of_the_published_size(differences, trained):
    """ViT-B/16 with 174 classes, as the original counts them; statistics are no parameters."""
    sizes = {
        "vision.width": 768,
        "vision.depth": 12,
        "vision.heads": 12,
        "vision.patch_size": 16,
        "vision.image_size": 224,
        "side.width": 320,
        "side.differences": differences,
        "classes": 174,
    }
    shapes = tds_clip_case.abstract_params(tds_clip_case.module_of(sizes), sizes)
    assert count(shapes["vision"]) == 85_797_888
    assert count(shapes["side"]) + count(shapes["head"]) == trained


def loss_of(module, video):
    """Something to minimise in training mode, and the statistics after it."""

    def loss(params):
        settings = {"train": True, "mutable": "batch_stats"}
        logits, stats = module.apply(split_collections(params), jnp.asarray(video), **settings)
        return logits.sum(), stats

    return loss


@pytest.mark.slow
def test_training_stays_out_of_the_frozen_network():
    """A step costs one pass through it and three through the rest."""
    sizes = {**SMALL, "vision.width": 256, "vision.heads": 4}
    module, video = tds_clip_case.module_of(sizes), video_of()
    params, loss = tds_clip_case.abstract_params(module, sizes), loss_of(module, video)
    tower = nn.apply(lambda vision, x: vision(x).x, module.vision)

    def operations(function, *arguments):
        cost = jax.jit(function).lower(*arguments).cost_analysis()
        assert cost
        return cost["flops"]

    forward, step = (operations(f, params) for f in (loss, jax.grad(loss, has_aux=True)))
    frozen = operations(tower, {"params": params["vision"]}, video[:, :, 2])
    assert frozen > forward / 2
    assert step < frozen + 3.5 * (forward - frozen)


@pytest.mark.slow
def test_remat_keeps_less_for_the_gradient():
    """Checks the arrays kept for the backward pass, before XLA, which on a CPU undoes remat."""
    module, params = tds_clip_case.module_of(SMALL), tds_clip_case.abstract_params
    params, video = params(module, SMALL), jnp.asarray(video_of())

    def kept(remat):
        network = module.clone(side=module.side.clone(remat=remat, parent=None))

        def backward(side, others):
            def run(side):
                own = split_collections({**others, "side": side})
                return network.apply(own, video, train=True, mutable="batch_stats")[0]

            return jax.vjp(run, side)[1]

        shapes = jax.tree.leaves(jax.eval_shape(backward, params["side"], params))
        return sum(leaf.size for leaf in shapes)

    assert kept(True) < 0.6 * kept(False)  # the parameters among it


@pytest.mark.slow
def test_gradients():
    """None enters the frozen network; blocks computed again (`remat`) leave all as it is."""
    module, params = tds_clip_case.module_of(SMALL, (2, 2)), drawn(SMALL)
    again = module.clone(side=module.side.clone(remat=True, parent=None))
    (gradients, stats), others = (
        jax.jit(jax.grad(loss_of(m, video_of()), has_aux=True))(params) for m in (module, again)
    )
    assert not any(x.any() for x in jax.tree.leaves(gradients["vision"]))
    assert all(x.any() for x in jax.tree.leaves(gradients["side"]["tap_0"]))
    assert gradients["side"]["position_embedding"].any()
    pairs = zip(*map(jax.tree.leaves, ((gradients, stats), others)), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))


@pytest.mark.slow
def test_equal_tokens_merge_without_a_trace():
    """Where neighbours are equal in pairs, merging the pairs changes no logit."""
    plain, merged = (jax.jit(tds_clip_case.module_of(SMALL, r).apply) for r in ((0, 0), (8, 0)))
    own, video = split_collections(drawn(SMALL)), video_of()
    assert not np.allclose(merged(own, video), plain(own, video), rtol=1e-2)
    tiles = video[:, :, 2].reshape(1, 3, 4, 8, 2, 2, 8, 3)
    tiles[..., 1, :, :] = tiles[..., 0, :, :]  # of every two patches in a row
    video[:, :, 2] = tiles.reshape(1, 3, 32, 32, 3)
    table = own["params"]["vision"]["position_embedding"]
    table[2::2] = table[1::2]
    np.testing.assert_allclose(merged(own, video), plain(own, video), rtol=1e-4, atol=1e-5)


def test_neighbours_in_time():
    """Zeros come in from outside; the first half of a class token is the next frame's."""
    first = jnp.arange(1.0, 7.0).reshape(1, 3, 2)
    np.testing.assert_array_equal(side.shifted(first)[0], [[3, 0], [5, 2], [0, 4]])
    taps = jnp.asarray([[1.0, 10.0, 100.0]] * 3).reshape(1, 3, 1, 3, 1)
    np.testing.assert_array_equal(side.over_time(taps)[0, :, 0, 0], [110, 111, 11])


def test_slow_motion_is_told_in_half_precision():
    """The gate's differences of frames that are nearly equal; in bfloat16 they would be 5 % off."""
    rng = np.random.default_rng(6)
    still = rng.standard_normal((1, 1, 16, 64), np.float32)
    x = still + 0.03 * rng.standard_normal((1, 6, 16, 64), np.float32)
    x = jnp.asarray(x, jnp.bfloat16)
    run = {d: side.DifferenceGate(dtype=d) for d in (jnp.float32, jnp.bfloat16)}
    own = jax.jit(run[jnp.float32].init)(jax.random.key(1), x.astype(jnp.float32))
    seen = {}
    for dtype, gate in run.items():
        _, recorded = gate.apply(own, x.astype(dtype), capture_intermediates=True, mutable=True)
        (expanded,) = cast(Any, recorded)["intermediates"]["expand"]["__call__"]
        seen[dtype] = expanded.astype(jnp.float32)
    ours, exact = seen[jnp.bfloat16], seen[jnp.float32]
    assert jnp.linalg.norm(ours - exact) < 0.01 * jnp.linalg.norm(exact)


def test_a_single_frame():
    """The network runs with any number of frames; one has no neighbours, so that none differs."""
    x = jnp.ones((1, 1, 2, 64))
    gated, _ = jax.jit(side.DifferenceGate().init_with_output)(jax.random.key(0), x)
    np.testing.assert_allclose(gated, x)  # sigmoid(0) = 1/2
