"""UMT with vid-TLDR against the original: every intermediate of the small one, both full sizes."""

import sys

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import umt_case
from parameters import slow
from umt_case import close, system_of

SIZE_TOLERANCE = 1e-3  # saliency's min-max scaling amplifies rounding


@pytest.mark.parametrize(
    "name",
    slow(["vidtldr-tiny", "vidtldr-tiny-off", "vidtldr-tiny-frac"], "vidtldr-tiny-frac".__eq__),
)
def test_tiny_retrieval(name):
    case = golden.load(name)
    expected = case.arrays
    system, params = system_of(case)
    video = umt_case.videos(case, len(expected["sim_v2t"]))
    close(check_scores(system, params, video, expected), expected["vision/tokens_all"])


def check_scores(system, params, video, expected):
    """Embeddings, similarities and every pair's matching logit; returns the videos' tokens."""
    ids = expected["inputs/text_ids"]
    videos = len(video)

    @jax.jit
    def run(params, video, ids, mask):
        seen = system.retrieval.encode_video(params, video)
        read = system.retrieval.encode_text(params, ids, mask)
        memory = system.retrieval.matching.video_memory(params, seen["tokens"])
        states = jnp.broadcast_to(read["states"], (videos, *read["states"].shape))
        mask = jnp.broadcast_to(mask, (videos, *mask.shape))
        match = system.retrieval.matching.match(params, memory, states, mask)
        return seen["embedding"], read["embedding"], match, seen["tokens"]

    seen, read, match, tokens = jax.device_get(run(params, video, ids, ids != 0))

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    close(seen, unit(expected["vision/proj"]).reshape(seen.shape))
    close(read, unit(expected["text/proj"]))
    close((seen @ read.T).mean(axis=1), expected["sim_v2t"])  # over frames, if they have their own
    close(match, expected["match_logit"])
    return tokens


@pytest.mark.slow
def test_position_table_of_another_frame_count():
    case = golden.load("vidtldr-tiny-interp")
    system, params = system_of(case)
    expected = case.arrays
    video = umt_case.videos(case, len(expected["sim_v2t"]))
    check_scores(system, params, video, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vidtldr-trace", "vidtldr-trace-odd"])
def test_every_intermediate(name):
    case = golden.load(name)
    system, params = system_of(case, only="vision_encoder")
    video = umt_case.videos(case, 2)
    blocks, tokens = umt_case.record(system, params, video)
    for i, block in enumerate(blocks):
        close(block["out"], case.arrays[f"block{i}/out"])
        if "after_merging" in block:
            check_merge(block, {k: case.arrays[f"block{i}/{k}"] for k in MERGE_KEYS})
    close(tokens, case.arrays["tokens"])


@pytest.mark.slow
@pytest.mark.parametrize("form", slow(["whole", "pallas"], "whole".__eq__))
def test_no_decision_depends_on_the_form_of_attention(form, monkeypatch):
    """Every intermediate once more, by what serves accelerators; our kernels are interpreted."""
    module = sys.modules["tokmerge_jax.kernels.attention"]  # the package's function hides it
    monkeypatch.setattr(module, "choose", lambda *shape, **more: form)
    test_every_intermediate("vidtldr-trace-odd")


MERGE_KEYS = ("after_attention", "negative_entropy", "merged", "size", "origin")


def check_merge(block, expected):
    before, after = block["before_merging"], block["after_merging"]
    close(before.x, expected["after_attention"])
    close(block["evidence"].entropy, expected["negative_entropy"])
    np.testing.assert_array_equal(after.origin, expected["origin"])
    close(after.size, expected["size"], SIZE_TOLERANCE)
    close(after.x, expected["merged"])


@pytest.mark.slow
@pytest.mark.parametrize("size", ["b16", "l16"])
def test_full_size_retrieval(size):
    case = golden.load(f"vidtldr-{size}-msrvtt")
    system, params = system_of(case)
    expected = case.arrays
    video = umt_case.videos(case, len(expected["sim_v2t"]))
    check_scores(system, params, video, expected)
    blocks, tokens = umt_case.record(system, params, video)
    assert [len(b["out"][0]) for b in blocks] == expected["vision/block_counts"].tolist()
    for i, block in enumerate(blocks):
        close(block["out"].mean(1), expected[f"vision/block{i}_mean"])
    close(tokens[:, expected["vision/rows"]], expected["vision/row_tokens"])
    close(np.linalg.norm(tokens, axis=-1), expected["vision/norms"])
    last = [b["after_merging"] for b in blocks if "after_merging" in b][-1]
    close(last.size, expected["vision/size_all"], SIZE_TOLERANCE)


@pytest.mark.slow
def test_full_size_zero_shot():
    """UMT's own protocol: one embedding a frame, nothing merges."""
    case = golden.load("vidtldr-b16-frames4")
    system, params = system_of(case)
    expected = case.arrays
    video = umt_case.videos(case, len(expected["sim_v2t"]))
    check_scores(system, params, video, expected)
    blocks, tokens = umt_case.record(system, params, video)
    assert [len(b["out"][0]) for b in blocks] == expected["vision/block_counts"].tolist()
    close([np.linalg.norm(b["out"]) for b in blocks], expected["vision/block_norms"])
    close(tokens[:, expected["vision/rows"]], expected["vision/row_tokens"])
    close(np.linalg.norm(tokens, axis=-1), expected["vision/norms"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["umtqa-b16", "umtqa-b16-off", "umtqa-l16"])
def test_full_size_vision_of_question_answering(name):
    case = golden.load(name)
    system, params = system_of(case, only="vision_encoder")
    clip = recipe.video((1, 12, 3, 224, 224), seed=case.spec["seed"] + 1)
    _, tokens = umt_case.record(system, params, clip.transpose(0, 1, 3, 4, 2))
    expected = case.arrays
    assert tokens.shape[1] == int(expected["vision/count"])
    close(tokens[0, expected["vision/rows"]], expected["vision/row_tokens"])
    close(np.linalg.norm(tokens[0], axis=-1), expected["vision/norms"])
    close(tokens[0].mean(0), expected["vision/mean"])
