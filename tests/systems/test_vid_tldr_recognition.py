"""UMT's action recognition: the composition that defines it, views, training, wrong settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recognition_case
from recognition_case import config_of, loss_of, normed, system_of, video_of

import tokmerge_jax
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.models.umt import UMTViT
from tokmerge_jax.systems.towers.umt import UMTTower
from tokmerge_jax.training import mixing
from tokmerge_jax.types import UserError

KEY = jax.random.key(0)


def classify(system, params, video):
    assert system.recognition
    return np.asarray(jax.jit(system.recognition.classify)(params, video))


@pytest.mark.parametrize("r", [(0,), (10, 4)])
def test_logits_are_the_head_of_the_normed_mean_of_the_tokens(r):
    """Tokens of UMT's transformer, each counted once, without its last norm."""
    config = config_of(model__merger__r=r)
    system, params = system_of(config)
    tower = UMTTower(config)
    assert isinstance(tower.network, UMTViT)
    assert tower.network.last_norm
    video = video_of()
    network = tower.network.clone(last_norm=False)
    pixels = tower.normalise(video)
    run = jax.jit(lambda weights, x: network.bind({"params": weights})(x).x)
    tokens = np.asarray(run(params["vision"], pixels))
    assert tokens.shape == (2, 64 - sum(r), 32)
    pooled = normed(tokens.mean(axis=1), **params["norm"])
    expected = pooled @ params["head"]["kernel"] + params["head"]["bias"]
    logits = classify(system, params, video)
    assert logits.shape == (2, 1, 5)
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_merging_nothing_is_no_merging():
    plain = config_of(model__merger__name="none")
    (system, params), (none, _) = system_of(config_of(model__merger__r=0)), system_of(plain)
    video = video_of()
    np.testing.assert_array_equal(classify(system, params, video), classify(none, params, video))


def test_views_are_clips_of_their_own():
    system, params = system_of(config_of())
    video = video_of(views=2)
    logits = classify(system, params, video)
    assert logits.shape == (2, 2, 5)
    for view in range(2):
        alone = classify(system, params, video[:, 4 * view : 4 * view + 4])
        np.testing.assert_allclose(logits[:, view], alone[:, 0], rtol=1e-4, atol=1e-4)


def test_loss_is_the_cross_entropy_with_smoothed_labels():
    system, params = system_of(config_of(train__label_smoothing=0.2))
    video, label = video_of(), np.array([1, 4], np.int32)
    batch = {"video": video, "label": label}
    value, parts = jax.jit(loss_of(system))(params, batch, KEY)
    logits = jax.nn.log_softmax(classify(system, params, video)[:, 0])
    targets = 0.2 / 5 + 0.8 * np.eye(5)[label]
    np.testing.assert_allclose(value, -(targets * logits).sum(axis=1).mean(), rtol=1e-5)
    assert parts == {}


@pytest.mark.slow
def test_what_drops_and_mixes_does_so_in_training_alone():
    label = np.array([1, 4], np.int32)
    batch = {"video": video_of(), "label": label}
    for changes in ({"train__mixup": True}, {"model__drop_path": 0.5}):
        system, params = system_of(config_of(**changes))
        plain, _ = system_of(config_of())

        def values(system, params=params):
            run = jax.jit(
                lambda train: loss_of(system)(params, batch, KEY, train=train)[0],
                static_argnums=0,
            )
            return float(run(True)), float(run(False))

        (training, evaluation), (before, _) = values(system), values(plain)
        assert training != evaluation
        assert evaluation == before


@pytest.mark.slow
def test_mixup_is_that_of_the_mixing_key():
    system, params = system_of(config_of(train__mixup=True, model__merger__name="none"))
    video, label = video_of(), np.array([1, 4], np.int32)
    value, _ = loss_of(system)(params, {"video": video, "label": label}, KEY)
    pixels = UMTTower(config_of()).normalise(video)
    targets = mixing.smooth_targets(jnp.asarray(label), 5, 0.1)
    mixed, targets = mixing.mix(jax.random.split(KEY)[0], pixels, targets)
    logits = system.network.bind({"params": params})(mixed)
    expected = -(targets * jax.nn.log_softmax(logits)).sum(axis=1).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_rates_grow_from_block_to_block():
    """Only decay moves: by the decay of the blocks that follow, as the original assigns layers."""
    system, _ = system_of(config_of(train__layer_decay=0.5, train__weight_decay=1.0))
    assert system.training
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape), {**system.weights.shapes})
    zero = jax.tree.map(np.zeros_like, ones)
    adamw = system.training.optimizer(lambda step: jnp.float32(1.0))
    updates, _ = jax.jit(adamw.update)(zero, adamw.init(ones), ones)
    shares = {"patch_embedding": 1 / 16, "block_0": 1 / 8, "block_1": 1 / 4, "block_2": 1 / 2}
    for name, update in rules.flatten(updates).items():
        part = name.split("/")[1] if name.startswith("vision/") else "head"
        decays = update.ndim == 2
        np.testing.assert_allclose(update, -shares.get(part, 1.0) * decays, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("merger", ["vid_tldr", "tome", "pitome"])
def test_gradients_reach_every_parameter(merger):
    system, params = system_of(config_of(model__merger__name=merger))
    batch = {"video": video_of(), "label": np.array([0, 2], np.int32)}
    gradient = jax.jit(jax.grad(lambda p: loss_of(system)(p, batch, KEY)[0]))(params)
    for name, part in rules.flatten(gradient).items():
        assert np.isfinite(part).all(), name
        assert np.any(part), name


def test_cost_includes_the_head():
    merging = tokmerge_jax.build(config_of()).merging
    *layers, head = merging.cost
    assert [layer.tokens_out for layer in layers] == [64, 54, 50, 50]
    assert (head.name, head.macs) == ("head", 32 * 5)


def test_a_trace_follows_all_patches():
    system, params = system_of(config_of())
    assert system.trace_video
    trace = system.trace_video(params, video_of())
    assert [x.shape for x in trace["origin"]] == [(2, 64)] * 2
    assert [x.shape[1] for x in trace["size"]] == [54, 50]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__classes": 0}, r"config\.model\.classes=0 must be at least 1"),
        ({"train__samples": 0}, r"config\.train\.samples=0 must be at least 1"),
        ({"train__layer_decay": 1.5}, r"config\.train\.layer_decay=1\.5 must be from 0 to 1"),
        ({"train__label_smoothing": -0.5}, r"label_smoothing=-0\.5 must be from 0 to 1"),
        ({"train__mask_ratio": 1.0}, "mask_ratio=1 leaves no patch"),
        ({"data__crops": 0}, r"config\.data\.crops=0 must be 1 or more"),
        ({"data__neighbours": 3}, r"config\.data\.neighbours=3 must be 1: this network reads"),
        ({"data__scale": 16}, r"config\.data\.scale=16 must be at least the frames' size 32"),
        ({"model__vision__image_size": 30}, r"image_size=30 must be a multiple of"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(UserError, match=message):
        tokmerge_jax.build(recognition_case.config_of(**changes))
