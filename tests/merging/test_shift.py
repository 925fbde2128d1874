"""Representation Shift: the shifts of a block, what it prunes and merges, in a small UMT too."""

import golden
import jax
import jax.numpy as jnp
import merger_edges
import numpy as np
import pytest
import recipe
import umt_case

from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.rules import RuleSet
from tokmerge_jax.checkpoints.tables.vid_tldr import vision
from tokmerge_jax.layers.block import Block
from tokmerge_jax.merging import Evidence, Tokens, most, per_layer, schedule, vid_tldr
from tokmerge_jax.merging.shift import Shift, ShiftPrune
from tokmerge_jax.models.umt import UMTViT

UNIT = golden.load("mergers-shift")
TOLERANCE = 1e-5


def close(ours, theirs):
    umt_case.close(ours, theirs, TOLERANCE)


def parameters(case, shapes, part):
    """A case's weights, as UMT's checkpoints name them, as our parameters."""
    table = vision("encoder.", "vision", case.config["depth"])
    table = RuleSet(tuple(rule for rule in table if part in rule.source))
    weights = {f"encoder.{name}": weight for name, weight in case.weights().items()}
    return rules.load(table, weights, {"vision": shapes})["vision"]


@pytest.mark.parametrize("r", UNIT.config["r"])
def test_a_block_tells_how_much_its_mlp_shifts_tokens(r):
    """||u - x||, u without x; what is left is the block's output at the places kept."""
    x = jnp.asarray(recipe.video((2, 13, 24), UNIT.spec["seed"]))
    block = Block(UNIT.config["heads"], ShiftPrune(r), biased=("query", "value"))
    shapes = jax.eval_shape(block.init, jax.random.key(0), Tokens(x))["params"]
    params = parameters(UNIT, {"block_0": shapes}, ".blocks.")["block_0"]
    run = jax.jit(lambda p, x: block.apply({"params": p}, Tokens(x), mutable=["intermediates"]))
    tokens, seen = run(params, x)
    close(seen["intermediates"]["evidence"][0].shift, UNIT.arrays["l2/mlp"])
    close(seen["intermediates"]["before_merging"][0].x, UNIT.arrays["after_mlp"])
    kept = UNIT.arrays[f"prune/r{r}/kept"]
    close(tokens.x, np.take_along_axis(UNIT.arrays["after_mlp"], kept[..., None], axis=1))
    assert tokens.size is None


def test_shifts_weigh_sources_as_saliency_does():
    shift = jnp.asarray(UNIT.arrays["l2/mlp"])
    close(vid_tldr.foreground(shift), UNIT.arrays["foreground"])


@pytest.mark.parametrize("key", merger_edges.keys("shift_prune"))
def test_what_is_kept_at_the_edges(key):
    """r from 0 to more than there is; of equal shifts the earlier stay, zero vectors go first."""
    x, r, protected, expected = merger_edges.case(key)
    places = jnp.arange(8.0)[None, :, None]
    shift = jnp.linalg.norm(x, axis=-1)
    tokens = jax.jit(ShiftPrune(r, protected))(Tokens(places), Evidence(shift=shift))
    np.testing.assert_array_equal(tokens.x[..., 0], expected["kept"])


def small(name):
    """A small UMT, what its blocks recorded, and its tokens."""
    case = golden.load(name)
    sizes, merger = case.config, {"prune": "shift_prune", "merge": "shift"}[case.config["how"]]
    frames, edge = sizes["frames"], sizes["image"] // sizes["patch"]
    r = schedule.resolve(sizes["r"], sizes["depth"], frames * edge**2, most(merger))
    network = UMTViT(
        sizes["width"], sizes["heads"], per_layer(merger, r), sizes["patch"], table_frames=frames
    )
    video = recipe.video((sizes["B"], 3, frames, *2 * [sizes["image"]]), case.spec["seed"])
    video = jnp.asarray(np.moveaxis(video, 1, -1))
    shapes = jax.eval_shape(network.init, jax.random.key(0), video)["params"]
    run = jax.jit(lambda p, v: network.apply({"params": p}, v, mutable=["intermediates"]))
    tokens, seen = run(parameters(case, shapes, ""), video)
    blocks = [seen["intermediates"][f"block_{i}"] for i in range(sizes["depth"])]
    return case, blocks, tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mergers-shift-prune", "mergers-shift-merge"])
def test_a_small_umt_gives_what_the_definition_gives(name):
    case, blocks, tokens = small(name)
    for i, block in enumerate(blocks):
        umt_case.close(block["out"][0], case.arrays[f"block_{i}"], 1e-4)
        if f"shift_{i}" in case.arrays:
            umt_case.close(block["evidence"][0].shift, case.arrays[f"shift_{i}"], 1e-4)
        if f"size_{i}" in case.arrays:
            umt_case.close(block["after_merging"][0].size, case.arrays[f"size_{i}"], 1e-4)
    umt_case.close(tokens.x, case.arrays["out"], 1e-4)
    umt_case.close(tokens.x.mean(axis=1), case.arrays["mean"], 1e-4)


def test_the_less_the_mlp_shifts_a_source_the_less_it_counts():
    """Tokens 0 and 1 are alike, and 0 merges into 1: as background it vanishes, else it is half."""
    x = jnp.array([[[1.0, 0.1], [1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]]])
    for shifts, size in (([0.0, 5, 5, 5], 1), ([5.0, 0, 0, 0], 2)):
        tokens = Shift(1)(Tokens(x), Evidence(shift=jnp.array([shifts])))
        np.testing.assert_array_equal(tokens.size, [[1, size, 1]])
        np.testing.assert_allclose(tokens.x[0, 1], [1, 0.1 * (size - 1) / 2], rtol=1e-6)


def test_pruning_may_drop_more_than_half():
    assert schedule.resolve((0.9,), 2, 100, most("shift_prune")) == (90, 0)
    assert schedule.resolve(70, 3, 100, most("shift_prune", 1)) == (70, 29, 0)
