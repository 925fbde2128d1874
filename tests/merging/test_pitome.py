"""PiToMe: its energies, what they merge, a small ViT, and where the library uses it."""

from functools import cache, partial

import golden
import jax
import jax.numpy as jnp
import merger_edges
import numpy as np
import pytest
import recipe
import timm_vit
import umt_case

from tokmerge_jax import kernels
from tokmerge_jax.config.testa import Retrieval
from tokmerge_jax.merging import Evidence, Tokens, matching, per_layer, pitome
from tokmerge_jax.merging.pitome import PiToMe, PiToMeCLIP
from tokmerge_jax.merging.testa import Aggregation
from tokmerge_jax.models.clip_vit import CLIPViT
from tokmerge_jax.models.timesformer import TimeSformer
from tokmerge_jax.models.umt import UMTViT
from tokmerge_jax.systems.towers.timesformer import TimeSformerTower
from tokmerge_jax.types import UserError

UNIT, VIT = golden.load("mergers-pitome"), golden.load("mergers-pitome-vit")
CASES = sorted({"/".join(key.split("/")[:5]) for key in UNIT.arrays})


def close(ours, theirs):
    umt_case.close(ours, theirs, 1e-5)


@cache
def compiled(merger):
    """A function of tokens and keys, one of equal mergers."""
    return jax.jit(lambda tokens, keys: merger(tokens, Evidence(keys)))


@partial(jax.jit, static_argnums=(1, 2))
def energies(metric, margin, alpha):
    energy = pitome.energy(matching.cosine(metric, metric), margin, alpha)
    return energy, matching.ranking(energy)


@pytest.mark.parametrize("case", CASES)
def test_pitome_equals_the_original_twice_in_a_row(case):
    """Energies, ranks, means, sizes, origins; then a second merge with sizes, in the other way."""
    expected = {
        key.removeprefix(f"{case}/"): value
        for key, value in UNIT.arrays.items()
        if key.startswith(f"{case}/")
    }
    tag, split, r, *numbers = case.split("/")
    first, r, (margin, alpha) = int(tag == "cls"), int(r[1:]), (float(each[1:]) for each in numbers)
    metric, x = (jnp.asarray(recipe.video((2, 25, n), 7101 + i)) for i, n in enumerate((8, 6)))
    energy, ranking = energies(metric[:, first:], margin, alpha)
    close(energy, expected["energy"])
    np.testing.assert_array_equal(ranking, expected["order"])
    tokens = compiled(PiToMe(r, first, margin, split == "energy", alpha))(Tokens.traced(x), metric)
    close(tokens.x, expected["x"])
    np.testing.assert_array_equal(tokens.size, expected["size"])
    np.testing.assert_array_equal(tokens.origin, expected["origin"])
    again = PiToMe(max(1, r // 2), first, margin, split == "all", alpha)
    tokens = compiled(again)(tokens, metric[:, : 25 - r])
    close(tokens.x, expected["second/x"])
    np.testing.assert_array_equal(tokens.size, expected["second/size"])


@pytest.mark.parametrize("key", [*merger_edges.keys("pitome"), *merger_edges.keys("pitome_all")])
def test_what_merges_at_the_edges(key):
    """r from 0 to more than there is, equal tokens, zero vectors."""
    x, r, protected, expected = merger_edges.case(key)
    limited = key.startswith("pitome/")
    tokens = compiled(PiToMe(r, protected, 0.5, limited))(Tokens.traced(x), x)
    close(tokens.x, expected["x"])
    np.testing.assert_array_equal(tokens.size, expected["size"])
    np.testing.assert_array_equal(tokens.origin, expected["origin"])


def test_lonely_tokens_are_protected():
    """Three tokens are a crowd, three point elsewhere: one of the crowd merges into another."""
    x = jnp.array([[[1.0, 0, 0], [0, 1, 0], [1, 0.1, 0], [0, 0, 1], [1, 0.2, 0], [-1, -1, 0]]])
    tokens = compiled(PiToMe(1, margin=0.5, limited=True))(Tokens.traced(x), x)
    (origin,) = np.asarray(tokens.origin)
    assert len({*origin[[1, 3, 5]]}) == 3
    assert len({*origin[[0, 2, 4]]}) == 2
    np.testing.assert_array_equal(np.sort(tokens.size[0]), [1, 1, 1, 1, 2])


@pytest.mark.slow
def test_a_small_vit_gives_what_the_original_gives():
    """Margins and splits by depth; sizes weigh means, and attention ignores them."""
    features, blocks = timm_vit.small(VIT, per_layer("pitome", VIT.config["r"], 1))
    for i, block in enumerate(blocks):
        umt_case.close(block["out"][0], VIT.arrays[f"block_{i}"], 1e-4)
        np.testing.assert_array_equal(block["after_merging"][0].size, VIT.arrays[f"size_{i}"])
    umt_case.close(features, VIT.arrays["features"], 1e-4)


def test_layers_of_both_rules():
    """The reference's table: DeiT's margins and splits, and CLIP's."""
    assert per_layer("pitome", (1, 2, 3), 1) == (
        PiToMe(1, 1, 0.75, False),
        PiToMe(2, 1, 0.75 * (1 - 1 / 3), False),
        PiToMe(3, 1, 0.75 * (1 - 2 / 3), True),
    )
    assert per_layer("pitome_clip", (1, 0, 0, 4), 1) == (
        PiToMeCLIP(1, 1, 0.95, True),
        None,
        None,
        PiToMeCLIP(4, 1, 0.95 * 0.25, True),
    )


def test_clip_s_rule_compares_tokens():
    x = jnp.asarray(recipe.video((2, 9, 6), 3))
    ours = jax.jit(PiToMeCLIP(3, 1, 0.5, True))(Tokens(x), Evidence())
    by_tokens = compiled(PiToMe(3, 1, 0.5, True))(Tokens(x), x)
    np.testing.assert_array_equal(ours.x, by_tokens.x)
    np.testing.assert_array_equal(ours.size, by_tokens.size)


def test_costs():
    """UMT-B's first block: 0.35 GMAC by keys, 4.25 by tokens, as the reference counts them."""
    assert PiToMe(600).macs(2352, 768, 12) == 2352**2 * 64
    assert PiToMeCLIP(600).macs(2352, 768, 12) == 2352**2 * 768
    assert PiToMe(600, 1).macs(197, 768, 12) == 196**2 * 64


def test_divided_attention_refuses_an_order_of_its_own():
    config = Retrieval().override({"model.merger.name": "pitome"})
    with pytest.raises(UserError, match=r"name='pitome' leaves the patches .*\.attention=joint"):
        _ = TimeSformerTower(config).network
    joint = config.override({"model.vision.attention": "joint", "model.merger.frames": 0})
    assert TimeSformerTower(joint).kinds[1] is PiToMe


@pytest.mark.parametrize(("name", "counts"), [("tome", True), ("pitome", False)])
@pytest.mark.parametrize("kind", [UMTViT, CLIPViT, TimeSformer])
def test_sizes_count_in_attention_only_where_the_merger_says_so(kind, name, counts, monkeypatch):
    weights, attend = [], kernels.attention

    def attention(query, key, value, weight, **more):
        weights.append(weight)
        return attend(query, key, value, weight, **more)

    monkeypatch.setattr(kernels, "attention", attention)
    mergers = per_layer(name, (2, 2), int(kind is not UMTViT))
    network = {
        UMTViT: partial(UMTViT, 8, 2, mergers, 8, table_frames=2),
        CLIPViT: partial(CLIPViT, 8, 2, mergers, 8),
        TimeSformer: partial(
            TimeSformer,
            8,
            2,
            tuple(Aggregation(patches=merger) for merger in mergers),
            8,
            table_frames=2,
            table_patches=9,
            attention="joint",
            proportional=True,
        ),
    }[kind]()
    video = jnp.zeros((1, 2, 24, 24, 3))
    jax.make_jaxpr(network.apply)(jax.eval_shape(network.init, jax.random.key(0), video), video)
    assert [weight is not None for weight in weights] == [False, counts]
