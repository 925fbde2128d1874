"""InternVideo2-CLIP against the original, and merging in it against its definition."""

import functools

import clip_case
import flax.linen as nn
import golden
import internvideo2_case
import jax
import numpy as np
import pytest
from parameters import slow

from tokmerge_jax.config import internvideo2
from tokmerge_jax.merging import matching, vid_tldr
from tokmerge_jax.models.internvideo2 import InternVideo2

close = functools.partial(clip_case.close, tolerance=2e-5)
SALIENCY = 2e-4  # differences of nearly equal entropies amplify rounding
SIZES = {"s14": internvideo2.S14, "b14": internvideo2.Model(), "l14": internvideo2.L14}


def embed_texts(case, system, params, close=close):
    """Checks the embeddings of texts; returns them and the tokens of each block."""
    apply = nn.apply(InternVideo2.encode_text, system.network, mutable=["intermediates"])
    words, seen = jax.jit(apply)({"params": params}, case.arrays["inputs/text"])
    close(words, case.arrays["text/features"])
    seen = seen["intermediates"]["text"]
    return words, [seen[f"block_{i}"]["out"][0] for i in range(len(seen))]


def cosines(a, b):
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    return a @ b.T


@pytest.mark.parametrize(
    "name",
    ["tiny", "tiny-exact", "tiny-image", pytest.param("tiny-frames", marks=pytest.mark.slow)],
)
def test_tiny(name):
    """Every block, normed queries and keys, and what is pooled; pictures; other sizes of tables."""
    case = golden.load(f"internvideo2-{name}")
    system, params = internvideo2_case.system_of(case)
    video, vision = internvideo2_case.videos(case), system.network.vision
    embedded = jax.jit(vision.clone(mergers=()).apply)({"params": params["vision"]}, video).x
    close(embedded, case.arrays["vision/embedded"])
    _, pooled, aligned, seen = internvideo2_case.record(system, params, video)
    ours = {f"block{i}": seen[f"block_{i}"]["out"][0] for i in range(len(vision.mergers))}
    attention = seen["block_0"]["attention"]
    for short, norm in (("q", "query_norm"), ("k", "key_norm")):
        (ours[f"block0/{short}"],) = attention[norm]["__call__"]
    recorded = {n.partition("/")[2] for n in case.arrays if n.startswith("vision/block")}
    assert len(recorded) == len(ours) or name == "tiny-frames"  # which has the last block's alone
    for each in recorded:
        close(ours[each], case.arrays[f"vision/{each}"])
    close(pooled, case.arrays["vision/pooled"])
    close(aligned, case.arrays["vision/aligned"])
    words, texts = embed_texts(case, system, params)
    for i, x in enumerate(texts[:-1]):  # the last computes the end alone
        close(x, case.arrays[f"text/block{i}"])
    close(cosines(aligned, words), case.arrays["sim_v2t"])


def check_block(case, i, seen, merger):
    """A block's tokens and, if it merges, its evidence and every decision."""
    arrays, block = case.arrays, seen[f"block_{i}"]
    close(block["out"][0], arrays[f"block{i}/tokens"])
    if merger is None:
        return
    (evidence,), (before,) = block["evidence"], block["before_merging"]
    metric, salient = before.x, evidence.entropy is not None
    if salient:
        close(evidence.entropy, arrays[f"block{i}/entropy"])
        weights = vid_tldr.saliency(evidence, 1)
        clip_case.close(weights, arrays[f"block{i}/saliency"], SALIENCY)
    else:
        metric = evidence.keys
        close(metric, arrays[f"block{i}/metric"])
    pairs = jax.jit(matching.bipartite, static_argnums=(1, 2))(metric, merger.r, 1)
    for part in ("source", "target"):
        np.testing.assert_array_equal(getattr(pairs, part), arrays[f"block{i}/{part}"])
    kept = arrays[f"block{i}/kept"]  # of the even places, without the class token
    np.testing.assert_array_equal(pairs.kept[:, 1 : 1 + kept.shape[1]], kept)


@pytest.mark.parametrize(
    "name",
    slow(["tome", "vidtldr", "tome-half", "vidtldr-unsized"], lambda name: name != "tome"),
)
def test_merging(name):
    """Every block, decision and size; what is pooled from the tokens that are left."""
    case = golden.load(f"internvideo2-{name}")
    system, params = internvideo2_case.system_of(case)
    tokens, pooled, aligned, seen = internvideo2_case.record(
        system, params, internvideo2_case.videos(case)
    )
    for i, merger in enumerate(system.network.vision.mergers):
        check_block(case, i, seen, merger)
    np.testing.assert_array_equal(tokens.origin, case.arrays["origin"])
    clip_case.close(tokens.size, case.arrays["size"], SALIENCY)
    close(pooled, case.arrays["pooled"])
    close(aligned, case.arrays["aligned"])


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_full_size(size):
    """Some tokens of the first and last block, means of many, every text's end, embeddings."""
    close = functools.partial(clip_case.close, tolerance=1e-4)
    case = golden.load(f"internvideo2-{size}")
    arrays, rows = case.arrays, case.arrays["vision/rows"]
    system, params = internvideo2_case.system_of(case)
    assert system.config.model == SIZES[size]
    tokens, pooled, aligned, seen = internvideo2_case.record(
        system, params, internvideo2_case.videos(case)
    )
    for short, norm in (("q", "query_norm"), ("k", "key_norm")):
        (normed,) = seen["block_0"]["attention"][norm]["__call__"]
        close(normed[:, rows], arrays[f"vision/{short}_rows"])
    blocks = [seen[f"block_{i}"]["out"][0] for i in arrays["vision/blocks"]]
    close(np.stack([x[:, 0] for x in blocks]), arrays["vision/class_per_block"])
    close(np.stack([x.mean(axis=1) for x in blocks]), arrays["vision/mean_per_block"])
    close(tokens.x[:, rows], arrays["vision/last_rows"])
    close(pooled, arrays["vision/pooled"])
    close(aligned, arrays["vision/aligned"])
    words, texts = embed_texts(case, system, params, close)
    ends = arrays["inputs/text"].argmax(axis=1)
    end = [x[np.arange(len(ends)), ends] for x in texts[:-1]]
    close(np.stack([*end, texts[-1][:, 0]]), arrays["text/end_per_block"])
    close(cosines(aligned, words), arrays["sim_v2t"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s14-tome", "b14-vidtldr", "l14-vidtldr"])
def test_merging_at_full_size(name):
    close = functools.partial(clip_case.close, tolerance=1e-4)
    case = golden.load(f"internvideo2-{name}")
    system, params = internvideo2_case.system_of(case)
    tokens, pooled, aligned, seen = internvideo2_case.record(
        system, params, internvideo2_case.videos(case)
    )
    close(pooled, case.arrays["pooled"])
    close(aligned, case.arrays["aligned"])
    blocks = [seen[f"block_{i}"]["out"][0] for i in range(len(system.network.vision.mergers))]
    assert [x.shape[1] for x in blocks] == case.arrays["block_counts"].tolist()
    close(np.stack([x[:, 0] for x in blocks]), case.arrays["class_per_block"])
    close(np.stack([x.mean(axis=1) for x in blocks]), case.arrays["mean_per_block"])
    assert (np.asarray(tokens.origin) != case.arrays["origin"]).sum() <= 4
