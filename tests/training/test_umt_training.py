"""UMT's fine-tuning against the original: losses, gradients, and whole AdamW steps."""

from functools import partial

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import umt_case
from jax.sharding import PartitionSpec as P
from umt_case import close, most_likely

import tokmerge_jax
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import expect, umt
from tokmerge_jax.models.umt import UMT
from tokmerge_jax.training import optimizer, step
from tokmerge_jax.training.objectives import bound
from tokmerge_jax.training.objectives import umt as objective


def set_up(name):
    """A golden case, its system and parameters, and its loss with the most likely negatives."""
    case = golden.load(name)
    system, params = umt_case.system_of(case)
    assert isinstance(system.network, UMT)
    loss = partial(objective.retrieval, bound(system.network), sampler=most_likely)

    def without_dropout(params, batch, key, *, train=True):
        del train
        return loss(params, batch, key, train=False)

    return case, system, params, without_dropout


def batch_of(case, first_seed):
    ids, match_id = case.arrays["inputs/text_ids"], case.config["match_ids"]
    return {
        "video": umt_case.videos(case, len(ids), first_seed),
        "text_ids": ids,
        "text_mask": ids != 0,
        "match_id": np.array(match_id, np.int32),
    }


def in_torch(system, tree):
    """A tree of the parameters' shapes under PyTorch's names."""
    return rules.unload(system.weights.names[0], tree)


@pytest.mark.slow
def test_losses_and_gradients():
    case, system, params, loss = set_up("vidtldr-loss")
    batch = batch_of(case, case.spec["seed"] + 1)
    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (total, parts), gradient = run(params, batch, jax.random.key(0))
    expected = case.arrays
    close(parts["vtc"], expected["loss_vtc"])
    close(parts["vtm"], expected["loss_vtm"])
    close(total, expected["loss_vtc"] + expected["loss_vtm"])
    gradient = in_torch(system, gradient)
    close(gradient["temp"], expected["grad_temp"])
    close(gradient["vision_proj.weight"], expected["grad/vision_proj.weight"])
    norms = [np.linalg.norm(gradient[name]) for name in case.spec["gradient_names"]]
    close(norms, expected["grad_norms"])
    for group in ("vision_encoder", "text_encoder", "vision_proj", "text_proj", "itm_head"):
        squares = [np.sum(np.square(g)) for n, g in gradient.items() if n.startswith(f"{group}.")]
        close(np.sqrt(sum(squares)), expected[f"group_norm/{group}"])


@pytest.mark.slow
def test_what_two_processes_of_the_original_make_of_the_gradient():
    """Half of contrast's but for the temperature's; the mean of matching's.

    Contrast reaches over all rows, but a process's features alone carry its gradient; matching
    looks at a process's rows alone.
    """
    case, system, params, loss = set_up("vidtldr-loss-distributed")
    processes, rows = case.config["processes"], case.config["per_process"]
    batch = batch_of(case, case.spec["seed"] + 1)

    def part(name, params, batch):
        return loss(params, batch, jax.random.key(0))[1][name]

    of_contrast, of_matching = (
        jax.jit(jax.value_and_grad(partial(part, name))) for name in ("vtc", "vtm")
    )
    vtc, contrast = of_contrast(params, batch)
    shares = [{n: x[i * rows :][:rows] for n, x in batch.items()} for i in range(processes)]
    vtm, matching = zip(*(of_matching(params, share) for share in shares), strict=True)
    close(np.stack([[vtc, value] for value in vtm]), case.arrays["losses"])
    contrast = in_torch(system, contrast)
    contrast = {n: g if n == "temp" else g / processes for n, g in contrast.items()}
    matching = in_torch(system, jax.tree.map(lambda *parts: sum(parts) / processes, *matching))
    both = {name: contrast[name] + matching[name] for name in contrast}
    for name, gradient in (("loss_vtc", contrast), ("loss_vtm", matching), ("sum", both)):
        norms = [np.linalg.norm(gradient[name]) for name in case.spec["gradient_names"]]
        close(norms, case.arrays[f"{name}/grad_norms"])
        close(gradient["temp"], case.arrays[f"{name}/grad_temp"])
        close(gradient["vision_proj.weight"], case.arrays[f"{name}/grad_vision_proj"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vidtldr-train", "vidtldr-train-merged"])
def test_steps_of_fine_tuning(name):
    case, system, params, loss = set_up(name)
    expected, spec = case.arrays, case.config
    rate = optimizer.cosine(
        spec["optimizer"]["lr"],
        steps=spec["total_steps"],
        warmup_steps=spec["warmup_steps"],
        min_share=spec["min_lr_multi"],
    )
    transformation = optimizer.adamw(rate, spec["optimizer"]["weight_decay"])
    advance = jax.jit(step.make(loss, transformation, rate, seed=0))
    state = jax.jit(partial(step.create, transformation))(params)
    for index in range(spec["steps"]):
        state, scalars = advance(state, batch_of(case, case.spec["seed"] + 1 + 1000 * index))
        close(scalars["vtc"], expected["loss_vtc"][index])
        close(scalars["vtm"], expected["loss_vtm"][index])
        close(scalars["learning_rate"], expected["lr"][index])
        close(scalars["gradient_norm"], expected["grad_norm"][index])
        close(state.params["temperature"], expected["temp"][index])
    check_parameters(case, in_torch(system, params), in_torch(system, state.params))


def check_parameters(case, before, after):
    """Whole parameters, and how far each has moved; key biases move by rounding alone."""
    for name, theirs in case.arrays.items():
        if name.startswith("after/"):
            close(after[name.removeprefix("after/")], theirs)
    names = case.spec["parameter_names"]
    moved = zip(names, case.arrays["change_norm"], strict=True)
    for name, theirs in moved:
        if name not in case.spec["unstable_names"]:
            ours = np.linalg.norm(after[name] - before[name])
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, err_msg=name)


def test_weight_decay_is_the_originals():
    case, system, params, _ = set_up("vidtldr-train")
    marks = jax.tree.map(
        lambda leaf, mark: np.full(leaf.shape, mark, np.float32),
        params,
        optimizer.decayed(params),
    )
    marked = {name: np.unique(values).tolist() for name, values in in_torch(system, marks).items()}
    assert {name for name, values in marked.items() if values == [1]} == set(
        case.spec["decayed_names"]
    )
    assert all(len(values) == 1 for values in marked.values())


@pytest.mark.slow
def test_eight_devices_find_the_gradient_of_one():
    case, _, params, loss = set_up("vidtldr-train-merged")
    ids = case.arrays["inputs/text_ids"]
    batch = {
        "video": umt_case.videos(case, 8, 5),
        "text_ids": np.concatenate([ids, np.roll(ids, 1, axis=1)]),
        "match_id": np.array([0, 1, 2, 3, 0, 4, 5, 6], np.int32),
    }
    batch["text_mask"] = batch["text_ids"] != 0
    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    key = jax.random.key(0)
    (total, _), gradient = run(params, batch, key)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split, whole = (jax.sharding.NamedSharding(mesh, spec) for spec in (P("data"), P()))
    with jax.set_mesh(mesh):  # as training does
        everywhere = jax.device_put(params, whole), jax.device_put(batch, split)
        (total8, _), gradient8 = run(*everywhere, key)
    close(total8, total)
    jax.tree.map(close, gradient8["vision"], gradient["vision"])
    close(gradient8["temperature"], gradient["temperature"])


@pytest.fixture(scope="module")
def with_words():
    """The gradient of all three losses, without and with gradient checkpointing."""
    case = golden.load("vidtldr-train-merged")
    config = expect(umt_case.config_of(case), umt.Retrieval)
    batch = batch_of(case, 5)
    gradients = []
    for remat in (False, True):
        changes = {"train.losses.mlm": 0.5, "train.remat": remat, "model.dropout": 0.0}
        config = config.override(changes)
        system = tokmerge_jax.build(config)
        params = system.weights.init(jax.random.key(3))
        assert isinstance(system.network, UMT)
        loss = partial(
            objective.retrieval,
            bound(system.network),
            weights=config.train.losses.to_dict(),
            sampler=most_likely,
            mask_id=lambda: 7,
        )
        run = jax.jit(jax.value_and_grad(loss, has_aux=True))
        gradients.append(run(params, batch, jax.random.key(1)))
    return gradients


@pytest.mark.slow
def test_the_losses_are_weighted(with_words):
    (total, parts), _ = with_words[0]
    assert set(parts) == {"vtc", "vtm", "mlm"}
    close(total, parts["vtc"] + parts["vtm"] + 0.5 * parts["mlm"])
    assert 3 < parts["mlm"] < 7  # random words of 97: about log 97


@pytest.mark.slow
def test_masked_words_teach_all_that_reads_them(with_words):
    _, gradient = with_words[0]
    head = gradient["text"]["word_head"]
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(head))


@pytest.mark.slow
def test_checkpointing_changes_no_gradient(with_words):
    (without, _), plain = with_words[0]
    (total, _), again = with_words[1]
    close(total, without)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * largest), again, plain
    )
