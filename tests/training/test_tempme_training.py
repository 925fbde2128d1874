"""TempMe's training against the original: loss, gradients, optimiser; and what must not move."""

from functools import partial

import clip_case
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from clip_case import close
from jax.sharding import PartitionSpec as P

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.training import losses, optimizer, parts, step
from tokmerge_jax.training.objectives import bound, clip

KEY = jax.random.key(0)


def test_loss_of_fixed_features():
    case = golden.load("tempme-loss")
    arrays = case.arrays
    scale = jnp.float32(case.config["logit_scale"])

    def loss(text, video, scale):
        rows = jnp.arange(len(text), dtype=jnp.int32)
        return losses.contrastive(video[:, None], text, rows, jnp.exp(-scale))

    inputs = (jnp.asarray(arrays[f"inputs/{name}_feat"]) for name in ("text", "video"))
    run = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
    (total, similarity), gradient = run(*inputs, scale)
    close(total, arrays["loss"])
    close(similarity.T, arrays["logits"])
    for ours, name in zip(gradient, ("grad_text", "grad_video", "grad_logit_scale"), strict=True):
        close(ours, arrays[name])


@pytest.fixture(scope="module")
def case():
    """The golden case, its system, parameters and batch."""
    original = golden.load("tempme-train")
    system, params = clip_case.system_of(original)
    params = {**params, "logit_scale": np.float32(original.config["logit_scale"])}
    batch = {"video": clip_case.videos(original), "text_ids": original.arrays["inputs/text_ids"]}
    return original, system, params, batch


@pytest.fixture(scope="module")
def learned(case):
    """Loss and gradient of all parameters, and the state after a step, before and its scalars."""
    _, system, params, batch = case
    rate = optimizer.cosine(1e-2, steps=4, min_share=0.0)
    transformation = system.training.optimizer(rate)
    state = step.create(
        transformation, jax.tree.map(jnp.asarray, params), system.training.trainable
    )
    advance = step.make(system.training.loss, transformation, rate, 0, system.training.trainable)

    @jax.jit  # both in one program, as what they share takes long to compile
    def run(state, batch):
        whole = jax.value_and_grad(system.training.loss, has_aux=True)(state.params, batch, KEY)
        return *whole, *advance(state, batch)

    (total, _), gradient, moved, scalars = run(state, batch)
    return total, gradient, state, moved, scalars


@pytest.mark.slow
def test_gradients(case, learned):
    original, system, *_ = case
    total, gradient, *_ = learned
    close(total, original.arrays["loss"])
    gradient = checkpoints.to_torch(system, gradient)
    norms = [np.linalg.norm(gradient[name]) for name in original.spec["gradient_names"]]
    close(norms, original.arrays["grad_norms"])
    for name, expected in original.arrays.items():
        if name.startswith("grad/"):
            close(gradient[name.removeprefix("grad/")], expected)
    trained = [g for name, g in gradient.items() if "TVPt" in name]
    total = np.sqrt(sum(np.sum(np.square(g)) for g in trained))
    close(total, original.arrays["trainable_total_norm"])


@pytest.mark.slow
def test_only_what_the_reference_lists_moves(case, learned):
    *_, state, moved, scalars = learned
    before, after = (rules.flatten(p) for p in (state.params, moved.params))
    changed = {n for n in before if not np.array_equal(before[n], after[n])}
    listed = {n for n in before if "/lora/" in n or n.endswith("_positions")}
    assert changed == listed
    close(scalars["gradient_norm"], case[0].arrays["trainable_total_norm"])
    moments = sum(leaf.size for leaf in jax.tree.leaves(moved.moments))
    assert moments <= 2 * sum(before[n].size for n in listed) + 2  # and two counters


def test_nothing_to_train_is_reported(case):
    _, system, params, _ = case
    with pytest.raises(tokmerge_jax.UserError, match="nothing to train"):
        step.create(system.training.optimizer(lambda s: 0.0), params, ["no_such_parameter"])


@pytest.mark.slow
def test_full_fine_tuning_moves_clip_at_its_own_rate(case):
    original, _, params, batch = case
    changes = {"backbone_rate": 1e-3, "weight_decay": 0.0}
    config = clip_case.config_of(original).override({"train": changes})
    system = tokmerge_jax.build(config)
    assert system.training
    transformation = system.training.optimizer(lambda s: jnp.float32(1e-4))
    state = step.create(
        transformation, jax.tree.map(jnp.asarray, params), system.training.trainable
    )
    advance = step.make(system.training.loss, transformation, lambda s: jnp.float32(1e-4), 0)
    moved, _ = jax.jit(advance)(state, batch)
    steps = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), moved.params, state.params)
    assert steps["vision"]["join_2_positions"] == pytest.approx(1e-4, rel=0.1)  # epsilon
    assert steps["vision"]["class_embedding"] == pytest.approx(1e-7, rel=0.3)  # float32's grain


@pytest.fixture(scope="module")
def many(case):
    """Sixteen rows, their loss and its gradient."""
    original, system, params, _ = case
    size = original.config["image_resolution"]
    ids = original.arrays["inputs/text_ids"]
    ids = np.stack([np.roll(ids[i % 3, :-1], i // 3) for i in range(16)])
    clips = [recipe.video((4, size, size, 3), seed=i) for i in range(16)]
    batch = {"video": np.stack(clips), "text_ids": ids}
    (total, _), gradient = jax.jit(jax.value_and_grad(system.training.loss, has_aux=True))(
        params, batch, KEY
    )
    return batch, total, rules.flatten(gradient)


def check(gradient, expected):
    for name, ours in rules.flatten(gradient).items():
        limit = 1e-5 + 2e-4 * np.abs(expected[name]).max()
        np.testing.assert_allclose(ours, expected[name], rtol=0, atol=limit, err_msg=name)


@pytest.mark.slow
def test_parts_have_the_gradient_of_the_whole(case, many):
    _, system, params, _ = case
    batch, total, expected = many
    loss = partial(clip.retrieval, bound(system.network), parts=4)
    (again, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, batch, KEY)
    close(again, total)
    check(gradient, expected)


@pytest.mark.slow
@pytest.mark.parametrize("in_parts", [1, 2])
def test_eight_devices_find_the_gradient_of_one(case, many, in_parts):
    _, system, params, _ = case
    batch, total, expected = many
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split, whole = (jax.sharding.NamedSharding(mesh, spec) for spec in (P("data"), P()))
    loss = partial(clip.retrieval, bound(system.network), parts=in_parts)
    with jax.set_mesh(mesh):
        placed = jax.device_put(params, whole), jax.device_put(batch, split)
        (total8, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(*placed, KEY)
    close(total8, total)
    check(gradient, expected)


def test_rows_that_parts_cannot_share_are_cut_finer():
    seen = []

    def double(x):
        seen.append(x.shape[0])
        return 2 * x

    out = parts.in_parts(double, 4, jnp.arange(6.0))
    np.testing.assert_array_equal(out, 2 * np.arange(6.0))
    assert set(seen) == {1}


def test_optimiser_of_the_original():
    case = golden.load("tempme-optimizer")
    spec, shapes = case.config, case.spec["shapes"]
    seed = case.spec["seed"]
    params = {n: jnp.asarray(recipe.weight(n, tuple(s), seed, 1.0)) for n, s in shapes.items()}
    rate = optimizer.cosine(
        spec["lr"],
        steps=spec["total_steps"],
        warmup_steps=int(spec["warmup_proportion"] * spec["total_steps"]),
        min_share=0.0,
    )
    transformation = optimizer.clipped_adamw(
        rate, spec["weight_decay"], clip_norm=spec["clip_norm"]
    )
    state = transformation.init(params)
    for s in range(spec["steps"]):
        scale = 0.02 if s % 3 == 0 else 1.0
        gradient = {
            n: scale * recipe.weight(f"grad{s}.{n}", tuple(shape), seed, 1.0)
            for n, shape in shapes.items()
        }
        norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradient.values()))
        np.testing.assert_allclose(norm, case.arrays["grad_norm"][s], rtol=1e-5)
        np.testing.assert_allclose(rate(s), case.arrays["lr"][s], rtol=1e-5, atol=1e-12)
        updates, state = transformation.update(gradient, state, params)
        params = {n: p + updates[n] for n, p in params.items()}
        for name, ours in params.items():
            theirs = case.arrays[f"step{s}/{name}"]
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_gradient_scale_of_four_processes():
    """A quarter of the gradient reaches the clipping, which a large one then does not feel."""
    params = {"x": jnp.zeros((1, 2))}
    first = []
    for scale, gradient in ((1.0, 0.5), (0.25, 2.0)):
        transformation = optimizer.clipped_adamw(
            lambda s: jnp.float32(1.0), 0.0, clip_norm=1.0, gradient_scale=scale
        )
        gradient = {"x": jnp.full((1, 2), gradient)}
        updates, _ = transformation.update(gradient, transformation.init(params), params)
        first.append(updates["x"])
    np.testing.assert_allclose(*first, rtol=1e-6)


def test_steps_and_decay_follow_the_share():
    """A first step is the rate, but for the epsilon; decay takes from what it leaves."""
    params = {name: jnp.full((2, 2), 3.0) for name in ("clip", "lora")}
    transformation = optimizer.clipped_adamw(
        lambda s: jnp.float32(0.5),
        0.2,
        clip_norm=0.0,
        rate_share=lambda name: {"clip": 0.1, "lora": 1.0}[name],
    )
    gradient = jax.tree.map(jnp.ones_like, params)
    updates, _ = transformation.update(gradient, transformation.init(params), params)
    for name, rate in (("clip", 0.05), ("lora", 0.5)):
        left = 3 - rate
        np.testing.assert_allclose(3 + updates[name], left - rate * 0.2 * left, rtol=1e-4)


@pytest.mark.slow
def test_a_step_in_half_precision_is_near(case):
    original, system, params, batch = case
    config = clip_case.config_of(original).override({"dtype": "bfloat16"})
    half = tokmerge_jax.build(config)
    assert system.training
    assert half.training
    (full, _), exact = jax.jit(jax.value_and_grad(system.training.loss, has_aux=True))(
        params, batch, KEY
    )
    (near, _), rounded = jax.jit(jax.value_and_grad(half.training.loss, has_aux=True))(
        params, batch, KEY
    )
    assert near.dtype == jnp.float32
    np.testing.assert_allclose(near, full, atol=0.15)
    exact, rounded = (
        np.concatenate([np.ravel(x) for n, x in rules.flatten(g).items() if "/lora/" in n])
        for g in (exact, rounded)
    )
    cosine = exact @ rounded / np.linalg.norm(exact) / np.linalg.norm(rounded)
    assert cosine > 0.9  # some merging decisions differ
