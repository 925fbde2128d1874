"""PE-Core against the original, and merging in it against its definition; small and full size."""

import functools

import clip_case
import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pe_core_case
import pytest
from einops import rearrange

import tokmerge_jax
from tokmerge_jax.config import pe_core
from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.functional import gelu
from tokmerge_jax.layers.positions import places
from tokmerge_jax.layers.rotary import angles, rotation
from tokmerge_jax.merging import Tokens, VidTLDR, matching, vid_tldr
from tokmerge_jax.merging.tempme import Join
from tokmerge_jax.models.clip import pooled
from tokmerge_jax.models.clip_vit import EPSILON
from tokmerge_jax.models.pe_core import PECore
from tokmerge_jax.system import Retrieval
from tokmerge_jax.systems.validation import unchecked

close = functools.partial(clip_case.close, tolerance=2e-5)
SIZES = ["pecore-tiny-size", "pecore-tiny-size-nocls"]
MERGED = ["pecore-tome-tiny", "pecore-tome-nocls", "pecore-vidtldr-tiny", "pecore-tome-rotated",
          "pecore-tome-kept", "pecore-tome-cap", "pecore-tome-frames", "pecore-join-tiny",
          "pecore-join-nocls"]  # fmt: skip


def check_texts(case, system, params, images, close=close):
    """The features of texts, the logits of images and texts; returns the tokens of each block."""
    ids = case.arrays["inputs/text"]
    apply = nn.apply(PECore.encode_text, system.network, mutable=["intermediates"])
    words, seen = jax.jit(apply)({"params": params}, ids)
    close(words, case.arrays["text_features"])
    units = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (images, words)]
    close(np.exp(params["logit_scale"]) * units[0] @ units[1].T, case.arrays["logits"])
    seen = seen["intermediates"]["text"]
    return [seen[f"block_{i}"]["out"][0] for i in range(len(seen))]


@pytest.mark.parametrize("name", ["pecore-tiny", "pecore-tiny-nocls", *SIZES])
def test_tiny(name):
    """Every block and what is around them; rotary angles, and rotated queries and keys."""
    case = golden.load(name)
    system, params = pe_core_case.system_of(case)
    video = pe_core_case.videos(case)
    _, normed, pool, features, seen = pe_core_case.record(system, params, video)
    close(seen["input_norm"]["__call__"][0], case.arrays["after_ln_pre"])
    model, heads = system.network.vision, system.network.vision.heads
    rows, columns = (edge // model.patch_size for edge in video.shape[2:4])
    position = jnp.asarray(places(rows, columns, int(model.class_token)))[None]
    angle = angles(position, model.width // heads)
    close(np.repeat(angle[0], 2, axis=-1), case.arrays["rope_angle"])
    check_rotated(case, seen, 0, jnp.repeat(position, len(video), axis=0), heads)
    for i in range(len(model.mergers)):
        close(seen[f"block_{i}"]["out"][0], case.arrays[f"vision_block_{i}"])
    close(normed, case.arrays["after_ln_post"])
    close(pool, case.arrays["pooled"])
    close(features, case.arrays["image_features"])
    if name not in SIZES:
        *texts, _ = check_texts(case, system, params, features)
        for i, x in enumerate(texts):
            close(x, case.arrays[f"text_block_{i}"])


def check_rotated(case, seen, i, position, heads, form="{}_rotated_{}"):
    """The queries and keys of block `i` after rotation, where the case has them."""
    for short, name in (("q", "query"), ("k", "key")):
        if (wanted := form.format(short, i)) in case.arrays:
            (x,) = seen[f"block_{i}"]["attention"][name]["__call__"]
            x = rearrange(x, "b n (k d) -> b n k d", k=heads)
            turned = rotation(position, x.shape[-1])(x)
            close(rearrange(turned, "b n k d -> b k n d"), case.arrays[wanted])


def check_layer(case, i, seen, vision):
    """A block's tokens; its matching, and the sizes and positions after it, if it merges."""
    block, merger = seen[f"block_{i}"], vision.mergers[i]
    check(case, "block", i, block["out"][0])
    if merger is None:
        return
    (evidence,), (entering,) = block["evidence"], block["before_merging"]
    salient = isinstance(merger, VidTLDR)
    metric = evidence.keys if evidence.rotated is None else evidence.rotated
    metric = entering.x if salient else metric
    check(case, "metric", i, metric)
    if salient:
        check(case, "weight", i, vid_tldr.saliency(evidence, 1))
    check_rotated(case, seen, i, entering.position, vision.heads, "{}_{}")
    check_pairs(case, i, metric, merger.r, merger.class_tokens, ordered=salient)
    (after,) = block["after_merging"]
    check(case, "size", i, after.size)
    check(case, "position", i, after.position)
    if not salient and vision.position_rule == "mean":
        close(moment(after), moment(entering))


def check_join(case, i, seen, join):
    """The matching of a join before block `i`, and its tokens, sizes and positions."""
    metric = Join._together(join, seen[f"block_{i - 1}"]["out"][0])
    check_pairs(case, i, metric, join.r, join.clips * join.class_tokens, name="join_")
    (after,) = seen[f"join_{i}"]
    check(case, "joined", i, after.x)
    check(case, "join_size", i, after.size)
    check(case, "join_position", i, after.position)


def check(case, name, i, ours):
    if f"{name}_{i}" in case.arrays:
        close(ours, case.arrays[f"{name}_{i}"])


def check_pairs(case, i, metric, r, class_tokens, *, ordered=False, name=""):
    """The decisions of one matching, exactly."""
    pairs = jax.jit(matching.bipartite, static_argnums=(1, 2), static_argnames="ordered")(
        metric, r, class_tokens, ordered=ordered
    )
    for part in ("kept", "source", "target"):
        if f"{name}{part}_{i}" in case.arrays:
            wanted = case.arrays[f"{name}{part}_{i}"]
            np.testing.assert_array_equal(getattr(pairs, part), wanted)


def moment(tokens):
    """The sum over tokens of size x (1, column, row)."""
    size = np.ones(tokens.x.shape[:2]) if tokens.size is None else tokens.size
    places = np.einsum("bn,bnc->bc", size, tokens.position)
    return np.concatenate([size.sum(axis=1, keepdims=True), places], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", MERGED)
def test_merging(name):
    """Every block, decision, size and position; what is pooled from the tokens that are left."""
    case = golden.load(name)
    system, params = pe_core_case.system_of(case)
    video = pe_core_case.videos(case)
    _, normed, pool, features, seen = pe_core_case.record(system, params, video)
    vision = system.network.vision
    for i, join in enumerate(vision.joins):
        if join:
            check_join(case, i, seen, join)
        check_layer(case, i, seen, vision)
    arrays = case.arrays
    close(normed, arrays.get("after_ln_post", normed))
    close(pool, arrays.get("pooled", pool))
    close(features, arrays["features"])
    if "video_embedding" in arrays:
        of_video = rearrange(features, "(b f) e -> b f e", b=len(video))
        close(pooled(of_video), arrays["video_embedding"])


@pytest.mark.slow
@pytest.mark.parametrize("size", ["t16", "s16", "b16", "l14"])
def test_full_size(size):
    """Some tokens of every block of both transformers, features and logits."""
    close = functools.partial(clip_case.close, tolerance=1e-4)
    case = golden.load(f"pecore-{size}")
    assert pe_core_case.config_of(case).model == unframed(pe_core.SIZES[size])
    system, params = pe_core_case.system_of(case)
    video = pe_core_case.videos(case)
    tokens, _, pool, features, seen = pe_core_case.record(system, params, video)
    depth = len(system.network.vision.mergers)
    every = max(depth // 6, 1)
    first = [seen[f"block_{i}"]["out"][0][:, :2] for i in range(0, depth, every)]
    close(np.stack(first), case.arrays["vision_first_tokens_per_block"])
    close(tokens.x[:, case.arrays["vision_token_rows"]], case.arrays["vision_last_tokens"])
    close(pool, case.arrays["pooled"])
    close(features, case.arrays["image_features"])
    *texts, last = check_texts(case, system, params, features, close)
    ends = case.arrays["inputs/text"].argmax(axis=1)
    every = max((len(texts) + 1) // 6, 1)
    eot = [x[np.arange(len(ends)), ends] for x in texts[::every]]
    close(np.stack(eot), case.arrays["text_eot_per_block"])
    block = Block(system.network.text.heads, causal=True, activation=gelu, epsilon=EPSILON)
    variables = {"params": params["text"][f"block_{len(texts)}"]}
    last = jax.jit(block.apply)(variables, Tokens(texts[-1])).x
    close(last[:, case.arrays["text_token_rows"]], case.arrays["text_last_tokens"])


def unframed(model):
    join = {"layers": (9, 10, 11)}
    return model.override({"vision.frames": 1, "join": join})


@pytest.mark.slow
def test_merging_at_full_size():
    case = golden.load("pecore-tome-b16")
    system, params = pe_core_case.system_of(case)
    video = pe_core_case.videos(case)
    tokens, _, pool, features, seen = pe_core_case.record(system, params, video)
    for i in range(len(system.network.vision.mergers)):
        check_layer(case, i, seen, system.network.vision)
    close(tokens.x[:, :4], case.arrays["last_tokens"])
    close(pool, case.arrays["pooled"])
    close(features, case.arrays["features"])
    assert system.config.model.vision == unframed(pe_core.SIZES["b16"]).vision


def test_videos_are_means_of_unit_frames_and_not_unit_vectors_themselves():
    case = golden.load("pecore-video")
    system, params = pe_core_case.system_of(case)
    system = unchecked(tokmerge_jax.build(system.config.override({"model.vision.frames": 3})))
    video, ids = pe_core_case.videos(case), case.arrays["inputs/text"]
    frames = jax.jit(nn.apply(PECore.encode_video, system.network))({"params": params}, video)
    close(frames, case.arrays["frame_features"])
    close(frames.mean(axis=1), case.arrays["video_raw_mean"])
    record = system.task(Retrieval)
    embedding = jax.jit(record.encode_video)(params, video)["embedding"][:, 0]
    words = jax.jit(record.encode_text)(params, ids, ids > 0)["embedding"]
    close(embedding, case.arrays["video_embedding"])
    close(words, case.arrays["text_embedding"])
    close(words @ embedding.T, case.arrays["scores"])
    assert (np.linalg.norm(embedding, axis=-1) < 0.9999).all()
    unit = unchecked(tokmerge_jax.build(system.config.override({"model.unit_videos": True})))
    (scaled,) = jax.jit(unit.task(Retrieval).encode_video)(params, video).values()
    close(scaled[:, 0], embedding / np.linalg.norm(embedding, axis=-1, keepdims=True))
