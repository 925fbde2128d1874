"""TempMe against the original: every block and decision of the small ones, and both full sizes."""

import clip_case
import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from clip_case import close
from parameters import slow

from tokmerge_jax.layers.attention import Attention
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.merging import matching
from tokmerge_jax.merging.tempme import Join

TINY = ["tempme-tiny", "tempme-tiny-2clips", "tempme-tiny-joint", "tempme-tiny-nopos",
        "tempme-tiny-off"]  # fmt: skip


TOLERANCE = 2e-4


def run(case, system, params):
    """Traced tokens, features of frames and texts, and what the image transformer recorded."""

    def both(model, video, ids):
        tokens = model.vision(video, trace=True)
        classes = tokens.x[:, : video.shape[0] * video.shape[1] // len(tokens.x)]
        frames = model.vision_projection(model.vision_norm(classes))
        return tokens, frames.reshape(*video.shape[:2], -1), model.encode_text(ids)

    apply = nn.apply(both, system.network, mutable=["intermediates"])
    video, ids = clip_case.videos(case), case.arrays["inputs/text_ids"]
    (tokens, frames, words), seen = jax.jit(apply)({"params": params}, video, ids)
    return tokens, np.asarray(frames), np.asarray(words), seen["intermediates"]["vision"]


def check_features(case, params, frames, words):
    """Checks the originals' results: video and frame features, text features."""
    mask = case.spec["inputs"]["video_mask"]
    mask = np.ones(frames.shape[:2]) if mask == "all ones" else np.array(mask)
    pooled = np.stack([unit(f[m > 0]).mean(axis=0) for f, m in zip(frames, mask, strict=True)])
    close(frames, case.arrays["frame_feat"], TOLERANCE)
    close(pooled, case.arrays["video_feat"], TOLERANCE)
    close(words, case.arrays["text_feat"], TOLERANCE)
    similarity = np.exp(params["logit_scale"]) * unit(words) @ unit(pooled).T
    close(similarity, case.arrays["similarity"], TOLERANCE)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def check_decisions(case, system, seen):
    """Each matching of the network in order: r, protected tokens and pairs are the original's."""
    merges = []
    joins = system.network.vision.joins
    for i, merger in enumerate(system.network.vision.mergers):
        join = joins[i] if joins else None
        if join and join.r:
            before = seen[f"block_{i - 1}"]["out"][0]
            merges.append((Join._together(join, before), join.r, join.clips * join.class_tokens))
        if merger:
            keys = seen[f"block_{i}"]["evidence"][0].keys
            merges.append((keys, merger.r, merger.class_tokens))
    kinds = case.spec["merges"]
    assert [(r, c) for _, r, c in merges] == [(m["r"], m["cls_num"]) for m in kinds]
    bipartite = jax.jit(matching.bipartite, static_argnums=(1, 2))
    for i, (metric, r, class_tokens) in enumerate(merges):
        pairs = bipartite(metric, r, class_tokens)
        even = class_tokens + class_tokens % 2
        kept = even + 2 * case.arrays[f"merge_{i}_unmerged"]
        width = class_tokens + kept.shape[1]
        np.testing.assert_array_equal(pairs.kept[:, class_tokens:width], kept)
        ours = np.stack([pairs.source, pairs.target], axis=-1)
        theirs = [case.arrays[f"merge_{i}_{name}"] for name in ("src", "dst")]
        theirs = np.stack([even + 2 * theirs[0], width + theirs[1]], axis=-1)
        for row, other in zip(ours.tolist(), theirs.tolist(), strict=True):
            assert sorted(row) == sorted(other)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow(TINY, lambda name: name != TINY[0]))
def test_tiny(name):
    """Every block, size and decision; each token is in the one that its origin names."""
    case = golden.load(name)
    system, params = clip_case.system_of(case)
    tokens, frames, words, seen = run(case, system, params)
    check_features(case, params, frames, words)
    check_decisions(case, system, seen)
    for i, merger in enumerate(system.network.vision.mergers):
        out = seen[f"block_{i}"]["out"][0]
        close(out, case.arrays[f"block_{i}"], TOLERANCE)
        clips, class_tokens, count, *shape = case.arrays["counts"][i].tolist()
        assert list(out.shape[:2]) == shape
        assert (len(frames) * clips, count) == (len(out), out.shape[1])
        assert clips * class_tokens == case.config["frames"]
        if merger:
            merged = seen[f"block_{i}"]["after_merging"][0]
            if f"size_{i}" in case.arrays:
                close(merged.size, case.arrays[f"size_{i}"])
            counts = [np.bincount(o, minlength=merged.x.shape[1]) for o in merged.origin]
            np.testing.assert_allclose(merged.size, counts, rtol=1e-5)
    patches = (case.config["image_resolution"] // case.config["patch_size"]) ** 2
    assert np.size(tokens.origin) == frames.shape[0] * frames.shape[1] * (1 + patches)


def test_tiny_features():
    """Checks the network's own functions, which compute class tokens alone in the last block."""
    case = golden.load("tempme-tiny-2clips")
    system, params = clip_case.system_of(case)
    inputs = clip_case.videos(case), case.arrays["inputs/text_ids"]
    outputs = jax.jit(system.network.apply)({"params": params}, *inputs)
    check_features(case, params, *map(np.asarray, outputs))


@pytest.mark.slow
@pytest.mark.parametrize("size", ["b32", "b16"])
def test_full_size(size):
    case = golden.load(f"tempme-msrvtt-vit-{size}")
    system, params = clip_case.system_of(case)
    tokens, *features, seen = run(case, system, params)
    check_features(case, params, *features)
    check_decisions(case, system, seen)
    for i, counts in enumerate(case.arrays["counts"].tolist()):
        out = seen[f"block_{i}"]["out"][0]
        assert list(out.shape[:2]) == counts[3:]
        close(out[0, [0, counts[1] - 1]], case.arrays["class_per_block"][i], 5e-4)
        mean = np.square(out).mean()
        np.testing.assert_allclose(mean, case.arrays["class_sq_mean_per_block"][i], rtol=5e-4)
    close(tokens.size, case.arrays["final_sizes"], 1e-5)
    rows = case.arrays["final_rows"]
    close(tokens.x[0, rows], np.squeeze(case.arrays["final_tokens"]), 5e-4)
    assert system.merging.cost[-1].tokens_out == {"b32": 97, "b16": 493}[size]


def test_attention_with_lora():
    case = golden.load("tempme-attention")
    arrays, weights = case.arrays, case.weights()
    x = jnp.asarray(recipe.video((2, 13, 128), seed=511))
    vision, text = (attention_params(weights, prefix) for prefix in ("vision.", "text."))
    module, plain = Attention(2, 128, lora_rank=4), Attention(2, 128)
    size = jnp.asarray(arrays["inputs/size"]).reshape(2, 13)
    for weight, name in ((size, "vision_out"), (None, "vision_out_nosize")):
        out, evidence = attend(module, vision, x, weight)
        close(out, arrays[name])
        close(evidence.keys, arrays["vision_metric"])
        close(attend(plain, merge_lora(vision), x, weight)[0], arrays[name])
    out, _ = attend(Attention(2, 128, causal=True, lora_rank=4), text, x)
    real = np.asarray(arrays["inputs/text_mask"]) > 0
    close(np.asarray(out)[real], arrays["text_out"][real])


def attend(module, params, x, weight=None):
    """Self-attention of `x`, and its keys."""

    def both(module, x):
        return module.attend(x, module.keys_values(x), weight, needs={"keys"})

    return module.apply({"params": params}, x, method=both)


def attention_params(weights, prefix):
    """Parameters of our attention from the original's names."""
    arrays = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    kernels = np.split(arrays["in_proj_weight"], 3)
    biases = np.split(arrays["in_proj_bias"], 3)
    ups = np.split(arrays["TVPt_LoRA_b"], 3)
    names = ("query", "key", "value")
    return {
        **{n: {"kernel": k.T, "bias": b} for n, k, b in zip(names, kernels, biases, strict=True)},
        "out": {"kernel": arrays["out_proj.weight"].T, "bias": arrays["out_proj.bias"]},
        "lora": {
            "down": {"kernel": arrays["TVPt_LoRA_a"].T},
            **{n: {"kernel": up.T} for n, up in zip(names, ups, strict=True)},
        },
    }
