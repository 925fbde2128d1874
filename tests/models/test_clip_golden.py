"""CLIP against the original: every block of the small one, and the full sizes."""

import clip_case
import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from clip_case import close

from tokmerge_jax.layers.functional import quick_gelu


def towers(case):
    """Frame embeddings, text embeddings (neither normalised) and what both towers recorded."""
    system, params = clip_case.system_of(case)
    run = jax.jit(
        lambda p, x, ids: system.network.apply({"params": p}, x, ids, mutable=["intermediates"])
    )
    ids = case.arrays["inputs/text"]
    (frames, words), seen = run(params, clip_case.images(case), ids)
    check_logits(case, params, frames[:, 0], words)
    close(frames[:, 0], case.arrays["image_features"])
    close(words, case.arrays["text_features"])
    return seen["intermediates"], ids.argmax(axis=1)


def check_logits(case, params, images, words):
    images, words = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (images, words))
    logits = np.exp(params["logit_scale"]) * images @ words.T
    close(logits, case.arrays["logits_per_image"])
    close(logits.T, case.arrays["logits_per_text"])


@pytest.mark.slow
def test_every_block_of_the_small_one():
    case = golden.load("clip-tiny")
    seen, _ = towers(case)
    ends = case.arrays["inputs/text"].argmax(axis=1)
    for part, of in (("vision", np.zeros_like), ("text", lambda rows: ends)):
        for i in range(2):
            close(seen[part][f"block_{i}"]["out"][0], case.arrays[f"{part}_block_{i}"])
        last = case.arrays[f"{part}_block_2"]
        rows = np.arange(len(last))
        close(seen[part]["block_2"]["out"][0][:, 0], last[rows, of(rows)])


def test_all_tokens_of_the_last_block():
    case = golden.load("clip-tiny")
    system, params = clip_case.system_of(case)
    tokens, _ = clip_case.record(system, params, clip_case.images(case))
    close(tokens.x, case.arrays["vision_block_2"])


@pytest.mark.slow
def test_tokens_before_the_first_block():
    case = golden.load("clip-tiny")
    system, params = clip_case.system_of(case)
    _, seen = system.network.apply(
        {"params": params},
        jnp.asarray(clip_case.images(case)),
        method="encode_video",
        capture_intermediates=lambda module, _: module.name == "input_norm",
    )
    (x,) = seen["intermediates"]["vision"]["input_norm"]["__call__"]
    close(x, case.arrays["vision_after_ln_pre"])


@pytest.mark.slow
@pytest.mark.parametrize("size", ["b32", "b16", "l14"])
def test_full_size(size):
    case = golden.load(f"clip-vit-{size}")
    seen, ends = towers(case)
    text = [seen["text"][f"block_{i}"]["out"][0] for i in range(len(seen["text"]))]
    eot = [x[np.arange(len(ends)), ends] for x in text[:-1]] + [text[-1][:, 0]]
    close(np.stack(eot), case.arrays["text_eot_per_block"], 5e-4)
    system, params = clip_case.system_of(case)
    tokens, vision = clip_case.record(system, params, clip_case.images(case))
    classes = [vision[f"block_{i}"]["out"][0][:, 0] for i in range(len(vision))]
    close(np.stack(classes), case.arrays["vision_class_per_block"], 5e-4)
    rows = case.arrays["vision_token_rows"]
    close(tokens.x[:, rows], case.arrays["vision_last_tokens"], 5e-4)


def test_units():
    case = golden.load("clip-units")
    ours = quick_gelu(jnp.asarray(case.arrays["inputs/quickgelu_in"]))
    np.testing.assert_allclose(ours, case.arrays["quickgelu_out"], atol=1e-6)
    scale, bias = (case.weights()[name] for name in sorted(case.spec["shapes"], reverse=True))
    params = {"params": {"scale": scale, "bias": bias}}
    x = 3 * recipe.video((5, 7, 64), seed=41)
    norm = nn.LayerNorm(1e-5, dtype=jnp.float32).apply(params, x)
    np.testing.assert_allclose(np.asarray(norm), case.arrays["ln_fp32_out"], atol=1e-5)
    half = jnp.asarray(case.arrays["inputs/ln_fp16_in"], jnp.float16)
    norm = nn.LayerNorm(1e-5, dtype=jnp.float16).apply(params, half)
    assert isinstance(norm, jax.Array)
    assert norm.dtype == jnp.float16
    # the last bit of half precision may round the other way
    np.testing.assert_allclose(norm.astype(jnp.float32), case.arrays["ln_fp16_out"], rtol=1e-3)
