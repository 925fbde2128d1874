"""TESTA's fine-tuning against the original: losses, negatives, gradients, and what it remembers."""

from functools import partial

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import testa_case
from umt_case import close, most_likely

import tokmerge_jax
from tokmerge_jax import parallel
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.training.objectives import bound, testa
from tokmerge_jax.types import UserError

CASE = golden.load("testa-retrieval-loss")
SIZES = CASE.config


def in_torch(system, tree):
    return rules.unload(system.weights.names[0], tree)


def queue(name):
    shape = SIZES["embed_dim"], SIZES["queue_size"]
    columns = recipe.weight(name, shape, CASE.spec["seed"], 1.5)
    return jnp.asarray((columns / np.linalg.norm(columns, axis=0)).T)


@pytest.fixture(scope="module")
def start():
    """The system, its parameters, what it remembers, and the batch."""
    weights = CASE.weights()
    online = {name: w for name, w in weights.items() if "_m." not in name}
    config = testa_case.config_of(CASE).override({"train.remat": False})
    system = tokmerge_jax.build(config)
    params = golden.parameters(system, online)
    slow = {name.replace("_m.", "."): w for name, w in weights.items() if "_m." in name}
    slow = golden.parameters(system, {**online, **slow})
    assert system.training
    assert system.training.init_loss_state
    memory = system.training.init_loss_state(slow, jax.random.key(0)).replace(
        videos=queue("image_queue"),
        texts=queue("text_queue"),
        ids=jnp.array(SIZES["idx_queue"]),
        place=jnp.array(SIZES["ptr"]),
    )
    edge = SIZES["image_size"]
    shape = (SIZES["batch"], 3, SIZES["num_frames"], edge, edge)
    batch = {
        "video": np.moveaxis(recipe.video(shape, CASE.spec["seed"]), 1, -1),
        "text_ids": CASE.arrays["in/ids"].astype(np.int32),
        "text_mask": CASE.arrays["in/mask"] > 0,
        "match_id": np.array(SIZES["idx"], np.int32),
    }
    return system, params, memory, batch


@pytest.fixture(scope="module")
def learned(start):
    """Loss, parts, the memory after, the gradient, and the negatives that were chosen."""
    system, params, memory, batch = start
    drawn = []

    def sampler(key, weights):
        chosen = most_likely(key, weights)
        drawn.append(chosen)
        return chosen

    loss = partial(
        testa.retrieval,
        bound(system.network),
        targets=testa.MomentumTargets(SIZES["alpha"]),
        sampler=sampler,
    )

    def run(params):
        drawn.clear()
        total, parts, after = loss(
            params, memory, batch, jax.random.key(0), jnp.float32(1.5), train=False
        )
        return total, (parts, after, list(drawn))

    (total, rest), gradient = jax.jit(jax.value_and_grad(run, has_aux=True))(params)
    return total, *rest, gradient


@pytest.mark.slow
def test_losses_and_negatives(learned):
    total, parts, _, (videos, texts), _ = learned
    expected = CASE.arrays
    close(parts["vtc"], expected["loss_vtc"])
    close(parts["vtm"], expected["loss_vtm"])
    close(total, expected["loss_vtc"] + expected["loss_vtm"])
    np.testing.assert_array_equal(videos, expected["negative_video_for_text"])
    np.testing.assert_array_equal(texts, expected["negative_text_for_video"])


@pytest.mark.slow
def test_gradients(start, learned):
    system, gradient = start[0], learned[-1]
    gradient = in_torch(system, gradient)
    names = [name for name in CASE.arrays if name.startswith("grad/")]
    ours = [np.linalg.norm(gradient[name.removeprefix("grad/")]) for name in names]
    theirs = [CASE.arrays[name] for name in names]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    for name, theirs in CASE.arrays.items():
        if name.startswith("gradgroup/"):
            group = name.removeprefix("gradgroup/")
            parts = [g for n, g in gradient.items() if n == group or n.startswith(f"{group}.")]
            close(np.sqrt(sum(np.sum(np.square(g)) for g in parts)), theirs)


@pytest.mark.slow
def test_what_is_remembered(start, learned):
    system, params, *_ = start
    after = learned[2]
    expected = CASE.arrays
    close(after.videos, expected["image_queue_after"].T)
    close(after.texts, expected["text_queue_after"].T)
    np.testing.assert_array_equal(after.ids, expected["idx_queue_after"][0])
    assert after.place == expected["ptr_after"]
    slow = in_torch(system, {**params, **after.params})
    seen = [name for name in expected if name.startswith("momentum/")]
    for name in seen:
        ours = slow[name.removeprefix("momentum/").replace("_m.", ".")]
        np.testing.assert_allclose(np.ravel(ours)[:64], expected[name], rtol=1e-5, atol=1e-7)
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queue": 48}, "train.queue=48 must be a multiple of config.train.batch_size=32"),
        ({"queue": 0}, "config.train.queue=0 must be at least 1"),
        ({"alpha": 1.5}, "config.train.alpha=1.5 must be from 0 to 1"),
        ({"alpha_epochs": 0.0}, "config.train.alpha_epochs=0.0 must be above 0"),
        ({"parts": 0}, "config.train.parts=0 must be at least 1"),
    ],
)
def test_what_cannot_work_is_reported(changes, message):
    config = testa_case.testa.Retrieval().override({"train": changes})
    with pytest.raises(UserError, match=message):
        tokmerge_jax.build(config)


@pytest.mark.slow
def test_two_devices_in_parts_learn_what_one_does_at_once(start, learned):
    system, params, memory, batch = start
    total, _, after, _, gradient = learned
    loss = partial(
        testa.retrieval,
        bound(system.network),
        targets=testa.MomentumTargets(SIZES["alpha"]),
        parts=2,
        sampler=most_likely,
    )

    def run(params, memory, batch):
        key, epoch = jax.random.key(0), jnp.float32(1.5)
        total, parts, after = loss(params, memory, batch, key, epoch, train=False)
        return total, (parts, after)

    mesh = parallel.make_mesh(2)
    with jax.set_mesh(mesh):
        placed = parallel.place(mesh, (params, memory))
        run = jax.jit(jax.value_and_grad(run, has_aux=True))
        (again, (_, after2)), gradient2 = run(*placed, parallel.shard(mesh, batch))
    close(again, total)
    jax.tree.map(close, after2, after)
    ours, theirs = in_torch(system, gradient2), in_torch(system, gradient)
    norms = [[np.linalg.norm(g[name]) for name in theirs] for g in (ours, theirs)]
    np.testing.assert_allclose(*norms, rtol=1e-3, atol=1e-4)
    for name in ("temp", "vision_proj.weight", "visual_encoder.blocks.0.temporal_fc.weight"):
        close(ours[name], theirs[name], 1e-3)
