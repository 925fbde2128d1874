"""The learning rate against the original's, weight decay's mask, the temperature's bounds."""

from typing import Any

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax.training import optimizer


def test_learning_rate_is_the_originals():
    case = golden.load("umtqa-schedule")
    config = case.config
    per_epoch = config["steps_per_epoch"]
    rate = optimizer.cosine(
        config["lr"],
        steps=config["epochs"] * per_epoch,
        warmup_steps=config["warmup_epochs"] * per_epoch,
        min_share=config["min_lr_multi"],
    )
    ours = [float(rate(step)) for step in case.spec["inputs"]["steps"]]
    np.testing.assert_allclose(ours, case.spec["expected"], rtol=2e-6)


def test_no_warmup_starts_at_the_top_and_ends_at_the_floor():
    rate = optimizer.cosine(2.0, steps=4, min_share=0.1)
    np.testing.assert_allclose([rate(s) for s in range(5)], [2, 1.7071068, 1, 0.29289323, 0.2])


def test_vectors_and_biases_are_not_decayed():
    params = {
        "dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
        "norm": {"scale": jnp.ones(3)},
        "heads": {"bias": jnp.ones((2, 2))},
        "temperature": jnp.ones(()),
    }
    assert optimizer.decayed(params) == {
        "dense": {"kernel": True, "bias": False},
        "norm": {"scale": False},
        "heads": {"bias": False},
        "temperature": True,
    }
    transformation = optimizer.adamw(lambda step: jnp.float32(0.5), weight_decay=0.02)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates: Any = transformation.update(zero, transformation.init(params), params)[0]
    np.testing.assert_allclose(updates["dense"]["kernel"], np.full((2, 3), -0.01), rtol=1e-6)
    assert not updates["norm"]["scale"].any()


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.001), (0.07, 0.07), (2.0, 0.5)])
def test_temperature_is_clamped_and_nothing_else(before, after):
    params = {"temperature": jnp.float32(before), "other": {"kernel": jnp.full((1, 1), 9.0)}}
    bounded = optimizer.bounded(params)
    assert bounded["temperature"] == np.float32(after)
    assert bounded["other"]["kernel"] == 9.0
