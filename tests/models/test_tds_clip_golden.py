"""TDS-CLIP, Side4Video and merging in them against the originals, piece by piece and whole."""

import functools

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tds_clip_case
from clip_case import close
from flax.traverse_util import unflatten_dict

from tokmerge_jax.layers import side
from tokmerge_jax.layers.batch_norm import BatchNorm
from tokmerge_jax.models.tds_clip import SideStem, split_collections


def run(module, params, video):
    """Logits, and what the parts of both networks gave."""

    def kept(part, method):
        names, kind = ("stem", "side", "input_norm"), type(part).__name__
        called = method == "__call__" and (part.name in names or kind == "SideBlock")
        return called or (kind == "Tap" and method == "read")

    apply = functools.partial(module.apply, capture_intermediates=kept)
    logits, seen = jax.jit(apply)(split_collections(params), video)
    return logits, seen["intermediates"]


def given(seen, name):
    """Returns the result of the side network's part `name`, [B T,N,D] as in the goldens."""
    (x,) = seen["side"][name]["__call__"]
    return x.reshape(-1, *x.shape[-2:])


def projected(seen, i):
    return seen["side"][f"tap_{i}"]["read"][0]


FULL = 5e-4


@pytest.mark.parametrize(
    "name", ["tdsclip-tiny", pytest.param("tdsclip-tiny-p14", marks=pytest.mark.slow)]
)
def test_tiny(name):
    """Every block of both networks, and what passes between them."""
    case = golden.load(name)
    module, params = tds_clip_case.network_of(case)
    logits, seen = run(module, params, tds_clip_case.video_of(case))
    close(seen["vision"]["input_norm"]["__call__"][0], case.arrays["after_ln_pre"])
    close(given(seen, "stem"), case.arrays["side_in"])
    for i in range(case.config["layers"]):
        close(seen["vision"][f"block_{i}"]["out"][0], case.arrays[f"block_{i}"])
        close(projected(seen, i), case.arrays[f"proj_{i}"])
        close(given(seen, f"block_{i}"), case.arrays[f"side_{i}"])
    close(seen["side"]["__call__"][0], case.arrays["features"])
    close(logits, case.arrays["logits"])


def test_side4video():
    case = golden.load("tdsclip-side4video")
    module, params = tds_clip_case.network_of(case)
    assert not module.side.differences
    logits, seen = run(module, params, tds_clip_case.video_of(case))
    close(given(seen, "stem"), case.arrays["side_in"])
    for i in range(case.config["layers"]):
        close(given(seen, f"block_{i}"), case.arrays[f"side_{i}"])
    close(seen["side"]["__call__"][0], case.arrays["features"])
    close(logits, case.arrays["logits"])


@pytest.mark.parametrize(
    "name", ["tdsclip-merged", pytest.param("tdsclip-merged-noprop", marks=pytest.mark.slow)]
)
def test_merged(name):
    """Merging in the frozen transformer, undone behind each tap: every decision and token."""
    case = golden.load(name)
    module, params = tds_clip_case.network_of(case)
    logits, seen = run(module, params, tds_clip_case.video_of(case))
    for i, r in enumerate(case.config["r"]):
        block = seen["vision"][f"block_{i}"]
        close(block["out"][0], case.arrays[f"block_{i}"])
        close(projected(seen, i), case.arrays[f"proj_{i}"])
        close(given(seen, f"block_{i}"), case.arrays[f"side_{i}"])
        if r:
            (tokens,) = block["after_merging"]
            np.testing.assert_array_equal(tokens.origin, case.arrays[f"origin_{i}"])
            close(tokens.size, case.arrays[f"size_{i}"])
        else:
            assert "after_merging" not in block
    close(logits, case.arrays["logits"])


@pytest.mark.slow
def test_nothing_to_merge_is_the_plain_network():
    """Checks that the network without mergers equals the original at r = 0."""
    case = golden.load("tdsclip-merged")
    module, params = tds_clip_case.network_of(case, merged=False)
    assert not any(module.vision.mergers)
    logits, _ = run(module, params, tds_clip_case.video_of(case))
    close(logits, case.arrays["logits_unmerged"])


@pytest.mark.slow
@pytest.mark.parametrize("size", ["b16", "l14"])
def test_full_size(size):
    case = golden.load(f"tdsclip-vit-{size}")
    module, params = tds_clip_case.network_of(case)
    logits, seen = run(module, params, tds_clip_case.video_of(case))
    blocks = range(case.config["layers"])
    rows = np.ix_(case.config["rows"], case.config["tokens"])
    tower = [seen["vision"][f"block_{i}"]["out"][0] for i in blocks]
    ours = [given(seen, f"block_{i}") for i in blocks]
    close(np.stack([x[0, 0] for x in tower]), case.arrays["backbone_class"], FULL)
    close(tower[-1][rows], case.arrays["final_backbone_rows"], FULL)
    close(given(seen, "stem")[rows], case.arrays["side_in_rows"], FULL)
    close(np.stack([x.mean(axis=(0, 1)) for x in ours]), case.arrays["side_mean"], FULL)
    rms = np.stack([np.sqrt((x**2).mean(axis=(0, 1))) for x in ours])
    close(rms, case.arrays["side_rms"], FULL)
    close(ours[-1][rows], case.arrays["final_side_rows"], FULL)
    close(seen["side"]["__call__"][0], case.arrays["features"], FULL)
    close(logits, case.arrays["logits"], FULL)


@pytest.mark.slow
def test_full_size_side4video():
    case = golden.load("tdsclip-side4video-b16")
    module, params = tds_clip_case.network_of(case)
    logits, seen = run(module, params, tds_clip_case.video_of(case))
    rows = np.ix_([0, 4], [0, 1, 100])
    close(given(seen, "stem")[rows], case.arrays["side_in_rows"], FULL)
    close(given(seen, "block_11")[rows], case.arrays["final_side_rows"], FULL)
    close(seen["side"]["__call__"][0], case.arrays["features"], FULL)
    close(logits, case.arrays["logits"], FULL)


@pytest.mark.slow
def test_full_size_merged():
    case = golden.load("tdsclip-merged-b16")
    module, params = tds_clip_case.network_of(case)
    video = tds_clip_case.video_of(case)
    logits, seen = run(module, params, video)
    merged = [seen["vision"][f"block_{i}"]["after_merging"][0] for i in range(12)]
    assert [tokens.x.shape[1] for tokens in merged] == case.arrays["tokens"].tolist()
    origins = np.stack([tokens.origin[np.array([0, 4])] for tokens in merged])
    np.testing.assert_array_equal(origins, case.arrays["origin_rows"])
    close(merged[-1].size[np.array([0, 4])], case.arrays["final_sizes"])
    rows = np.ix_([0, 4], [0, 1, 70])
    close(seen["vision"]["block_11"]["out"][0][rows], case.arrays["final_backbone"], FULL)
    close(given(seen, "block_11")[rows], case.arrays["final_side_rows"], FULL)
    close(logits, case.arrays["logits"], FULL)
    module, _ = tds_clip_case.network_of(case, merged=False)
    logits = jax.jit(module.apply)(split_collections(params), video)
    close(logits, case.arrays["logits_unmerged"], FULL)


@functools.cache
def units():
    """The pieces' case, and its parameters and statistics: of the stem, and of one block."""
    case = golden.load("tdsclip-units")
    spelled = {"stem.": "visual.", "block.": "visual.transformer.side_transformer.0."}
    weights = {}
    for name, tensor in tds_clip_case.weights_of(case).items():
        prefix = next(p for p in spelled if name.startswith(p))
        weights[name.replace(prefix, spelled[prefix])] = tensor
    width, patch = case.config["side_dim"], case.config["patch_size"]
    table, flat = (
        tds_clip_case.tables_of(
            {
                "vision.depth": 1,
                "vision.width": width,
                "vision.patch_size": patch,
                "side.width": width,
                "side.differences": True,
            }
        )[0],
        {},
    )
    for rule in table.rules:
        if rule.source in weights:
            made = rule.operation.forward(weights.pop(rule.source))
            flat |= dict(zip(rule.targets, made, strict=True))
    assert not weights
    return case, unflatten_dict(flat, sep="/")


def part_of(*path):
    """Collections of one part."""
    _, params = units()
    own, stats = params["side"], params["batch_stats"]["side"]
    for name in path:
        own, stats = own[name], stats.get(name, {})
    return jax.tree.map(np.copy, {"params": own, "batch_stats": stats})


def tokens_of(case):
    """Patches [B,T,N,D], class tokens [B,T,D] and positions [B,T,N,D]."""
    x, token, positions = (case.arrays[f"inputs/{n}"] for n in ("x", "token", "pos"))
    frames = case.config["batch"], case.config["num_segments"]
    x = x.reshape(*frames, *x.shape[1:])
    return x, token.reshape(*frames, -1), np.broadcast_to(positions, x.shape)


def flat(x):
    return x.reshape(-1, *x.shape[2:])


def test_pieces_of_the_stem():
    case, _ = units()
    stem = SideStem(case.config["side_dim"], case.config["patch_size"])
    apply = functools.partial(stem.apply, capture_intermediates=True)
    x, seen = jax.jit(apply)(part_of("stem"), tds_clip_case.video_of(case))
    seen = {name: flat(made["__call__"][0]) for name, made in seen["intermediates"].items()
            if name != "__call__"}  # fmt: skip
    close(seen["patch_embedding"], case.arrays["stem_conv"])
    close(seen["difference_embedding"], case.arrays["stem_diff_conv"])
    close(seen["difference_norm"], case.arrays["stem_diff_bn"])
    close(flat(x), case.arrays["stem_out"])


def test_pieces_of_a_block():
    case, _ = units()
    x, token, positions = tokens_of(case)
    close(flat(side.shifted(jnp.asarray(token))), case.arrays["shift_out"])
    apply = functools.partial(
        side.SideBlock().apply,
        capture_intermediates=lambda _, method: method in ("__call__", "attend"),
    )
    run, own = jax.jit(apply), part_of("block_0")
    out, seen = run(own, x, token, positions)
    close(flat(out), case.arrays["block_out"])
    close(flat(seen["intermediates"]["convolution"]["__call__"][0]), case.arrays["conv_out"])
    gate = side.DifferenceGate().apply(part_of("block_0", "gate"), jnp.asarray(x))
    close(flat(gate), case.arrays["mse_out"])
    for name, array in own["params"]["convolution"]["out"].items():
        own["params"]["convolution"]["out"][name] = np.zeros_like(array)
    _, seen = run(own, x, token, positions)  # attention to the tokens as they are
    read, _ = seen["intermediates"]["attention"]["attend"][0]
    close(read, case.arrays["attn_out"])
    mlp = side.MLP(4 * x.shape[-1], x.shape[-1])
    close(flat(mlp.apply({"params": own["params"]["mlp"]}, jnp.asarray(x))), case.arrays["mlp_out"])


def test_training_norms_by_the_batch_and_remembers_it():
    """The block in training, and the running averages after it."""
    case, _ = units()
    apply = functools.partial(side.SideBlock().apply, train=True, mutable=["batch_stats"])
    out, after = jax.jit(apply)(part_of("block_0"), *tokens_of(case))
    close(flat(out), case.arrays["block_out_train"])
    statistics, names = after["batch_stats"], {"mean": "running_mean", "var": "running_var"}
    ours = {
        "bn_1": statistics["convolution_norm"],
        "bn_2": statistics["mlp_norm"],
        "mse.bn1": statistics["gate"]["reduce_norm"],
        "mse.bn2": statistics["gate"]["expand_norm"],
    }
    assert len(ours) * 2 == sum(name.startswith("train_stats/") for name in case.arrays)
    for theirs, stats in ours.items():
        for name, value in stats.items():
            close(value, case.arrays[f"train_stats/{theirs}.{names[name]}"])


def test_pooling():
    case, _ = units()
    x, _, _ = tokens_of(case)
    pool = nn.apply(lambda norm, x: norm(x).mean(axis=(1, 2)), BatchNorm())
    close(pool(part_of("norm"), jnp.asarray(x)), case.arrays["post_pool"])
