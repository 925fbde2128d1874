"""Schedules against ToMe's, refusals, and costs against the published counts."""

import ast

import golden
import pytest

from tokmerge_jax.merging import schedule
from tokmerge_jax.types import LayerCost, UserError

TOME = golden.load("tome-schedule")
MANY = 100_000  # tokens enough for any r


@pytest.mark.parametrize("name", TOME.arrays)
def test_forms_equal_tome(name):
    depth, spec = name.split("|")
    for form in (spec, ast.literal_eval(spec)):
        assert schedule.resolve(form, int(depth), MANY) == tuple(TOME.arrays[name].tolist())


def test_constant_is_capped_at_half_of_the_unprotected():
    assert schedule.resolve(40, 4, 37, protected=1) == (18, 9, 4, 2)
    assert schedule.resolve((6, -1.0), 4, 17, protected=1) == (8, 4, 2, 0)
    assert schedule.resolve(3, 4, 2, protected=2) == (0, 0, 0, 0)


def test_entries_per_layer():
    assert schedule.resolve((600, 200, 100), 5, 2352) == (600, 200, 100, 0, 0)
    assert schedule.resolve("600,200,100", 4, 2352) == (600, 200, 100, 0)
    assert schedule.resolve([0.3, 0.5, 5], 4, 101) == (30, 35, 5, 0)
    assert schedule.resolve([], 2, 10) == (0, 0)
    assert schedule.resolve([8, 0.5], 2, 24) == (8, 8)  # a list of two is no inflection


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ((600, 900), r"r=900 of the 1752 tokens that enter layer 1; at most 876"),
        ([0.6], r"r=1411 of the 2352 tokens that enter layer 0; at most 1176"),
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
        schedule.resolve(spec, 2, 2352)


def test_protected_tokens_are_told():
    with pytest.raises(UserError, match=r"r=6 of the 13 tokens that enter layer 0; at most 5"):
        schedule.resolve((6,), 2, 13, protected=2)


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


@pytest.mark.parametrize(("size", "spec", "tokens_out", "gmac"), PUBLISHED)
def test_costs_are_the_published_ones(size, spec, tokens_out, gmac):
    width, depth = {"b16": (768, 12), "l16": (1024, 24)}[size]
    r = schedule.resolve(spec, depth, 2352)
    costs = schedule.vit_cost(r, 2352, width, patch_inputs=768)
    assert costs[-1].tokens_out == tokens_out
    assert round(sum(cost.macs for cost in costs) / 1e9, 1) == gmac


def test_cost_by_hand():
    """5 tokens of 2 channels, one merged by a metric of width 3, then 4 tokens."""
    patches, first, second = schedule.vit_cost((1, 0), 5, 2, 7, mlp_ratio=3, metric_width=3)
    assert patches == LayerCost("patch_embedding", 5, 5, 5 * 2 * 7)
    projections, maps, matching, mlp = 4 * 5 * 4, 2 * 25 * 2, 3 * 2 * 3, 2 * 3 * 4 * 4
    assert first == LayerCost("block_0", 5, 4, projections + maps + matching + mlp)
    assert second.macs == 4 * 4 * 4 + 2 * 16 * 2 + 2 * 3 * 4 * 4
