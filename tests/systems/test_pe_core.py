"""PE-Core's system: costs, every merger in it, clips that join, traces, other sizes, refusals."""

from dataclasses import replace

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pe_core_case
import pytest
import small_jobs
from clip_case import close

import tokmerge_jax
from tokmerge_jax import demo_files, merging
from tokmerge_jax.config import pe_core
from tokmerge_jax.merging.tempme import Join
from tokmerge_jax.system import Retrieval
from tokmerge_jax.systems.pe_core import PECoreTower
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import UserError

CASE = golden.load("pecore-tiny")
NAMES = merging.merger.names()
GMAC = {  # of the reference: size -> r -> GMAC for a frame, tokens left
    "t16": {0: (4.73, 577), 16: (3.82, 385), 24: (3.37, 289), 40: (2.55, 97)},
    "s16": {0: (15.66, 577), 16: (12.7, 385), 24: (11.3, 289), 40: (8.6, 97)},
    "b16": {0: (17.80, 197), 4: (15.5, 149), 8: (13.2, 101), 13: (10.4, 41), 16: (8.8, 11)},
    "l14": {0: (192.2, 577), 8: (157.8, 385), 16: (124.5, 193), 23: (96.2, 25)},
    "g14": {0: (2059.3, 1024), 8: (1631, 624), 14: (1320, 324), 20: (1017, 24)},
}


def tower(size="b16", **changes):
    config = pe_core.Retrieval(model=pe_core.SIZES[size])
    return PECoreTower(config.override({"model": changes}))


def tiny(frames=2, **changes):
    """The system of the small golden for videos of some frames, and the video of its parameters."""
    changes = {"vision.frames": frames, "join.layers": (1,), "join.clips": (2,), **changes}
    config = pe_core_case.config_of(CASE).override({f"model.{k}": v for k, v in changes.items()})
    system = tokmerge_jax.build(config)
    return system, golden.parameters(system, CASE.weights())


@pytest.mark.parametrize("size", GMAC)
def test_costs_are_the_reference_s(size):
    for r, (gmac, left) in GMAC[size].items():
        merger = {"name": "tome", "r": r}
        layers = tower(size, merger=merger).merging.cost
        assert layers[-1].tokens_out == 8 * left
        last = 10 ** -len(f"{gmac}".partition(".")[2])
        ours = sum(layer.macs for layer in layers) / 8e9
        assert ours == pytest.approx(gmac, abs=0.501 * last)


@pytest.mark.parametrize("name", NAMES)
def test_every_merger_shortens_its_frames(name):
    """Their shapes, from the frames to the embedding; r of 0 is the plain network itself."""
    system, params = tiny(**{"merger.name": name, "merger.r": (5, 4)})
    vision = system.network.vision
    video = jax.ShapeDtypeStruct((1, 2, 70, 70, 3), jnp.float32)

    def encoded(params, video):
        tokens = vision.apply({"params": params}, video)
        return tokens.x, tokens.position

    x, position = jax.eval_shape(encoded, params["vision"], video)
    assert x.shape == (2, 26 - 9, 128)
    assert position.shape == (2, 26 - 9, 2)
    assert system.merging.cost[-1].tokens_out == 2 * (26 - 9)
    encode = unchecked(system).task(Retrieval).encode_video
    assert jax.eval_shape(encode, params, video)["embedding"].shape == (1, 1, 96)
    plain = tower(merger={"name": "none"}).network
    assert tower(merger={"name": name, "r": 0}).network == plain
    assert tower(merger={"name": name, "r": 2}).network != plain


@pytest.mark.slow
def test_merging_equal_tokens_at_one_place_changes_nothing():
    """Two equal frames that join, each patch with its twin, are one frame."""
    system, params = tiny()
    frame = pe_core_case.videos(CASE)[:1]
    run = jax.jit(unchecked(system).task(Retrieval).encode_video)
    plain = run(params, np.repeat(frame, 2, axis=1))["embedding"]
    join = (None, Join(2, 1, 25), None)
    network = system.network.clone(vision=system.network.vision.clone(joins=join))
    joined = jax.jit(lambda p, x: network.apply({"params": p}, x, method=network.encode_video))(
        params, np.repeat(frame, 2, axis=1)
    )
    close(joined / np.linalg.norm(joined), plain, 1e-5)


def test_clips_join_by_tempmes_plan():
    """8 frames become 4, 2 and 1 in the last quarter of the layers; without class tokens too."""
    for size, (first, *_) in (("b16", (9, 10, 11)), ("l14", (18,)), ("g14", (38,))):
        stages = tower(size, merger={"name": "tempme", "r": 4}).stages
        assert [stage.clips for stage in stages][first - 1 : first + 1] == [8, 4]
        assert stages[-1].clips == 1
        joins = [stage.join for stage in stages if stage.join]
        count = pe_core.SIZES[size].vision.class_token
        assert [join.class_tokens for join in joins] == [count, 2 * count, 4 * count]
    system, params = tiny(**{"merger.name": "tempme", "merger.r": 4})
    trace_video = unchecked(system).trace_video
    assert trace_video
    trace = jax.eval_shape(trace_video, params, jax.ShapeDtypeStruct((1, 2, 70, 70, 3), "f4"))
    assert [origin.shape for origin in trace["origin"]] == [(1, 2 * 25)] * 3


@pytest.mark.slow
def test_a_trace_follows_every_patch():
    system, params = tiny(**{"merger.name": "vid_tldr", "merger.r": (5, 4)})
    video = np.random.default_rng(0).integers(0, 256, (1, 2, 70, 70, 3), np.uint8)
    assert system.trace_video
    trace = jax.jit(system.trace_video)(params, video)
    assert [origin.shape for origin in trace["origin"]] == [(1, 50)] * 2
    assert [size.shape for size in trace["size"]] == [(1, 2 * 21), (1, 2 * 17)]
    assert [saliency.shape for saliency in trace["saliency"]] == [(1, 2 * 26), (1, 2 * 21)]
    assert trace["origin"][-1].max() < 2 * 17


def test_frames_of_uint8_are_scaled_to_1():
    pixels = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 1, 3)
    np.testing.assert_allclose(tower().normalise(pixels).ravel(), [-1, -0.6, 1], atol=1e-6)


def test_other_image_sizes_keep_the_position_table():
    system, params = tiny(**{"vision.image_size": 98})
    assert params["vision"]["position_embedding"].shape == (26, 128)
    video = jax.ShapeDtypeStruct((1, 2, 98, 98, 3), jnp.uint8)
    assert (
        jax.eval_shape(system.task(Retrieval).encode_video, params, video)["embedding"].shape[-1]
        == 96
    )
    assert system.merging.cost[0].tokens_out == 2 * 50


@pytest.mark.slow
def test_a_released_network_starts_lora_without_changing_anything():
    system, params = tiny(**{"lora_rank": 2})
    video, ids = pe_core_case.videos(CASE)[:1], CASE.arrays["inputs/text"]
    plain, weights = tiny()
    for name, arrays in (("encode_video", (np.repeat(video, 2, axis=1),)),
                         ("encode_text", (ids, ids > 0))):  # fmt: skip
        ours, theirs = (
            jax.jit(getattr(unchecked(s).task(Retrieval), name))(p, *arrays)["embedding"]
            for s, p in ((system, params), (plain, weights))
        )
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"merger.name": "unchanged"}, "'unchanged' acts at 'input', and here mergers are called"),
        ({"merger.name": "prune_frames"}, "acts at 'time', and here mergers are called"),
        ({"merger.name": "tempme", "join.clips": (3,)}, "frames cannot be joined by"),
        ({"merger.name": "tome", "merger.r": (14,)}, "at most 12 can merge"),
        ({"vision.heads": 64}, "must be a multiple of four times config.model.vision.heads=64"),
        ({"vision.width": 12, "vision.heads": 1}, "must be a multiple of 8, the number"),
        ({"merger.position": "middle"}, "unknown; use mean, kept"),
    ],
)
def test_refusals(changes, says):
    with pytest.raises(UserError, match=says):
        tiny(**changes)


@pytest.mark.slow
def test_whole_jobs_on_a_few_clips(tmp_path):
    """Random weights: evaluation, search of videos and conversion run."""
    config = pe_core.Retrieval(
        model=pe_core.Model(
            vision=pe_core.Vision(
                width=32, depth=2, heads=1, patch_size=8, image_size=32, mlp_width=64, grid=4
            ),
            text=replace(pe_core.TEXT, width=32, depth=1, heads=1, vocab_size=578),
            embed_dim=16,
            merger=pe_core.Merger(name="tome", r=3),
        ),
        data=pe_core.Data(vocabulary=demo_files.path("demo_bpe.txt")),
        eval=pe_core.RetrievalOptions(dual_softmax=1.0),
    )
    small_jobs.run(tmp_path, config, "meta.safetensors", "visual.attn_pool.attn.in_proj_weight")
