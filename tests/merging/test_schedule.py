"""Schedules against ToMe's, refusals, and costs against the published counts."""

import ast

import golden
import pytest

from tokmerge_jax.merging import costs, most, per_layer, schedule
from tokmerge_jax.types import LayerCost, UserError

TOME = golden.load("tome-schedule")
MANY = 100_000  # tokens enough for any r
HALF = most("tome")


@pytest.mark.parametrize("name", TOME.arrays)
def test_forms_equal_tome(name):
    depth, spec = name.split("|")
    for form in (spec, ast.literal_eval(spec)):
        assert schedule.resolve(form, int(depth), MANY, HALF) == tuple(TOME.arrays[name].tolist())


def test_constant_is_capped_at_half_of_the_unprotected():
    assert schedule.resolve(40, 4, 37, most("tome", 1)) == (18, 9, 4, 2)
    assert schedule.resolve((6, -1.0), 4, 17, most("tome", 1)) == (8, 4, 2, 0)
    assert schedule.resolve(3, 4, 2, most("tome", 2)) == (0, 0, 0, 0)


def test_entries_per_layer():
    assert schedule.resolve((600, 200, 100), 5, 2352, HALF) == (600, 200, 100, 0, 0)
    assert schedule.resolve("600,200,100", 4, 2352, HALF) == (600, 200, 100, 0)
    assert schedule.resolve([0.3, 0.5, 5], 4, 101, HALF) == (30, 35, 5, 0)
    assert schedule.resolve([], 2, 10, HALF) == (0, 0)
    assert schedule.resolve([8, 0.5], 2, 24, HALF) == (8, 8)  # a list of two is no inflection


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            (600, 900),
            r"r=900 of the 1752 tokens that enter layer 1; at most 876",
        ),
        (
            [0.6],
            r"r=1411 of the 2352 tokens that enter layer 0; at most 1176",
        ),
        ((1, 1, 1), r"3 entries for 2 layers"),
        ("six", r"r='six' cannot be read; write an int"),
        (-3, r"r=-3 has no known form"),
        (True, r"no known form"),
        ((5, -2.0), r"no known form"),
        ([1.5], r"no known form"),
        (0.3, r"no known form"),
        ({"r": 3}, r"no known form"),
    ],
)
def test_refusals(spec, message):
    with pytest.raises(UserError, match=message):
        schedule.resolve(spec, 2, 2352, HALF)


def test_protected_tokens_are_reported():
    with pytest.raises(
        UserError,
        match=r"r=6 of the 13 tokens that enter layer 0; at most 5",
    ):
        schedule.resolve((6,), 2, 13, most("tome", 2))


def test_token_counts():
    assert schedule.token_counts((600, 200, 0), 2352) == (2352, 1752, 1552, 1552)


PUBLISHED = [  # reference: vid-TLDR's schedules at 12 frames of 224 pixels, tokens out, GMAC
    ("b16", (), 2352, 303.1),
    ("b16", (600, 200, 100), 1452, 177.8),
    ("b16", (450, 250, 200), 1452, 181.1),
    ("b16", (500,), 1852, 227.4),
    ("b16", (250, 150, 150, 150), 1652, 212.6),
    ("b16", (400, 150, 150), 1652, 206.0),
    ("b16", (200, 200, 200, 100), 1652, 212.7),
    ("b16", (400, 300), 1652, 203.5),
    ("l16", (), 2352, 984.0),
    ("l16", (550, 400), 1402, 543.0),
    ("l16", (600, 200, 100, 100), 1352, 528.2),
    ("l16", (450, 250, 100), 1552, 610.5),
]


def vit(spec, name, size):
    """The layers of UMT, 12 frames."""
    width, depth, heads = {"b16": (768, 12, 12), "l16": (1024, 24, 16)}[size]
    mergers = per_layer(name, schedule.resolve(spec, depth, 2352, most(name)))
    return costs.vit(mergers, 2352, width=width, heads=heads, patch_inputs=768)


def gmac_of(layers):
    return sum(layer.macs for layer in layers) / 1e9


@pytest.mark.parametrize(("size", "spec", "tokens_out", "gmac"), PUBLISHED)
def test_costs_are_the_published_ones(size, spec, tokens_out, gmac):
    layers = vit(spec, "vid_tldr", size)
    assert layers[-1].tokens_out == tokens_out
    assert round(gmac_of(layers), 1) == gmac


@pytest.mark.parametrize(
    ("name", "gmac"),
    [
        ("vid_tldr", 177.838),
        ("tome", 175.9),
        ("prune", 184.2),
        ("shift", 182.1),
        ("mctf", 190.5),
        ("mctf_ahead", 186.3),
        ("mctf_precise", 185.6),
    ],
)
def test_each_merger_costs_what_it_does(name, gmac):
    """One schedule: ToMe's keys are narrow; Prune and MCTF read all pairs."""
    assert gmac_of(vit((600, 200, 100), name, "b16")) == pytest.approx(gmac, abs=0.05)


SHIFTED = [  # reference: vid-TLDR's schedules merged after the MLP
    ("b16", (450, 250, 200), 185.4),
    ("b16", (500,), 229.7),
    ("b16", (250, 150, 150, 150), 215.9),
    ("b16", (400, 150, 150), 209.3),
    ("b16", (200, 200, 200, 100), 216.0),
    ("b16", (400, 300), 206.8),
    ("l16", (550, 400), 551.0),
    ("l16", (600, 200, 100, 100), 536.6),
    ("l16", (450, 250, 100), 617.2),
]


@pytest.mark.parametrize(("size", "spec", "gmac"), SHIFTED)
def test_costs_of_merging_by_shift(size, spec, gmac):
    assert without_shifts(vit(spec, "shift", size), size) == pytest.approx(gmac, abs=0.05)


@pytest.mark.parametrize(
    ("size", "share", "gmac"),
    [("b16", 0.2, 156.27), ("b16", 0.1, 217.49), ("l16", 0.2, 478.16), ("l16", 0.1, 690.10)],
)
def test_costs_of_pruning_by_shift(size, share, gmac):
    """The reference's figures without norms."""
    layers = vit((share,) * 3, "shift_prune", size)
    assert without_shifts(layers, size) == pytest.approx(gmac, abs=0.005)


def without_shifts(layers, size):
    """GMAC without the norms of shifts, which the reference leaves out as it does all norms."""
    shifted = sum(layer.tokens_in for layer in layers if layer.tokens_out < layer.tokens_in)
    return gmac_of(layers) - shifted * {"b16": 768, "l16": 1024}[size] / 1e9


def test_cost_by_hand():
    """5 tokens of 4 channels, one merged by keys of two heads' width 2, then 4 tokens."""
    mergers = per_layer("tome", (1, 0))
    patches, first, second = costs.vit(mergers, 5, width=4, heads=2, patch_inputs=7)
    assert patches == LayerCost("patch_embedding", 5, 5, 5 * 4 * 7)
    projections, maps, matching, mlp = 4 * 5 * 16, 2 * 25 * 4, 3 * 2 * 2, 8 * 4 * 16
    assert first == LayerCost("block_0", 5, 4, projections + maps + matching + mlp)
    assert second.macs == 4 * 4 * 16 + 2 * 16 * 4 + 8 * 4 * 16
    _, after, _ = costs.vit(per_layer("shift", (1, 0)), 5, width=4, heads=2, patch_inputs=7)
    distances, mlp = (3 * 2 + 5) * 4, 8 * 5 * 16
    assert after == LayerCost("block_0", 5, 4, projections + maps + distances + mlp)
