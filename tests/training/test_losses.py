"""Losses against the original's numbers, and the draw of negatives against its definition."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from umt_case import close

from tokmerge_jax.training import losses

IDS = {"distinct": range(6), "repeated": (0, 1, 1, 2, 0, 3)}


@pytest.mark.parametrize("form", ["pooled", "frames"])
@pytest.mark.parametrize("ids", IDS)
def test_contrastive_and_weights(form, ids):
    case = golden.load("vidtldr-loss-units")
    expected = {
        key.removeprefix(f"vtc/{form}/{ids}/"): value
        for key, value in case.arrays.items()
        if key.startswith(f"vtc/{form}/{ids}/")
    }
    match_id = jnp.array(IDS[ids])
    video, text = (jnp.asarray(case.arrays[f"inputs/{x}"]) for x in (f"vision_{form}", "text"))
    run = jax.value_and_grad(losses.contrastive, (0, 1, 3), has_aux=True)
    (loss, similarity), gradients = run(video, text, match_id, case.config["temp"])
    to_video, to_text = losses.hard_negative_weights(similarity, match_id)
    close(loss, expected["loss"])
    close(similarity, expected["sim_v2t"])
    for ours, name in zip(gradients, ("grad_vision", "grad_text", "grad_temp"), strict=True):
        close(ours, expected[name])
    close(to_video, expected["weights_t2v"])
    close(to_text, expected["weights_v2t"])


def test_no_gradient_flows_through_the_weights():
    similarity = jnp.eye(3, dtype=np.float32)
    total = jax.grad(lambda s: losses.hard_negative_weights(s, jnp.arange(3))[0].max())(similarity)
    assert not total.any()


def test_nan_similarity_weighs_a_hundredth():
    similarity = jnp.array([[0, np.nan], [1, 0]])
    _, to_text = losses.hard_negative_weights(similarity, jnp.arange(2))
    np.testing.assert_array_equal(to_text[0], np.array([0, 0.01], np.float32))


def test_matches_that_are_far_ahead_leave_the_others_in_proportion():
    similarity = jnp.array([[300.0, np.log(3), 0], [0, 1, 0], [0, 0, 1]])
    _, to_text = losses.hard_negative_weights(similarity, jnp.arange(3))
    np.testing.assert_allclose(to_text[0], [0, 0.75, 0.25], rtol=1e-6)


def test_matching_labels_are_one_and_twice_zero():
    logits = jnp.array([[0.0, 2], [1, 0], [0, 0]])
    surprise = [np.log1p(np.exp(-2)), np.log1p(np.exp(-1)), np.log(2)]
    np.testing.assert_allclose(losses.matching(logits), np.mean(surprise), rtol=1e-6)


def test_categorical_draws_in_proportion_and_never_a_match():
    weights = jnp.tile(jnp.array([[0.0, 1, 3]]), (20_000, 1))
    drawn = losses.categorical(jax.random.key(0), weights)
    share = np.bincount(drawn, minlength=3) / len(weights)
    assert drawn.dtype == np.int32
    assert share[0] == 0
    np.testing.assert_allclose(share, [0, 0.25, 0.75], atol=0.015)


def test_a_row_of_matches_alone_stays_finite():
    similarity = jnp.ones((2, 2))
    to_video, _ = losses.hard_negative_weights(similarity, jnp.zeros(2, int))
    assert losses.categorical(jax.random.key(0), to_video).tolist() == [0, 0]
    loss, _ = losses.contrastive(jnp.ones((2, 1, 3)), jnp.ones((2, 3)), jnp.zeros(2, int), 0.07)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


def test_hidden_words():
    """Half of the words are chosen; of these 80 % are masked, 10 % random, 10 % kept."""
    rng = np.random.default_rng(0)
    ids = jnp.asarray(rng.integers(200, 1000, (400, 30)))
    mask = jnp.asarray(np.arange(30)[None] < rng.integers(1, 31, (400, 1)))
    hidden, chosen = (
        np.asarray(x) for x in losses.mask_words(jax.random.key(1), ids, mask, 103, 150)
    )
    assert not chosen[:, 0].any()  # the start token
    assert not chosen[~np.asarray(mask)].any()
    free = np.asarray(mask)[:, 1:]
    np.testing.assert_allclose(chosen[:, 1:][free].mean(), 0.5, atol=0.02)
    np.testing.assert_array_equal(hidden[~chosen], np.asarray(ids)[~chosen])
    masked, kept = hidden[chosen] == 103, hidden[chosen] == np.asarray(ids)[chosen]
    np.testing.assert_allclose([masked.mean(), kept.mean()], [0.8, 0.1], atol=0.02)
    assert (hidden[chosen][~masked & ~kept] < 150).all()


def test_word_prediction_is_the_mean_over_chosen_words():
    logits = jnp.log(jnp.array([[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]]))
    ids = jnp.array([[0, 1, 1]])
    loss = losses.word_prediction(logits, ids, jnp.array([[False, True, True]]))
    np.testing.assert_allclose(loss, -(np.log(0.1) + np.log(0.8)) / 2, rtol=1e-6)
    assert losses.word_prediction(logits, ids, jnp.zeros((1, 3), bool)) == 0
