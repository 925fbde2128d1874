"""VideoPrism's system: costs, every merger in it, both ways of merging, traces, refusals, jobs."""

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_jobs
import videoprism_case

import tokmerge_jax
from tokmerge_jax import merging
from tokmerge_jax.config import videoprism
from tokmerge_jax.merging import Evidence, Tokens, VidTLDR, merge, together
from tokmerge_jax.systems.videoprism import VideoPrismTower, plain
from tokmerge_jax.tasks import export
from tokmerge_jax.training import loop
from tokmerge_jax.types import UserError

CASE = golden.load("videoprism-tiny")
NAMES = ["tome", "shift", "prune"]  # others: tests/systems/test_every_merger.py
DROPS = {"prune"}
WAYS = [("clip", "dense"), ("frame", "regroup"), ("frame", "dense")]
GMAC = {  # of the reference: size -> r -> GMAC for a video, in each of the `WAYS`
    "b18": {
        0: (615.5, 615.5, 615.5),
        4: (525.2, 547.0, 579.0),
        8: (438.7, 482.4, 542.8),
        16: (277.8, 365.1, 471.4),
        (0, 0, 64, 0, 48): (374.7, 425.6, 494.7),
        (96, 32): (301.5, 359.7, 437.0),
    },
    "l18": {
        0: (835.4, 835.4, 835.4),
        4: (634.9, 673.6, 709.9),
        8: (441.3, 518.7, 586.4),
        (0, 0, 64, 0, 48): (499.0, 544.1, 585.9),
        (96, 32): (416.5, 468.1, 515.3),
    },
}


def tower(size="b18", **changes):
    config = videoprism.Retrieval(model=videoprism.SIZES[size])
    return VideoPrismTower(config.override({"model": changes}))


def tiny(**changes):
    """The system of the small golden, whose 16 places merge, and its parameters."""
    changes = {f"model.{key}": value for key, value in changes.items()}
    system = tokmerge_jax.build(videoprism_case.config_of(CASE).override(changes))
    return system, golden.parameters(system, CASE.weights())


@pytest.mark.parametrize("size", GMAC)
def test_costs_are_the_reference_s_but_for_the_pooling(size):
    """The reference projects every token to keys and values of four times the channels."""
    for r, row in GMAC[size].items():
        for (place, after), gmac in zip(WAYS, row, strict=True):
            merger = {"name": "tome", "r": r, "place": place, "after": after}
            *layers, pooling = tower(size, merger=merger).merging.cost
            assert pooling.name == "pooling"
            tokens, width = pooling.tokens_in, videoprism.SIZES[size].vision.width
            theirs = 8 * tokens * width**2 + 8 * tokens * width + 8 * width**2
            total = sum(layer.macs for layer in layers) + theirs
            assert total / 1e9 == pytest.approx(gmac, abs=0.051)
            assert pooling.macs < 0.02 * theirs


@pytest.mark.parametrize("name", NAMES)
def test_a_merger_shortens_a_clip(name):
    """Alike in all frames; r of 0 is the plain network itself."""
    system, params = tiny(**{"merger.name": name, "merger.r": (5, 4)})
    video = jax.ShapeDtypeStruct((1, 4, 24, 24, 3), jnp.float32)
    network = system.network
    tokens = jax.eval_shape(
        lambda p, x: network.apply({"params": p}, x, method=network.encode)[0], params, video
    )
    assert tokens.shape == (4, 16 - 9, 32)
    assert system.merging.cost[-1].tokens_in == 4 * (16 - 9)
    plain = tower(merger={"name": "none"}).network
    for place, after in WAYS:
        nothing = {"name": name, "r": 0, "place": place, "after": after}
        ours = tokmerge_jax.build(tower(merger=nothing).config).network
        assert not any(ours.vision.mergers)
        assert not ours.restores
        assert ours.vision == plain.clone(alike=ours.vision.alike)


@pytest.mark.parametrize("name", NAMES)
def test_mergers_of_single_frames_restore_every_place(name):
    """After the attention over time the groups go on; what drops is refused."""
    changes = {"merger.name": name, "merger.r": (5, 4), "merger.place": "frame"}
    if name in DROPS:
        changes = {f"model.{key}": value for key, value in changes.items()}
        config = videoprism_case.config_of(CASE).override(changes)
        with pytest.raises(UserError, match="dropped tokens cannot be followed"):
            tokmerge_jax.build(config)  # which compiles nothing
        with pytest.raises(UserError, match="dropped tokens cannot be followed"):
            plain(config.override({"model.merger.place": "clip"}), "no_such_file.npz")
        return
    system, params = tiny(**changes, **{"merger.after": "regroup"})
    video = jax.ShapeDtypeStruct((1, 4, 24, 24, 3), jnp.float32)

    def run(model, video):
        x, tokens = model.encode(video)
        return x, tokens.x, model.embed(x, tokens, 4)

    apply = nn.apply(run, system.network)
    shapes = [x.shape for x in jax.eval_shape(apply, {"params": params}, video)]
    assert shapes == [(4, 16, 32), (4, 16 - 9, 32), (1, 1, 32)]
    assert system.merging.cost[-1].tokens_in == 4 * (16 - 9)


def alike(merger, frames):
    """`together.merged`, compiled."""
    return jax.jit(lambda tokens, evidence: together.merged(merger, tokens, evidence, frames))


def test_frames_of_a_clip_merge_alike_by_their_mean():
    """A hand-made clip: frame 0 alone would pair 0 with 1, both together pair 2 with 3."""
    keys = np.zeros((2, 4, 2), np.float32)
    keys[0, :2] = (1, 0), (1, 0)  # cosines of the pairs: 1 and 0.9
    keys[0, 2:] = (0, 1), (np.sin(np.arccos(0.9)), 0.9)
    keys[1, :2] = (1, 0), (0, 1)  # 0 and 1
    keys[1, 2:] = (-1, 0), (-3, 0)
    x = np.arange(16, dtype=np.float32).reshape(2, 4, 2)
    tokens = Tokens.traced(jnp.asarray(x))
    merger = merging.ToMe(1)
    alone = jax.jit(merger)(tokens, Evidence(keys=jnp.asarray(keys)))
    assert alone.origin is not None
    np.testing.assert_array_equal(alone.origin[0], [1, 1, 0, 2])
    both = alike(merger, 2)(tokens, Evidence(keys=jnp.asarray(keys)))
    np.testing.assert_array_equal(both.origin, [[0, 1, 2, 2]] * 2)
    np.testing.assert_array_equal(both.size, [[1, 1, 2]] * 2)
    np.testing.assert_array_equal(both.x, np.stack([x[:, 0], x[:, 1], x[:, 2:].mean(axis=1)], 1))
    again = alike(merging.ToMe(0), 2)(both, Evidence(keys=jnp.ones((2, 3, 1))))
    np.testing.assert_array_equal(again.x, both.x)


def test_the_entropy_of_a_clip_is_the_mean_of_its_frames():
    rng = np.random.default_rng(0)
    x, entropy = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((6, 8, 4), (6, 8)))
    merge_alike = alike(VidTLDR(3), 3)
    merged = merge_alike(Tokens(x), Evidence(entropy=entropy))
    mean = jnp.repeat(entropy.reshape(2, 3, 8).mean(axis=1), 3, axis=0)
    again = merge_alike(Tokens(x), Evidence(entropy=mean))
    np.testing.assert_allclose(merged.x, again.x, rtol=1e-5)
    sizes = np.asarray(merged.size).reshape(2, 3, 5)
    np.testing.assert_array_equal(sizes, sizes[:, :1].repeat(3, axis=1))


def test_places_are_restored_and_regrouped():
    x = jnp.asarray([[[1.0], [3.0], [5.0], [8.0]]])
    tokens = Tokens(x[:, :2], origin=jnp.asarray([[1, 0, 1, 1]], jnp.int32))
    assert tokens.origin is not None
    np.testing.assert_array_equal(merge.restore(tokens.x, tokens.origin)[0, :, 0], [3, 1, 3, 3])
    groups = merge.regroup(x, tokens)
    np.testing.assert_array_equal(groups.size, [[1, 3]])
    np.testing.assert_allclose(groups.x[0, :, 0], [3, 14 / 3], rtol=1e-6)


@pytest.mark.slow
def test_a_trace_follows_every_place():
    system, params = tiny(**{"merger.name": "vid_tldr", "merger.r": (5, 4)})
    video = np.random.default_rng(0).integers(0, 256, (1, 4, 24, 24, 3), np.uint8)
    assert system.trace_video
    trace = jax.jit(system.trace_video)(params, video)
    assert [origin.shape for origin in trace["origin"]] == [(1, 4 * 16)] * 2
    assert [size.shape for size in trace["size"]] == [(1, 4 * 11), (1, 4 * 7)]
    places = np.asarray(trace["origin"][-1]).reshape(4, 16) - 7 * np.arange(4)[:, None]
    np.testing.assert_array_equal(places, places[:1].repeat(4, axis=0))


def test_the_places_of_a_single_frame_stay_merged():
    system, _ = tiny(**{"vision.frames": 1, "merger.name": "tome", "merger.r": (5, 4)})
    assert not system.network.restores
    assert system.merging.cost[-1].tokens_in == 16 - 9


def test_frames_of_uint8_are_scaled_to_1():
    pixels = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 1, 3)
    np.testing.assert_allclose(tower().normalise(pixels).ravel(), [0, 0.2, 1], atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"merger.name": "unchanged"}, "'unchanged' acts at 'input', and here mergers are called"),
        ({"merger.name": "vote"}, "acts at 'time', and here mergers are called"),
        ({"merger.name": "tempme"}, "tempme"),
        ({"merger.name": "tome", "merger.r": (9,)}, "at most 8 can merge"),
        ({"merger.place": "video"}, "unknown; use clip, frame"),
        ({"merger.after": "regroup"}, "after=regroup is for config.model.merger.place=frame"),
        ({"text.width": 64}, "must be equal to config.model.vision.width=32"),
    ],
)
def test_refusals(changes, says):
    with pytest.raises(UserError, match=says):
        tiny(**changes)


def test_it_is_not_trained():
    with pytest.raises(UserError, match="'videoprism' has no loss, so it can only be evaluated"):
        loop.training_of(tiny()[0])


@pytest.mark.slow
def test_whole_jobs_on_a_few_clips(tmp_path):
    """Random weights: evaluation, search of videos, conversion, pictures and export run."""
    config = videoprism.Retrieval(
        model=videoprism.Model(
            vision=videoprism.Vision(
                width=32, depth=2, heads=1, patch_size=8, image_size=32, frames=2, mlp_width=64,
                grid=4, table_frames=2, temporal_depth=1, auxiliary_depth=1,
            ),
            text=videoprism.Text(width=32, depth=1, heads=1, vocab_size=1000),
            merger=videoprism.Merger(name="tome", r=3),
        ),
        data=videoprism.Data(vocabulary=str(golden.FOLDER / "videoprism-test-spm.model")),
    )  # fmt: skip
    system, params = small_jobs.run(tmp_path, config, "back.npz", "params/text_encoder/cls_emb")
    export.export(system, params, tmp_path / "out", name="videoprism")
