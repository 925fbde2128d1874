"""Contrast with slow copies and queues, against its definition; how the queues turn; the ramp."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax.training import losses, momentum

PARAMS = {"video": {"kernel": np.ones((2, 3), np.float32)}, "text": np.zeros(3, np.float32)}


def directions(count, seed):
    rows = np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def memory(ids=(0, 0, 0, 0, 0, 0)):
    fresh = momentum.begin(PARAMS, 3, len(ids), jax.random.key(0))
    return fresh.replace(ids=jnp.array(ids))


def softmax(logits):
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("queued", [(7, 3, momentum.NO_ID, 9, 7, 5), (momentum.NO_ID,) * 6])
def test_contrast_is_its_definition(queued):
    ids, held = np.array([3, 7, 3, 8]), memory(queued)
    temperature, alpha = 0.2, 0.3
    video, text, slow_video, slow_text = (directions(4, seed) for seed in range(4))

    def direction(own, slow, others):
        hard = np.array([[a == b for b in (*ids, *queued)] for a in ids], np.float64)
        target = alpha * softmax(slow @ others.T / temperature)
        target += (1 - alpha) * hard / hard.sum(axis=1, keepdims=True)
        return -(target * np.log(softmax(own @ others.T / temperature))).sum(axis=1).mean()

    videos = np.concatenate([slow_video, held.videos])
    texts = np.concatenate([slow_text, held.texts])
    expected = (direction(video, slow_video, texts) + direction(text, slow_text, videos)) / 2
    rows = map(jnp.asarray, (video, text, slow_video, slow_text))
    how = {"match_id": jnp.asarray(ids), "temperature": temperature, "alpha": alpha}
    ours = jax.jit(momentum.contrast)(held, *rows, **how)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_without_alpha_and_queue_it_is_the_plain_contrast():
    video, text = (jnp.asarray(directions(4, seed)) for seed in range(2))
    ids = jnp.array([0, 1, 1, 2])
    held = memory(())
    how = {"match_id": ids, "temperature": 0.1, "alpha": 0.0}
    ours = momentum.contrast(held, video, text, video, text, **how)
    plain, _ = losses.contrastive(video[:, None], text, ids, 0.1)
    np.testing.assert_allclose(ours, plain, rtol=1e-5)


def test_no_gradient_flows_into_what_is_slow():
    rows = [jnp.asarray(directions(2, seed)) for seed in range(4)]

    def loss(video, text, slow_video, slow_text):
        how = {"match_id": jnp.arange(2), "temperature": 0.1, "alpha": 0.4}
        return momentum.contrast(memory(), video, text, slow_video, slow_text, **how)

    own_video, own_text, *slow = jax.grad(loss, (0, 1, 2, 3))(*rows)
    assert np.abs(own_video).max() > 0.01
    assert np.abs(own_text).max() > 0.01
    assert not any(gradient.any() for gradient in slow)
    kept = jax.grad(
        lambda p: momentum.follow(memory(), {**PARAMS, "text": p}).params["text"].sum()
    )(jnp.ones(3))
    assert not kept.any()


def test_copies_follow_slowly_and_know_their_own():
    params = {"video": {"kernel": 3 * PARAMS["video"]["kernel"]}, "text": np.ones(3), "head": 1}
    after = momentum.follow(memory(), params).params
    assert after.keys() == PARAMS.keys()
    np.testing.assert_allclose(after["video"]["kernel"], np.full((2, 3), 1.01), rtol=1e-6)
    np.testing.assert_allclose(after["text"], np.full(3, 0.005), rtol=1e-5)


def test_queues_begin_with_directions_that_match_nothing():
    held = momentum.begin(PARAMS, 3, 50, jax.random.key(1))
    assert set(held.ids.tolist()) == {momentum.NO_ID}
    for queue in (held.videos, held.texts):
        np.testing.assert_allclose(np.linalg.norm(queue, axis=1), np.ones(50), rtol=1e-5)
        assert np.abs(queue.mean(axis=0)).max() < 0.3
    assert not np.array_equal(held.videos, held.texts)


def test_rows_take_the_place_of_the_oldest():
    held = memory((-1,) * 6)
    for turn in range(4):
        rows = jnp.full((2, 3), turn, np.float32)
        held = momentum.push(held, rows, -rows, jnp.array([2 * turn, 2 * turn + 1]))
    assert held.ids.tolist() == [6, 7, 2, 3, 4, 5]
    assert held.videos[:, 0].tolist() == [3, 3, 1, 1, 2, 2]
    assert held.texts[:, 2].tolist() == [-3, -3, -1, -1, -2, -2]
    assert held.place == 2


@pytest.mark.parametrize(("name", "epochs"), [("alpha_finetune", 1.0), ("alpha_pretrain", 2.0)])
def test_alpha_rises_as_the_originals(name, epochs):
    for row in golden.load("testa-schedules").spec[name]:
        done = jnp.float32(row["epoch"] + row["i"] / row["steps_per_epoch"])
        ours = momentum.ramp(row["alpha_config"], done, epochs)
        np.testing.assert_allclose(ours, row["alpha"], rtol=1e-6)
