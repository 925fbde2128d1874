"""Dropping unchanged patches: what stays, differences, cost, and where UMT calls it."""

from functools import cache

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
from tokmerge_jax.merging.unchanged import Unchanged, UnchangedRuns, difference
from tokmerge_jax.systems.tempme import TempMeTower
from tokmerge_jax.systems.towers.umt import UMTTower
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import UserError

EVS = golden.load("mergers-evs")


changes = jax.jit(difference, static_argnums=1)


@cache
def compiled(merger, frames):
    return jax.jit(lambda x, changed: merger(x, Evidence(difference=changed, frames=frames)))


def check(changed, r, per_frame, expected):
    """What stays, by its places; with runs also their lengths and who stands for each patch."""
    frames = changed.shape[1] // per_frame
    places = jnp.broadcast_to(jnp.arange(1.0 * changed.shape[1])[:, None], (*changed.shape, 1))
    stay = compiled(Unchanged(r, per_frame), frames)(Tokens(places), changed)
    np.testing.assert_array_equal(stay.x[..., 0], expected["kept"])
    assert stay.size is None
    runs = compiled(UnchangedRuns(r, per_frame), frames)(Tokens.traced(places), changed)
    np.testing.assert_array_equal(runs.x, stay.x)
    np.testing.assert_array_equal(runs.size, expected["size"])
    np.testing.assert_array_equal(runs.origin, expected["origin"])


def expected_of(arrays, key):
    return {name: arrays[f"{key}/{name}"] for name in ("kept", "size", "origin")}


@pytest.mark.parametrize("rate", EVS.config["rates"])
def test_what_stays_equals_the_original(rate):
    """At a rate q of EVS, max(P, int(N (1 - q))) of N patches stay."""
    patches = jnp.asarray(recipe.video((2, 4, 3, 3, 6), 7171)).reshape(2, 36, 6)
    r = 36 - max(9, int(36 * (1 - rate)))
    check(changes(patches, 4), r, 9, expected_of(EVS.arrays, f"q{rate}"))


@pytest.mark.parametrize("frames", EVS.config["tubelets"])
def test_a_fixed_number_by_differences_of_pixels(frames):
    """By Run-Length Tokenization's own differences, of patches of one frame and of two."""
    changed = EVS.arrays[f"tubelet{frames}/difference"].reshape(2, -1)
    changed = jnp.pad(changed, ((0, 0), (9, 0)), constant_values=jnp.inf)
    expected = expected_of(EVS.arrays, f"tubelet{frames}/budget")
    check(changed, changed.shape[1] - expected["kept"].shape[1], 9, expected)


@pytest.mark.parametrize("threshold", EVS.config["thresholds"])
@pytest.mark.parametrize("frames", EVS.config["tubelets"])
def test_run_lengths_are_those_of_run_length_tokenization(frames, threshold):
    """For the patches that it keeps by a threshold, of each video in the order row, column, t."""
    stays = EVS.arrays[f"tubelet{frames}/{threshold}/keep"]
    lengths = []
    for stay in stays.astype(bool):
        run = compiled(UnchangedRuns(int((~stay).sum()), 9), len(stay) // 9)
        tokens = run(Tokens(jnp.zeros((1, len(stay), 1))), jnp.float32(stay)[None])
        length = np.zeros(len(stay))
        length[stay] = tokens.size[0]
        lengths += [each for each in length.reshape(-1, 9).T.reshape(-1) if each]
    np.testing.assert_array_equal(lengths, EVS.arrays[f"tubelet{frames}/{threshold}/lengths"])


@pytest.mark.parametrize("key", merger_edges.keys("evs"))
def test_what_stays_at_the_edges(key):
    """r from 0 to more than there is, a clip without change, zero vectors."""
    _, kind, r = key.split("/")
    x, *_ = merger_edges.case(f"evs/{kind}/{r}/c0")
    patches = jnp.concatenate([x, x[:, ::-1], x], axis=1)
    expected = expected_of(merger_edges.EDGES.arrays, key)
    check(changes(patches, 3), int(r[1:]), 8, expected)


def test_differences_by_hand():
    """Lengths do not count; opposite patches differ by 2, and a patch of zeros by 1 from any."""
    frames = [[[1.0, 0], [0, 1], [0, 0]], [[3.0, 0], [0, -2], [0, 0]]]
    ours = changes(jnp.array(frames).reshape(1, 6, 2), 2)
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
    with pytest.raises(UserError, match="acts at 'input', and here mergers are called at 'be"):
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


def test_class_tokens_stand_for_themselves():
    """One class token, then three frames of two patches, of which the second never changes."""
    changed = jnp.array([[jnp.inf, jnp.inf, jnp.inf, 0.9, 0.1, 0.8, 0.2]])
    runs = compiled(UnchangedRuns(2, 3), 3)(Tokens.traced(jnp.zeros((1, 7, 1))), changed)
    np.testing.assert_array_equal(runs.size, [[1, 1, 3, 1, 1]])
    np.testing.assert_array_equal(runs.origin, [[0, 1, 2, 3, 2, 4, 2]])


def test_runs_can_be_drawn_and_count_in_attention():
    """32 of 64 patches go; their origin is traced, and attention weighs those that stay."""
    case = golden.load("vidtldr-tiny-off")
    keys = {"model.merger.name": "unchanged_runs", "model.merger.r": (32,)}
    system = unchecked(tokmerge_jax.build(umt_case.config_of(case).override(keys)))
    assert system.trace_video
    trace = jax.eval_shape(
        system.trace_video,
        system.weights.shapes,
        jax.ShapeDtypeStruct((1, 4, 64, 64, 3), np.uint8),
    )
    assert [x.shape for x in trace["origin"]] == [(1, 64)]
    assert [x.shape for x in trace["size"]] == [(1, 32)]
    assert UnchangedRuns.proportional
