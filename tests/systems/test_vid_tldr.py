"""vid-TLDR's binding: what a configuration builds, what it refuses, and what pixels mean."""

import golden
import jax
import numpy as np
import pytest
import umt_case

import tokmerge_jax
from tokmerge_jax import kernels
from tokmerge_jax.configs import demo, msrvtt_b16, msrvtt_l16, msrvtt_qa_b16, msrvtt_qa_l16
from tokmerge_jax.systems.towers import IMAGENET_MEAN, IMAGENET_STD
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import UserError


def changed(config, **keys):
    return config.override({key.replace("__", "."): value for key, value in keys.items()})


@pytest.mark.parametrize(
    ("config", "merger", "tokens", "gmac"),
    [
        (msrvtt_b16, "none", 2352, 303.1),
        (msrvtt_b16, "vid_tldr", 1452, 177.8),
        (msrvtt_l16, "none", 2352, 984.0),
        (msrvtt_l16, "vid_tldr", 1402, 543.0),
        (msrvtt_b16, "shift", 1452, 182.1),
        (msrvtt_l16, "shift", 1402, 551.0),
        (msrvtt_qa_b16, "shift", 1552, 192.1),
        (msrvtt_qa_l16, "shift", 1452, 577.0),
    ],
)
def test_cost_is_the_references(config, merger, tokens, gmac):
    system = tokmerge_jax.build(changed(config.get_config(), model__merger__name=merger))
    assert system.merging.cost[-1].tokens_out == tokens
    assert sum(layer.macs for layer in system.merging.cost) / 1e9 == pytest.approx(gmac, abs=0.05)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"system": "vid_tdlr"},
            r"config\.system='vid_tdlr'.*known: .*pe_core, tds_clip, tempme, testa, .*, vid_tldr",
        ),
        ({"dtype": "half"}, r"config\.dtype='half' must be auto, float32 or bfloat16"),
        ({"model__merger__name": "merge"}, r"merger.name='merge' is unknown; use none, .*prune"),
        ({"model__merger__r": (145,)}, r"r=145 of the 288 tokens that enter layer 0"),
        ({"model__merger__r": (144, 73)}, r"r=73 of the 144 tokens that enter layer 1"),
        ({"model__vision__keep_temporal": True}, r"keep_temporal.*merger\.name=none"),
        (
            {"model__vision__patch_size": 0},
            r"config\.model\.vision\.patch_size=0 must be at least 1",
        ),
        ({"model__text__heads": -1}, r"config\.model\.text\.heads=-1 must be at least 1"),
        ({"model__vision__heads": 5}, r"vision\.width=128 must be a multiple of .*heads=5"),
        ({"model__vision__image_size": 100}, r"image_size=100 must be a multiple of .*size=16"),
        ({"model__text__heads": 3}, r"text\.width=128 must be a multiple of .*heads=3"),
        ({"model__text__fusion_layer": 4}, r"fusion_layer=4 must be less than .*depth=4"),
        ({"data__max_text_length": 17}, r"text_length=17 must be at most .*max_positions=16"),
    ],
)
def test_what_cannot_work_is_refused(keys, message):
    with pytest.raises(UserError, match=message) as caught:
        tokmerge_jax.build(changed(demo.get_config(), **keys))
    assert "\n" not in str(caught.value)


def test_uint8_frames_are_normalised():
    system, params = umt_case.system_of(golden.load("vidtldr-tiny-off"))
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 3), dtype=np.uint8)
    assert system.retrieval
    encode = jax.jit(system.retrieval.encode_video)
    mean, std = np.array([IMAGENET_MEAN, IMAGENET_STD], np.float32)
    by_hand = (frames / np.float32(255) - mean) / std
    ours, expected = encode(params, frames), encode(params, by_hand)
    np.testing.assert_allclose(ours["embedding"], expected["embedding"], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("merger", ["vid_tldr", "shift"])
def test_trace_follows_every_token(merger):
    case = golden.load("vidtldr-tiny")
    config = umt_case.config_of(case).override({"model.merger.name": merger})
    system = unchecked(tokmerge_jax.build(config))
    params, video = golden.parameters(system, case.weights()), umt_case.videos(case, 2)
    assert system.trace_video
    trace = jax.jit(system.trace_video)(params, video)
    layers = [layer for layer in system.merging.cost if layer.tokens_in != layer.tokens_out]
    assert [len(x[0]) for x in trace["size"]] == [layer.tokens_out for layer in layers]
    assert [len(x[0]) for x in trace["saliency"]] == [layer.tokens_in for layer in layers]
    for origin, layer in zip(trace["origin"], layers, strict=True):
        for sample in np.asarray(origin):  # every token is held by one, and none is empty
            np.testing.assert_array_equal(np.unique(sample), np.arange(layer.tokens_out))


@pytest.mark.parametrize(
    ("merger", "maps"),
    [
        ("vid_tldr", [True, True, False, False]),
        ("shift", [False] * 4),
        ("shift_prune", [False] * 4),
        ("pitome", [False] * 4),
        ("pitome_clip", [False] * 4),
        ("tofu", [False] * 4),
    ],
)
@pytest.mark.parametrize("case", ["vidtldr-tiny", "umtqa-tiny"])
def test_only_the_entropy_needs_maps_of_layers_that_merge(case, merger, maps, monkeypatch):
    """Checks retrieval and question answering, from a video to its 64 - 16 - 8 tokens."""
    config = umt_case.config_of(golden.load(case)).override({"model.merger.name": merger})
    system = unchecked(tokmerge_jax.build(config))
    weights, asked, attend = system.weights.shapes, [], kernels.attention

    def attention(*arrays, entropy, **more):
        asked.append(entropy)
        return attend(*arrays, entropy=entropy, **more)

    monkeypatch.setattr(kernels, "attention", attention)
    task = system.retrieval or system.answering
    assert task
    video = jax.ShapeDtypeStruct((1, 4, 64, 64, 3), np.uint8)
    encoded = jax.eval_shape(task.encode_video, weights, video)
    assert encoded["tokens"].shape == (1, 40, 64)
    assert asked == maps
