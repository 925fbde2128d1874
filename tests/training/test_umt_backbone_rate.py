"""The learning rate of UMT's video transformer, as a share of the others', and a frozen one."""

import jax
import jax.numpy as jnp
import numpy as np

from tokmerge_jax.config import umt
from tokmerge_jax.systems.vid_tldr import training
from tokmerge_jax.training import step

PARAMS = {
    "vision": {"norm": {"scale": jnp.full(2, 3.0)}},
    "vision_projection": {"kernel": jnp.full((2, 2), 3.0)},
    "text": {"word": jnp.full((2, 2), 3.0)},
}
BATCH = {"video": np.zeros(1)}


def squares(params, batch, key, *, train=True):
    del batch, key, train
    return 0.5 * jnp.stack([(leaf**2).sum() for leaf in jax.tree.leaves(params)]).sum(), {}


def constant(_):
    return jnp.asarray(0.1)


def after_a_step(rate):
    """The change of each parameter by one step at a rate of 0.1."""
    train = umt.Training(backbone_rate=rate, weight_decay=0.0)
    record = training.record(train, squares, lambda rows: {})
    transformation = record.optimizer(constant)
    state = step.create(transformation, PARAMS, record.trainable)
    advance = step.make(
        record.loss, transformation, constant, 0, record.trainable, per_epoch=1, grad_accum=1
    )
    state, _ = advance(state, BATCH)
    return jax.tree.map(lambda new, old: np.asarray(new - old), state.params, PARAMS)


def test_the_transformer_learns_at_its_share_of_the_rate():
    moved = after_a_step(0.25)
    np.testing.assert_allclose(moved["vision"]["norm"]["scale"], -0.025, rtol=1e-5)
    np.testing.assert_allclose(moved["vision_projection"]["kernel"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(moved["text"]["word"], -0.1, rtol=1e-5)


def test_at_rate_0_it_is_frozen_and_the_rest_learns():
    moved = after_a_step(0.0)
    np.testing.assert_array_equal(moved["vision"]["norm"]["scale"], 0)
    np.testing.assert_allclose(moved["vision_projection"]["kernel"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(moved["text"]["word"], -0.1, rtol=1e-5)


def test_a_frozen_transformer_has_neither_gradient_nor_moments():
    train = umt.Training(backbone_rate=0.0)
    record = training.record(train, squares, lambda rows: {})
    state = step.create(record.optimizer(constant), PARAMS, record.trainable)
    moments = jax.tree.leaves(state.moments)
    assert sorted(leaf.size for leaf in moments if leaf.ndim) == [4, 4, 4, 4]  # none of size 2
