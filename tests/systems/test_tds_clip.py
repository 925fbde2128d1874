"""TDS-CLIP's system: loss and gradients as the original's, views, merging; and wrong settings."""

import functools
from typing import Any

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tds_clip_case
from clip_case import close
from tds_clip_case import SMALL

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.training import step
from tokmerge_jax.types import UserError

KEY = jax.random.key(0)
EPOCH = jnp.float32(0)


def build(config) -> Any:
    """The system, whose loss remembers."""
    return tokmerge_jax.build(config)


def flat(video):
    """[B,T,M,...] as batches hold it."""
    return video.reshape(len(video), -1, *video.shape[3:])


@pytest.fixture(scope="module")
def case():
    """The golden case, its system, parameters and batch."""
    original = golden.load("tdsclip-loss")
    system, params = tds_clip_case.system_of(original)
    params = jax.tree.map(jnp.asarray, params)
    label = np.array(original.config["labels"], np.int32)
    return (
        original,
        system,
        params,
        {"video": flat(tds_clip_case.video_of(original)), "label": label},
    )


@pytest.mark.parametrize(("side_rate", "differences"), [(0.5, True), (1.0, False)])
def test_rates_are_those_of_the_original_s_groups(side_rate, differences):
    """Checks its groups by name: "bn" and "side"; "visual"; the rest. Only decay moves."""
    config = tds_clip_case.config_of({**SMALL, "side.differences": differences})
    assert config.train.side_rate == 1
    system = build(config.override({"train.side_rate": side_rate}))
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape), system.weights.shapes)
    params = {"side": ones["side"], "head": ones["head"]}
    transformation = system.training.optimizer(lambda step: jnp.float32(1.0))
    zero = jax.tree.map(np.zeros_like, params)
    updates, _ = jax.jit(transformation.update)(zero, transformation.init(params), params)
    ours = rules.flatten(updates)

    def share_of(theirs):
        whole = "visual" not in theirs or ("bn" in theirs and "side" in theirs)
        return 1.0 if whole else side_rate

    table = system.weights.names[0].rules
    shares = {
        name: share_of(rule.source) for rule in table for name in rule.targets if name in ours
    }
    assert shares.keys() == ours.keys()
    assert {*shares.values()} == {side_rate, 1.0}
    for name, share in shares.items():
        np.testing.assert_allclose(ours[name], -share * config.train.weight_decay, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_loss_gradients_and_statistics(case, mode):
    """Checks statistics of the batch and running ones; the frozen network has no gradient."""
    original, system, params, batch = case
    memory, parts = system.training.init_loss_state(params, KEY), ("side", "head", "vision")

    def loss(trained):
        params_ = {**params, **trained}
        value, _, after = system.training.loss(
            params_, memory, batch, KEY, EPOCH, train=mode == "train"
        )
        return value, after

    trained = {name: params[name] for name in parts}
    (value, after), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(trained)
    close(value, original.arrays[f"{mode}/loss_smooth"])
    gradient = checkpoints.to_torch(system, {**gradient, "batch_stats": after})
    nothing = original.config[f"grad_zero_in_{mode}_mode"]
    names = original.config["parameter_order"]
    norms = {name: np.linalg.norm(gradient[name]) for name in names}
    theirs = dict(zip(names, original.arrays[f"{mode}/grad_norms"], strict=True))
    for name in names:
        if name in nothing:
            assert norms[name] < 1e-5
        else:
            np.testing.assert_allclose(norms[name], theirs[name], rtol=1e-3, err_msg=name)
    has_gradient = dict(zip(names, original.arrays["has_grad_i"], strict=True))
    assert all(norms[name] == 0 for name in names if not has_gradient[name])
    assert {name for name in names if has_gradient[name]} == {
        name for name in names if "side" in name or name.startswith("fc.")
    }
    for group in ("clip", "other", "bn"):
        of_group = [norms[n] for n, its in original.config["groups"].items() if its == group]
        close(np.linalg.norm(of_group), original.arrays[f"{mode}/group_norm_{group}"], 1e-3)
    for name, expected in original.arrays.items():
        kind, _, tensor = name.partition("/")
        if kind == "grad" and mode == "train":
            close(gradient[tensor], expected, 1e-3)
        if kind == "train_stats":
            before = tds_clip_case.weights_of(original)[tensor]
            close(gradient[tensor], expected if mode == "train" else before)


def test_loss_of_running_statistics(case):
    """Checks the loss as evaluation computes it, labels smoothed or not; no state changes."""
    original, system, params, batch = case
    memory, plain = (
        system.training.init_loss_state(params, KEY),
        functools.partial(system.training.loss, smoothing=0.0),
    )

    @jax.jit
    def run(batch):
        arguments = params, memory, batch, KEY, EPOCH
        (value, _, after), (sharp, *_) = (
            loss(*arguments, train=False) for loss in (system.training.loss, plain)
        )
        return value, sharp, after, system.recognition.classify(params, batch["video"])

    value, sharp, after, logits = run(batch)
    close(value, original.arrays["eval/loss_smooth"])
    close(sharp, original.arrays["eval/loss_ce"])
    close(logits[:, 0], original.arrays["eval/logits"])
    jax.tree.map(np.testing.assert_array_equal, after, memory)


@pytest.mark.slow
def test_half_precision_is_near(case):
    """Logits in bfloat16 beside those in float32."""
    original, system, params, batch = case
    config = system.config.override({"dtype": "bfloat16"})
    recognition = unchecked(build(config)).recognition
    assert recognition
    logits = jax.jit(recognition.classify)(params, batch["video"])
    close(logits[:, 0], original.arrays["eval/logits"], 2e-2)


@pytest.mark.slow
def test_a_step_moves_what_is_trained_and_nothing_else(case):
    """Frozen parameters have no moments; statistics are remembered, and settle in the end."""
    _, system, params, batch = case
    transformation = system.training.optimizer(lambda s: jnp.float32(1e-2))
    create = step.create(
        transformation, params, system.training.trainable, system.training.init_loss_state
    )
    advance = jax.jit(
        step.make(system.training.loss, transformation, jnp.float32, 0, system.training.trainable)
    )
    state, _ = advance(jax.tree.map(jnp.asarray, create), batch)
    final = system.training.eval_params(state.params, state.memory)
    before, after = rules.flatten(params), rules.flatten(final)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {name for name in before if not name.startswith("vision/")}
    small = sum(before[n].size for n in before if n.startswith(("side/", "head/")))
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(state.moments)) <= 2 * small + 2
    )  # and two counters


@pytest.fixture(scope="module")
def small():
    """A small system's configuration, parameters drawn, and a video of two views."""
    config = tds_clip_case.config_of(SMALL, frames=3)
    system = build(config)
    params = jax.jit(system.weights.init)(KEY)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: x + 0.1 * rng.standard_normal(x.shape, np.float32) ** 2, params)
    return config, params, rng.integers(256, size=(2, 2 * 3 * 5, 32, 32, 3), dtype=np.uint8)


def classify(config, params, video):
    recognition = tokmerge_jax.build(config).recognition
    assert recognition
    return np.asarray(jax.jit(recognition.classify)(params, video))


@pytest.mark.slow
def test_views_are_clips_of_their_own_and_merging_nothing_changes_nothing(small):
    config, params, video = small
    logits = classify(config, params, video)
    assert logits.shape == (2, 2, 3)
    assert logits.dtype == np.float32
    assert np.ptp(logits, axis=1).min() > 1e-4
    each = np.concatenate(np.split(video, 2, axis=1))  # all first views, then all second ones
    config = config.override({"model.merger": {"name": "tome", "r": 0}})
    apart = classify(config, params, each)
    np.testing.assert_array_equal(apart.reshape(2, 2, 3).swapaxes(0, 1), logits)


@pytest.mark.slow
def test_merging_has_finite_gradients(small):
    config, params, video = small
    config = config.override({"model.merger": {"name": "tome", "r": 4}})
    system = build(config)
    batch = {"video": video[:, :15], "label": np.array([0, 2], np.int32)}
    memory = system.training.init_loss_state(params, KEY)
    run = jax.jit(jax.grad(lambda p: system.training.loss(p, memory, batch, KEY, EPOCH)[0]))
    gradients = rules.flatten(run(params))
    for name, gradient in gradients.items():
        assert np.isfinite(gradient).all(), name
        frozen = name.startswith(("vision/", "batch_stats/"))
        assert np.any(gradient) != frozen or name.endswith("bias"), name


@pytest.mark.slow
def test_mixing_in_training_alone(small):
    """Labels that mix: the loss is another one in training, and the same in evaluation."""
    config, params, video = small
    batch = {"video": video[:, :15], "label": np.array([0, 2], np.int32)}

    def values(mixup):
        system = build(config.override({"train.mixup": mixup}))
        memory = system.training.init_loss_state(params, KEY)
        loss = functools.partial(system.training.loss, params, memory, batch, KEY, EPOCH)
        run = jax.jit(lambda train: loss(train=train)[0], static_argnums=0)
        return float(run(True)), float(run(False))

    (mixed, same), (plain, evaluated) = values(True), values(False)
    assert mixed != plain
    assert same == evaluated


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.side.width": 96}, "side.width=96 must be a multiple of 64"),
        ({"data.neighbours": 4}, "neighbours=4 must be an odd number"),
        ({"data.neighbours": 1}, "at least 3 to compute differences"),
        ({"data.crops": 2}, "crops=2 must be one of 1, 3, 5, 10"),
        ({"data.scale": 16}, "scale=16 must be at least"),
        ({"model.classes": 0}, "model.classes=0 must be at least 1"),
        ({"model.vision.image_size": 30}, "image_size=30 must be a multiple of"),
        ({"model.merger.name": "tempme"}, "merger.name='tempme' is unknown; use none, .*prune"),
        ({"train.label_smoothing": 1.5}, "label_smoothing=1.5 must be from 0 to 1"),
        ({"train.groups": 0}, "train.groups=0 must be at least 1"),
    ],
)
def test_wrong_settings(changes, message):
    config = tds_clip_case.config_of(SMALL, frames=3).override(changes)
    with pytest.raises(UserError, match=message):
        tokmerge_jax.build(config)


@pytest.mark.slow
def test_trace_follows_the_patches_of_each_frame(small):
    """Tokens of two layers that merge 4 and 2 of a frame's 17, and how many patches each holds."""
    config, params, video = small
    config = config.override({"model.merger": {"name": "tome", "r": (4, 2)}})
    trace = jax.jit(build(config).trace_video)(params, video[:, 2:15:5])
    assert [x.shape for x in trace["origin"]] == [(2, 3 * 16)] * 2
    assert [x.shape for x in trace["size"]] == [(2, 3 * 13), (2, 3 * 11)]
    for origin, size in zip(trace["origin"], trace["size"], strict=True):
        for frame in range(3):
            tokens = size.shape[1] // 3
            held = np.asarray(origin[0, 16 * frame : 16 * (frame + 1)]) - frame * tokens
            assert held.min() >= 1  # the class token holds no patch
            counts = np.bincount(held, minlength=tokens)[1:]
            np.testing.assert_array_equal(
                counts, size[0, frame * tokens + 1 : (frame + 1) * tokens]
            )
