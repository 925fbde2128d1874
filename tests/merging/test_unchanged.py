"""Dropping unchanged patches: what stays, differences, cost, and where UMT calls it."""

import golden
import jax
import jax.numpy as jnp
import merger_edges
import numpy as np
import pytest
import recipe
import umt_case

import tokmerge_jax
from tokmerge_jax.config import clip, umt
from tokmerge_jax.merging import Evidence, Tokens
from tokmerge_jax.merging.unchanged import Unchanged, difference
from tokmerge_jax.systems.tempme import TempMeTower
from tokmerge_jax.systems.towers.umt import UMTTower
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import UserError

EVS = golden.load("mergers-evs")


def kept(patches, frames, r):
    """The places of the patches [B,T P,C] that stay."""
    per_frame = patches.shape[1] // frames
    places = jnp.broadcast_to(jnp.arange(1.0 * patches.shape[1])[:, None], (*patches.shape[:2], 1))
    merger = Unchanged(r, per_frame)
    evidence = Evidence(difference=jax.jit(difference, static_argnums=1)(patches, frames))
    return jax.jit(merger)(Tokens(places), evidence).x[..., 0]


@pytest.mark.parametrize("rate", EVS.config["rates"])
def test_what_stays_equals_the_original(rate):
    """At a rate q of EVS, max(P, int(N (1 - q))) of N patches stay."""
    patches = jnp.asarray(recipe.video((2, 4, 3, 3, 6), 7171)).reshape(2, 36, 6)
    ours = kept(patches, 4, 36 - max(9, int(36 * (1 - rate))))
    np.testing.assert_array_equal(ours, EVS.arrays[f"q{rate}/kept"])


@pytest.mark.parametrize("key", merger_edges.keys("evs"))
def test_what_stays_at_the_edges(key):
    """r from 0 to more than there is, a clip without change, zero vectors."""
    _, kind, r = key.split("/")
    x, *_ = merger_edges.case(f"evs/{kind}/{r}/c0")
    patches = jnp.concatenate([x, x[:, ::-1], x], axis=1)
    ours = kept(patches, 3, int(r[1:]))
    np.testing.assert_array_equal(ours, merger_edges.EDGES.arrays[f"{key}/kept"])


def test_differences_by_hand():
    """Lengths do not count; opposite patches differ by 2, and a patch of zeros by 1 from any."""
    frames = [[[1.0, 0], [0, 1], [0, 0]], [[3.0, 0], [0, -2], [0, 0]]]
    ours = jax.jit(difference, static_argnums=1)(jnp.array(frames).reshape(1, 6, 2), 2)
    np.testing.assert_allclose(ours, [[np.inf, np.inf, np.inf, 0, 2, 1]], rtol=1e-6)


def tower(name="unchanged", r: object = 0):
    """UMT-B on 12 frames."""
    return UMTTower(umt.Retrieval().override({"model.merger.name": name, "model.merger.r": r}))


@pytest.mark.parametrize(("r", "gmac"), [(588, 208.6), (1176, 126.8), (1764, 57.7)])
def test_costs_are_the_reference_s(r, gmac):
    cost = tower(r=(r,)).merging.cost
    assert sum(layer.macs for layer in cost) / 1e9 == pytest.approx(gmac, abs=0.05)
    assert [layer.tokens_out for layer in cost] == [2352] + [2352 - r] * 12


def test_the_first_frame_stays():
    assert tower(r=(2352 - 196,)).r == (2156,)
    with pytest.raises(UserError, match="at most 2156 can merge"):
        _ = tower(r=(2157,)).r
    with pytest.raises(UserError, match="has 2 entries for 1 layer;"):
        _ = tower(r=(10, 10)).r


def test_r_of_0_is_the_plain_network():
    assert tower().network == tower("none").network


def test_networks_of_single_frames_refuse_it():
    config = clip.Retrieval().override({"model.merger.name": "unchanged", "model.merger.r": 2})
    with pytest.raises(UserError, match="acts at 'input', and here mergers are called at 'att"):
        _ = TempMeTower(config).network


@pytest.mark.parametrize("name", ["vidtldr-tiny", "umtqa-tiny"])
def test_retrieval_and_question_answering_use_it(name):
    keys = {"model.merger.name": "unchanged", "model.merger.r": (0.5,)}
    system = unchecked(tokmerge_jax.build(umt_case.config_of(golden.load(name)).override(keys)))
    task = system.retrieval or system.answering
    assert task
    video = jax.ShapeDtypeStruct((1, 4, 64, 64, 3), np.uint8)
    assert jax.eval_shape(task.encode_video, system.weights.shapes, video)["tokens"].shape[1] == 32


def test_umt_never_reads_what_repeats():
    """Two frames that repeat the second one go: what they hold beyond it has no effect."""
    case = golden.load("vidtldr-tiny-off")
    keys = {"model.merger.name": "unchanged", "model.merger.r": (32,)}
    system = unchecked(tokmerge_jax.build(umt_case.config_of(case).override(keys)))
    params, video = golden.parameters(system, case.weights()), umt_case.videos(case, 2)
    assert system.retrieval
    encode = jax.jit(system.retrieval.encode_video)
    still = np.concatenate([video[:, :2], video[:, 1:2], video[:, 1:2]], axis=1)
    other = np.concatenate([video[:, :2], 1.01 * video[:, 1:2], 0.99 * video[:, 1:2]], axis=1)
    ours, expected = encode(params, other), encode(params, still)
    assert ours["tokens"].shape[1] == 32
    np.testing.assert_array_equal(ours["tokens"], expected["tokens"])
    np.testing.assert_array_equal(ours["embedding"], expected["embedding"])
    assert np.abs(encode(params, video)["embedding"] - expected["embedding"]).max() > 1e-3
