"""TimeSformer with TESTA's aggregation gives what the original gave, block by block."""

import re

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from parameters import slow

from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.rules import RuleSet
from tokmerge_jax.checkpoints.tables import testa
from tokmerge_jax.merging import testa as aggregation
from tokmerge_jax.merging import testa_settings
from tokmerge_jax.models.timesformer import TimeSformer

TOLERANCE = 1e-4
SMALL = ["frame", "framepatch", "list", "patch-frame", "patch", "plain", "prune-frame", "prune"]
OPTIONS = ["interp", "joint-prop", "joint", "r-tuple", "scaling-patch", "scaling"]
FULL = ["f16-f1p12", "f32-f1p12", "f32-none", "f96-f4p8"]
ATTENTIONS = {"joint_space_time": "joint", "space_only": "space"}


def close(ours, theirs):
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


def network(case):
    """The case's network and parameters."""
    sizes = case.config
    depth, r = sizes["depth"], sizes.get("testa_r")
    attention = ATTENTIONS.get(sizes["attention_type"], "divided")
    name, merged = "none", ([0] * depth, [0] * depth)
    if sizes["token_merging"]:
        name = "prune" if sizes.get("prune") else "testa"
        r = (r[0], float(r[1])) if case.name.endswith("tuple") else r
        merged = testa_settings.translate(sizes["merging_type"], r, depth)
    edge = sizes["image_size"] // sizes["patch_size"]
    module = TimeSformer(
        width=sizes["width"],
        heads=sizes["heads"],
        merging=aggregation.plan(aggregation.find(name), *merged),
        patch_size=sizes["patch_size"],
        table_frames=sizes["num_frames"],
        table_patches=edge**2,
        attention=attention,
        learned_scale=sizes["learnable_temporal_scaling"],
        proportional=sizes["prop_attn"],
    )
    vision = testa.Vision(
        depth, edge, sizes["num_frames"], sizes["learnable_temporal_scaling"], attention
    )
    table = RuleSet(testa.encoder("", "", vision))
    abstract = jax.eval_shape(module.init, jax.random.key(0), jnp.asarray(video(case)))["params"]
    return module, rules.load(table, case.weights(), abstract)


def video(case):
    """[B,T,H,W,3]."""
    text = case.spec["inputs"]["video"]
    match = re.search(r"video\((\([\d, ]+\)), (\d+)\) as (\S+)", text)
    assert match
    shape = tuple(int(n) for n in match[1].strip("()").split(","))
    x = recipe.video(shape, int(match[2]))
    return np.moveaxis(x, match[3].strip("[]").split(",").index("C"), -1)


def by_place(x, frames, patches):
    """A class token and patches frame by frame -> the original's order, place by place."""
    rest = x[:, 1:].reshape(len(x), frames, patches, -1).swapaxes(1, 2)
    return np.concatenate([x[:, :1], rest.reshape(len(x), frames * patches, -1)], axis=1)


HEAVY = {
    "interp",
    "list",
    "scaling-patch",
    "prune",
    "prune-frame",
    "r-tuple",
    "patch",
    "patch-frame",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", slow([*SMALL, *OPTIONS, "space"], HEAVY.__contains__))
def test_tokens_after_every_block(name):
    case = golden.load(f"testa-enc-{name}")
    module, params = network(case)
    run = jax.jit(lambda p, v: module.apply({"params": p}, v, mutable=["intermediates"]))
    tokens, seen = run(params, jnp.asarray(video(case)))
    for i in range(case.config["depth"]):
        (out,) = seen["intermediates"][f"block_{i}"]["out"]
        want = case.arrays[f"block{i}/tokens"]
        if module.attention == "divided":
            first, clip = out
            batch, frames, patches, width = clip.x.shape
            out = np.concatenate([first, np.reshape(clip.x, (batch, -1, width))], axis=1)
            out = by_place(out, frames, patches)
            size = case.arrays.get(f"block{i}/size")
            if size is not None and clip.size is not None:
                np.testing.assert_array_equal(clip.size, size[:, :, 1:, 0])
        close(out, want)
    x = np.asarray(tokens.x)
    if module.attention == "divided":
        x = by_place(x, frames, patches)
    close(x, case.arrays["tokens"].reshape(x.shape))


@pytest.mark.slow
def test_patches_are_traced_through_all_blocks():
    case = golden.load("testa-enc-framepatch")
    module, params = network(case)
    clip = jnp.asarray(video(case))
    tokens = jax.jit(lambda p, v: module.apply({"params": p}, v, trace=True))(params, clip)
    held = [np.bincount(row, minlength=tokens.x.shape[1]) for row in np.asarray(tokens.origin)]
    np.testing.assert_array_equal(np.stack(held)[:, 1:], np.asarray(tokens.size)[:, 1:])
    assert np.asarray(tokens.origin).min() == 1
    case = golden.load("testa-enc-frame")
    module, params = network(case)
    tokens = jax.jit(lambda p, v: module.apply({"params": p}, v, trace=True))(params, clip)
    frames, places = 8, 16
    holder = (np.asarray(tokens.origin).reshape(-1, frames, places) - 1) // places
    source = np.moveaxis(np.eye(3)[holder], (2, 3), (1, 2))
    np.testing.assert_array_equal(source, case.arrays["block3/source"])


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_full_size(name):
    case = golden.load(f"testa-full-{name}")
    module, params = network(case)
    run = jax.jit(lambda p, v: module.apply({"params": p}, v, mutable=["intermediates"]))
    tokens, seen = run(params, jnp.asarray(video(case)))
    x = np.asarray(tokens.x)
    assert x.shape[1] == case.arrays["token_count"]
    for i in range(12):
        (out,) = seen["intermediates"][f"block_{i}"]["out"]
        first, clip = (np.asarray(part) for part in (out[0], out[1].x))
        total = first[:, 0] + clip.sum(axis=(1, 2))
        close(first, case.arrays[f"block{i}/cls"].reshape(first.shape))
        mean = total / (1 + clip[0, ..., 0].size)
        close(mean, case.arrays[f"block{i}/mean"].reshape(mean.shape))
    close(x.mean(axis=1), case.arrays["pooled"])
    frames, patches = clip.shape[1:3]
    places = case.arrays["tokens_index"].astype(int)
    close(by_place(x, frames, patches)[:, places], case.arrays["tokens_at"])
    if tokens.size is not None:
        size = np.asarray(tokens.size)[:, 1:].reshape(1, frames, patches)
        np.testing.assert_array_equal(size, case.arrays["block11/size"][:, :, 1:, 0])


@pytest.mark.slow
def test_parameters_are_those_of_the_original():
    case = golden.load("testa-full-f32-none")
    _, params = network(case)
    assert sum(np.size(leaf) for leaf in jax.tree.leaves(params)) == 121_277_184
