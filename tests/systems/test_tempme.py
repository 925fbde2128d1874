"""TempMe's system: what it predicts, with any merger, traced, at any size; and wrong settings."""

import itertools

import chex
import clip_case
import golden
import jax
import numpy as np
import pytest
from parameters import slow

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.config import clip
from tokmerge_jax.layers.lora import PROJECTIONS, merge_lora
from tokmerge_jax.merging import ToMe, VidTLDR
from tokmerge_jax.merging.shift import Shift
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import UserError

CASE = golden.load("tempme-tiny")
VIDEO = clip_case.videos(CASE)
IDS = CASE.arrays["inputs/text_ids"]


@pytest.fixture(scope="module")
def tiny():
    return clip_case.system_of(CASE)


def changed(**changes):
    """The tiny case's configuration with other keys."""
    return clip_case.config_of(CASE).override({"model": changes})


@pytest.fixture(scope="module")
def encode(tiny):
    """The compiled video side, LoRA folded."""
    system, params = tiny
    program = jax.jit(system.retrieval.encode_video)
    return lambda video: program(params, video)["embedding"][:, 0]


@pytest.mark.slow
def test_predictions_are_the_originals_directions(tiny, encode):
    system, params = tiny
    expected = CASE.arrays["video_feat"][:1]  # the second one's last frame is masked
    np.testing.assert_allclose(
        encode(VIDEO[:1]), expected / np.linalg.norm(expected, axis=-1, keepdims=True), atol=2e-5
    )
    words = jax.jit(system.retrieval.encode_text)(params, IDS, IDS != 0)["embedding"]
    texts = CASE.arrays["text_feat"]
    np.testing.assert_allclose(
        words, texts / np.linalg.norm(texts, axis=-1, keepdims=True), atol=2e-5
    )


def test_folded_parameters_are_those_of_the_network_without_lora(tiny):
    """Checks that both networks predict the same; another test compares with the original."""
    _, params = tiny
    folded = merge_lora(params)
    plain = tokmerge_jax.build(changed(lora_rank=0)).weights.shapes
    chex.assert_trees_all_equal_shapes({**folded}, {**plain})
    for tower, name in itertools.product(("vision", "text"), PROJECTIONS):
        before, after = (p[tower]["block_1"]["attention"] for p in (params, folded))
        lora = before["lora"]
        change = np.dot(*(np.asarray(lora[n]["kernel"], np.float64) for n in ("down", name)))
        assert np.abs(change).max() > 0.01
        expected = before[name]["kernel"] + change
        np.testing.assert_allclose(after[name]["kernel"], expected, atol=1e-6)
        np.testing.assert_array_equal(after[name]["bias"], before[name]["bias"])


@pytest.mark.slow
def test_frames_of_uint8_are_normalised_as_clip_does(tiny, encode):
    system, _ = tiny
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 64, 64, 3), np.uint8)
    mean, std = np.array(system.pixels.mean), np.array(system.pixels.std)
    normal = ((pixels / 255 - mean) / std).astype(np.float32)
    np.testing.assert_allclose(encode(pixels), encode(normal), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("merger", slow(["tome", "vid_tldr", "shift"], "tome".__ne__))
def test_other_mergers_work_in_every_frame(tiny, merger):
    """Checks mergers chosen in a configuration: each frame keeps its class token; costs agree."""
    config = changed(merger={"name": merger, "r": (3, 2)})
    system = unchecked(tokmerge_jax.build(config))
    weights = checkpoints.from_torch(system, CASE.weights())
    assert system.trace_video
    trace = jax.jit(system.trace_video)(weights, VIDEO)
    assert [size.shape for size in trace["size"]] == [(2, 4 * 14), (2, 4 * 12)]
    assert [origin.shape for origin in trace["origin"]] == [(2, 4 * 16)] * 2
    if merger == "tome":  # of vid-TLDR's sources background vanishes
        np.testing.assert_allclose(trace["size"][-1].sum(axis=1), 4 * 17, rtol=1e-6)
    else:
        assert [s.shape for s in trace["saliency"]] == [(2, 4 * 17), (2, 4 * 14)]
        assert all((s.reshape(2, 4, -1)[..., 0] == 1).all() for s in trace["saliency"])
        patches = np.arange(4 * 17).reshape(4, 17)[:, 1:]
        np.testing.assert_array_equal(trace["start"][0], patches.ravel())
    tokens = [layer.tokens_in for layer in system.merging.cost]
    assert tokens == [68, 68, 56, 48, 48, 48, 48, 48]
    assert system.merging.schedule.r == (3, 2, 0, 0, 0, 0)
    mergers = system.network.vision.mergers
    assert mergers[0].class_tokens == 1
    assert type(mergers[0]) is {"tome": ToMe, "vid_tldr": VidTLDR, "shift": Shift}[merger]


def test_another_merger_within_frames_and_clips():
    """Checks `join.within`; since clips join, the trace has no saliency."""
    system = unchecked(tokmerge_jax.build(changed(join={"within": "shift"})))
    stages = [merger for merger in system.network.vision.mergers if merger]
    assert stages == [Shift(1, 1), Shift(1, 1), Shift(2, 2), Shift(1, 2), Shift(2, 4), Shift(2, 4)]
    assert system.trace_video
    shapes = system.weights.shapes
    trace = jax.eval_shape(system.trace_video, shapes, jax.ShapeDtypeStruct(VIDEO.shape, "f4"))
    assert trace["saliency"] == []
    assert [size.shape[1] for size in trace["size"]] == [
        layer.tokens_out for layer in system.merging.cost if layer.tokens_out < layer.tokens_in
    ]


@pytest.mark.slow
def test_trace_follows_patches_over_frames(tiny):
    system, params = tiny
    trace = jax.jit(system.trace_video)(params, VIDEO)
    merging = [layer for layer in system.merging.cost if layer.tokens_out < layer.tokens_in]
    assert len(trace["origin"]) == len(merging) == 6
    for layer, origin, size in zip(merging, trace["origin"], trace["size"], strict=True):
        assert size.shape == (2, layer.tokens_out)
        assert origin.shape == (2, 4 * 16)
        counts = [np.bincount(row, minlength=layer.tokens_out) for row in np.asarray(origin)]
        own = 4 * np.ones(2)  # class tokens, of which the trace does not tell
        np.testing.assert_allclose(np.sum(size, axis=1), np.sum(counts, axis=1) + own, rtol=1e-6)
        classes = np.asarray(counts) == 0
        np.testing.assert_allclose(size[classes], np.ones(classes.sum()), rtol=1e-6)
        np.testing.assert_allclose(size[~classes], np.asarray(counts)[~classes], rtol=1e-5)


def test_cost_of_another_schedule(tiny):
    system, _ = tiny
    spec, last = CASE.config, system.merging.cost[-1]
    assert last.name == "projection"
    assert last.macs == spec["frames"] * spec["vision_width"] * spec["embed_dim"]
    assert system.merging.schedule.r == (1, 1)
    assert system.merging.schedule.tokens == 17
    assert [system.merging.schedule.most(n) for n in (17, 16, 1)] == [8, 7, 0]
    assert tuple(system.merging.cost_of((1, 1))) == tuple(system.merging.cost)
    costs = [
        sum(layer.macs for layer in system.merging.cost_of(r)) for r in ((0, 0), (1, 1), (3, 3))
    ]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"merger": {"name": "tomee"}},
            "merger.name='tomee' is unknown; use none, tempme, .*prune, .*shift",
        ),
        ({"join": {"within": "vote"}}, "model.join.within='vote' acts at 'time', and here"),
        (
            {"join": {"within": "tempme"}},
            "model.join.within='tempme' is unknown; use atc, .*prune, .*shift",
        ),
        ({"activation": "relu"}, "activation='relu' is unknown; use quick_gelu, gelu"),
        ({"vision": {"patch_size": 15}}, r"image_size=64 must be a multiple of .*patch_size=15"),
        ({"vision": {"heads": 0}}, r"config\.model\.vision\.heads=0 must be at least 1"),
        ({"text": {"heads": 3}}, r"text\.width=128 must be a multiple of config.*heads=3"),
        ({"text": {"max_positions": 8}}, "max_text_length=20 must be at most .*max_positions=8"),
        ({"lora_rank": -1}, "lora_rank=-1 must be 0 or more"),
        ({"embed_dim": 0}, "embed_dim=0 must be at least 1"),
        ({"sizes": "file"}, "sizes='file' is unknown; use config, checkpoint"),
        ({"join": {"layers": (2.0, 4)}}, r"join\.layers=\(2\.0, 4\) must be of type tuple\[int"),
        ({"join": {"layers": (4, 2)}}, "must rise from 0 to 5"),
        ({"join": {"clips": (2, 3)}}, "4 frames cannot be joined"),
        ({"merger": {"r": (12,)}}, "merges r=12 of the 17 tokens that enter layer 0; at most 8"),
    ],
    ids=str,
)
def test_wrong_settings(changes, says):
    with pytest.raises(UserError, match=says):
        tokmerge_jax.build(changed(**changes))


@pytest.mark.slow
def test_a_large_clip_of_any_patch_builds():
    """The original's token counts are those of two sizes; here L/14 and 336 pixels work too."""
    model = clip.Model(vision=clip.L14, text=clip.L14_TEXT, embed_dim=768)
    changes = {"model.merger.name": "tempme", "model.vision.image_size": 336}
    system = tokmerge_jax.build(clip.Retrieval(model=model).override(changes))
    assert system.merging.cost[0].tokens_in == 12 * 577
    assert system.weights.shapes["vision"]["position_embedding"].shape == (577, 1024)
