"""VideoPrism against the original, merging in it against its definition; small and full size."""

import dataclasses
import functools
import json

import clip_case
import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import videoprism_case
from einops import rearrange, reduce, repeat
from flax.traverse_util import unflatten_dict
from parameters import slow

import tokmerge_jax
from tokmerge_jax.config import videoprism
from tokmerge_jax.layers.norm import OffsetNorm
from tokmerge_jax.layers.pooling import WidePooling
from tokmerge_jax.merging import Tokens, vid_tldr
from tokmerge_jax.models.videoprism import VideoPrism, VideoPrismEncoder

close = functools.partial(clip_case.close, tolerance=2e-5)
MERGED = ["videoprism-merge-clip", "videoprism-merge-frame", "videoprism-merge-regroup",
          "videoprism-merge-vidtldr", "videoprism-merge-vidtldr-frame"]  # fmt: skip


def check(case, name, ours, close=close):
    """A result, where the case has it."""
    if name in case.arrays:
        wanted = case.arrays[name]
        close(np.reshape(ours, wanted.shape), wanted)


def check_blocks(case, seen):
    for part, ours in (("spatial", "vision"), ("temporal", "temporal"), ("auxiliary", "auxiliary")):
        blocks = {name: block["out"][0] for name, block in seen[ours].items() if "out" in block}
        for name, out in blocks.items():
            check(case, f"{part}_{name}", out)


def check_video(case, system, params, close=close):
    """Returns what was recorded, after comparing what every case has."""
    embedding, dense, seen = videoprism_case.record(system, params, videoprism_case.video(case))
    check(case, "video_embeddings", embedding, close)
    check(case, "spatiotemporal_features", dense, close)
    check(case, "spatial_features", seen["vision"]["norm"]["__call__"][0], close)
    check(case, "pooled", seen["pool"]["__call__"][0], close)
    (tokens,) = seen["auxiliary"]["__call__"]
    check(case, "frame_embeddings", of_frames(case, system, params, tokens), close)
    return seen


def of_frames(case, system, params, tokens):
    """The pooling of each frame alone, of unit length."""
    frames = videoprism_case.shape(case)[1]
    x, size = (
        y if y is None else rearrange(y, "b (t n) ... -> (b t) n ...", t=frames)
        for y in (tokens.x, tokens.size)
    )
    apply = nn.apply(lambda model, x, size: model.pool(x, size), system.network)
    pooled = jax.jit(apply)({"params": params}, x, size)
    return pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)


def check_texts(case, system, params, close=close):
    """Returns the state of the class token after each block."""
    ids, mask = case.arrays["inputs/text_ids"], case.arrays["inputs/text_paddings"] == 0
    apply = nn.apply(VideoPrism.encode_text, system.network, mutable=["intermediates"])
    embedding, seen = jax.jit(apply)({"params": params}, ids, mask)
    close(embedding, case.arrays["text_embeddings"])
    seen, ends, rows = seen["intermediates"]["text"], mask.sum(axis=1), np.arange(len(ids))
    *blocks, last = (seen[f"block_{i}"]["out"][0] for i in range(system.network.text.depth))
    states = [np.asarray(block)[rows, ends] for block in blocks]
    for i, block in enumerate(blocks):
        if f"text_block_{i}" in case.arrays:
            wanted = case.arrays[f"text_block_{i}"]
            close(np.where(mask[..., None], block[:, :-1], wanted[:, :-1]), wanted[:, :-1])
            close(states[i], wanted[:, -1])
    if f"text_block_{len(blocks)}" in case.arrays:
        close(last[:, 0], case.arrays[f"text_block_{len(blocks)}"][:, -1])
    return [*states, last[:, 0]]


@pytest.mark.parametrize(
    "name", slow(["tiny", "tiny-up", "tiny-down"], lambda name: name != "tiny")
)
def test_tiny(name):
    """Every block, queries, keys; tables at other sizes; texts of several lengths."""
    case = golden.load(f"videoprism-{name}")
    system, params = videoprism_case.system_of(case)
    seen = check_video(case, system, params)
    check_blocks(case, seen)
    check(case, "patches", seen["vision"]["patch_embedding"]["__call__"][0])
    attention = seen["vision"]["block_0"]["attention"]
    query, key = (
        rearrange(
            attention[name]["__call__"][0], "b n (k d) -> b n k d", k=case.config["num_heads"]
        )
        for name in ("query", "key")
    )
    check(case, "spatial_query_0", query)
    check(case, "spatial_key_0", key)
    logits = np.einsum("bnkd,bmkd->bknm", query, key) / query.shape[-1] ** 0.5
    cap = case.config["atten_logit_cap"]
    check(case, "spatial_logits_0", cap * np.tanh(logits / cap) if cap else logits)
    check_texts(case, system, params)


def test_padded_frames_are_sizes_of_0_over_time():
    """The plain encoder: frames that are padding have no weight for the others."""
    case = golden.load("videoprism-tiny-encoder")
    system, params = videoprism_case.system_of(case)
    weight = jnp.asarray(1 - case.arrays["inputs/frame_paddings"])
    frames = weight.shape[1]

    def run(model, video):
        x = rearrange(model.vision(video).x, "(b t) p c -> (b p) t c", t=frames)
        size = repeat(weight, "b t -> (b p) t", p=len(x) // len(weight))
        x = model.temporal_norm(model.temporal(Tokens(x + model.times[None], size)).x)
        return rearrange(x, "(b p) t c -> b t p c", b=len(weight))

    apply = nn.apply(run, system.network, mutable=["intermediates"])
    x, seen = jax.jit(apply)({"params": params}, videoprism_case.video(case))
    real = np.asarray(weight) > 0
    assert 0 < real.sum() < real.size
    wanted = case.arrays["spatiotemporal_features"].reshape(x.shape)
    close(x[real], wanted[real])
    for i in range(len(system.network.vision.mergers)):
        (out,) = seen["intermediates"]["vision"][f"block_{i}"]["out"]
        close(out[real.ravel()], case.arrays[f"spatial_block_{i}"][real.ravel()])


def test_the_classifier_pools_with_heads_as_wide_as_those_of_its_tokens():
    case = golden.load("videoprism-tiny-classifier")
    system, params = videoprism_case.system_of(case)
    pool, named = WidePooling(2, 32, norm=OffsetNorm), {}
    for name, array in case.weights().items():
        if name.startswith("params/atten_pooler/"):
            source = name.replace("atten_pooler", "contrastive_vision_pooler")
            (rule,) = (r for r in system.weights.names[0].rules if r.source == source)
            (named[rule.targets[0]],) = rule.operation.forward(array)
    pool_params = unflatten_dict(named, sep="/")["pool"]
    apply = nn.apply(VideoPrismEncoder.__call__, system.network)
    x = jax.jit(apply)({"params": params}, videoprism_case.video(case))
    close(x, case.arrays["spatiotemporal_features"])
    pooled = jax.jit(pool.apply)({"params": pool_params}, x)
    close(pooled, case.arrays["global_embeddings"])
    kernel, bias = (
        case.weights()[f"params/projection/linear/{name}"] for name in ("kernel", "bias")
    )
    close(np.asarray(pooled) @ kernel + bias, case.arrays["logits"])


@pytest.mark.slow
@pytest.mark.parametrize("name", MERGED)
def test_merging(name):
    """Every block, place, size and weight."""
    case = golden.load(name)
    system, params = videoprism_case.system_of(case)
    seen = check_video(case, system, params)
    check_blocks(case, seen)
    check_merges(case, system, seen)


@pytest.mark.slow
def test_without_merging_these_cases_are_the_plain_network():
    case = golden.load("videoprism-merge-frame")
    system, params = videoprism_case.system_of(case)
    video = videoprism_case.video(case)
    model = system.config.model.override({"merger.r": 0})
    plain = tokmerge_jax.build(dataclasses.replace(system.config, model=model)).network
    embedding = jax.jit(nn.apply(VideoPrism.encode_video, plain))({"params": params}, video)
    check(case, "video_embeddings_unmerged", embedding)


def check_merges(case, system, seen):
    """The places and sizes after each merge, exactly; the weights of vid-TLDR."""
    step = system.network.vision.alike  # clips whose frames merge alike are stored once
    for i, merger in enumerate(system.network.vision.mergers):
        if merger is None:
            continue
        (tokens,), (evidence,) = (
            seen["vision"][f"block_{i}"][name] for name in ("after_merging", "evidence")
        )
        np.testing.assert_array_equal(tokens.origin[::step], case.arrays[f"origin_{i}"])
        close(tokens.size[::step], case.arrays[f"size_{i}"])
        if f"weight_{i}" in case.arrays:
            entropy = reduce(evidence.entropy, "(b t) n -> b n", "mean", t=step)
            close(vid_tldr.foreground(entropy), case.arrays[f"weight_{i}"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "large", "lvt-base", "lvt-large"])
def test_full_size(name):
    """Some tokens of every block, the vectors of a video and of its frames, texts."""
    close = functools.partial(clip_case.close, tolerance=1e-4)
    case = golden.load(f"videoprism-{name}")
    size = videoprism.SIZES["l18" if "large" in name else "b18"]
    reads, vision = "lvt" in name, videoprism_case.config_of(case).model.vision
    assert vision.override({"frames": size.vision.frames, "auxiliary_depth": 2}) == size.vision
    system, params = videoprism_case.system_of(case)
    video = videoprism_case.video(case)
    embedding, dense, seen = videoprism_case.record(system, params, video)
    for part, ours, at in (
        ("spatial", "vision", lambda x: x[-1, -1]),
        ("temporal", "temporal", lambda x: x[[0, -1], [0, -1]]),
        ("auxiliary", "auxiliary", lambda x: x[:, [0, -1]]),
    ):
        blocks = [name for name in seen[ours] if name.startswith("block_")]
        outs = [at(seen[ours][f"block_{i}"]["out"][0]) for i in range(len(blocks))]
        check(case, f"{part}_rows", np.stack(outs), close)
    spatial = seen["vision"]["norm"]["__call__"][0].reshape(dense.shape)
    for features, ours in (("spatial_features", spatial), ("spatiotemporal_features", dense)):
        rows = json.loads(case.spec["outputs"][features].partition("rows ")[2])
        check(case, features, ours[:, rows], close)
    if reads:
        check(case, "video_embeddings", embedding, close)
        check(case, "pooled", seen["pool"]["__call__"][0], close)
        (tokens,) = seen["auxiliary"]["__call__"]
        check(case, "frame_embeddings", of_frames(case, system, params, tokens), close)
        states = check_texts(case, system, params, close)
        check(case, "text_class", np.stack([state[0] for state in states]), close)


@pytest.mark.slow
def test_merging_at_full_size():
    """LvT-B on 2 frames: 96 of 256 places merge in the fourth block."""
    case = golden.load("videoprism-merge-lvt-base")
    system, params = videoprism_case.system_of(case)
    close = functools.partial(clip_case.close, tolerance=1e-4)
    embedding, _, seen = videoprism_case.record(system, params, videoprism_case.video(case))
    check(case, "video_embeddings", embedding, close)
    check(case, "pooled", seen["pool"]["__call__"][0], close)
    check_merges(case, system, seen)
    (tokens,) = seen["auxiliary"]["__call__"]
    check(case, "frame_embeddings", of_frames(case, system, params, tokens), close)
