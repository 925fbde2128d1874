"""VideoPrism's checkpoints of both kinds become the same parameters, and come back bit for bit."""

import functools
from typing import Any

import golden
import jax
import numpy as np
import pytest
import videoprism_case
from safetensors.numpy import save_file

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules, torch_file
from tokmerge_jax.checkpoints.tables import videoprism as tables
from tokmerge_jax.config import videoprism
from tokmerge_jax.systems.videoprism import plain
from tokmerge_jax.types import UserError

CASE = golden.load("videoprism-tiny")
PARTS = {
    "params/vision_encoder/": "video_model.vision_model.",
    "params/contrastive_vision_pooler/": "video_model.",
    "params/auxiliary_encoder/": "video_model.",
    "params/text_encoder/": "text_model.",
}
NAMES = (  # released -> transformers
    ("transformers_stack/", ""),
    ("spatial_encoder/x_layers/", "spatial_layers.{i}."),
    ("temporal_encoder/x_layers/", "temporal_layers.{i}."),
    ("unimodal_transformer/x_layers/", "layers.{i}."),
    ("x_layers/", "auxiliary_layers.{i}."),
    ("ff_layer/ffn_layer1/linear/", "mlp.fc1."),
    ("ff_layer/ffn_layer2/linear/", "mlp.fc2."),
    ("ff_layer/layer_norm/", "layernorm_after."),
    ("pooling_attention_query", "head.pooling_attention_query"),
    ("pooling_attention_layer_norm/", "head_layernorm."),
    ("pooling_attention/per_dim_scale/per_dim_scale", "head.per_dim_scale"),
    ("pooling_attention/", "head."),
    ("self_attention/", "attention."),
    ("layer_norm/", "layernorm_before."),
    ("query/", "q_proj."),
    ("key/", "k_proj."),
    ("value/", "v_proj."),
    ("post/", "o_proj."),
    ("patch_projection/linear/", "spatial_embeddings.patch_embeddings.projection."),
    ("spatial_pos_emb/emb_var", "spatial_embeddings.position_embeddings"),
    ("temporal_pos_emb/emb_var", "temporal_embeddings.position_embeddings"),
    ("token_emb/emb_var", "embeddings.token_embedding.weight"),
    ("cls_emb", "embeddings.cls_emb"),
    ("spatial_ln/", "layernorm1."),
    ("temporal_ln/", "layernorm2."),
    ("unimodal_ln/", "layernorm."),
)


@functools.cache
def system():
    return tokmerge_jax.build(videoprism_case.config_of(CASE))


def transformers(released, parts=PARTS):
    """The same tensors as transformers spells them, by the reference's table."""
    tensors = {}
    for name, array in released.items():
        part = next(part for part in parts if name.startswith(part))
        renamed = name.removeprefix(part)
        for theirs, ours in NAMES:
            renamed = renamed.replace(theirs, ours)
        renamed = parts[part] + renamed
        layers = enumerate(array) if "{i}" in renamed else [(0, array)]
        for i, tensor in layers:
            kind, key = name.rpartition("/")[2], renamed.replace("{i}", f"{i}")
            tensors |= dict([spelled(key, kind, tensor)])
    return tensors


def spelled(name, kind, x):
    """(name, tensor) with PyTorch's kinds of parameters and its axes."""
    before = name.rpartition(".")[0]
    if kind in ("b", "bias"):
        return f"{before}.bias", x.reshape(-1)
    if kind == "scale":
        return f"{before}.weight", x
    if kind == "w":
        joined = x.reshape(len(x), -1)
        return f"{before}.weight", joined if before.endswith("o_proj") else joined.T
    if kind == "kernel" and "patch_embeddings" in name:
        edge = round((len(x) / 3) ** 0.5)
        return f"{before}.weight", x.reshape(edge, edge, 3, -1).transpose(3, 2, 0, 1)[:, :, None]
    if kind == "kernel":
        return f"{before}.weight", x.T
    if "position_embeddings" in name or "attention_query" in name:
        return name, x[None]
    return name, x


def save(path, arrays, write: Any = np.savez):  # Any: keys are no options of it
    write(path, **arrays)


def equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def identical(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, x in theirs.items():
        np.testing.assert_array_equal(ours[name], x, strict=True)


def test_both_layouts_are_the_same_parameters_and_come_back(tmp_path):
    released = CASE.weights()
    params, theirs = golden.parameters(system(), released), transformers(released)
    identical(checkpoints.to_torch(system(), params), released)
    buffers = {
        f"text_model.embeddings.position_{name}": np.zeros((64, 2), np.float32)
        for name in ("embedding", "ids")
    }
    equal(golden.parameters(system(), theirs | buffers), params)
    identical(rules.unload(system().weights.names[1], params), theirs)
    save(tmp_path / "released.npz", released)
    save_file({n: np.ascontiguousarray(x) for n, x in theirs.items()}, tmp_path / "a.safetensors")
    for file in ("released.npz", "a.safetensors"):
        equal(checkpoints.load_checkpoint(tmp_path / file, system()), params)


def test_conversion_there_and_back(tmp_path):
    """An .npz becomes our folder, and that the same .npz; a wrong ending is refused."""
    config, released = videoprism_case.config_of(CASE), CASE.weights()
    save(tmp_path / "released.npz", released)
    tokmerge_jax.convert(config, tmp_path / "released.npz", tmp_path / "ours")
    tokmerge_jax.convert(config, tmp_path / "ours", tmp_path / "back.npz", reverse=True)
    identical(torch_file.read(tmp_path / "back.npz"), released)
    with pytest.raises(UserError, match=r"must end in \.safetensors or \.npz"):
        tokmerge_jax.convert(config, tmp_path / "ours", tmp_path / "back.pth", reverse=True)


@pytest.mark.parametrize("layout", ["released", "transformers"])
def test_the_plain_encoder(layout, tmp_path):
    """Its names in both layouts, its parameters from a file; for retrieval it is refused."""
    case = golden.load("videoprism-tiny-encoder")
    released = case.weights()
    weights = released if layout == "released" else transformers(released, {"params/": ""})
    save(tmp_path / "plain.npz", weights)
    params, encode = plain(videoprism_case.config_of(case), tmp_path / "plain.npz")
    frames = jax.ShapeDtypeStruct((1, 4, 24, 24, 3), np.uint8)
    assert jax.eval_shape(encode, params, frames).shape == (1, 4 * 16, 32)
    table = rules.choose(tables.encoder_rules(tables.Depths(3, 2), 2), weights)
    identical(rules.unload(table, params), weights)
    assert rules.flatten(params).keys() < rules.flatten(system().weights.shapes).keys()
    with pytest.raises(UserError, match="a plain VideoPrism, which cannot read texts, of 32 ch"):
        golden.parameters(system(), weights)


@pytest.mark.parametrize(("size", "case"), [("b18", "lvt-base"), ("l18", "lvt-large")])
def test_names_of_the_released_networks(size, case):
    """Every array of the released file has a rule: 88 in a network with texts, else 40."""
    case = golden.load(f"videoprism-{case}")
    vision, text = videoprism.SIZES[size].vision, videoprism.SIZES[size].text
    assert videoprism_case.config_of(case).model.vision == vision
    depths = tables.Depths(vision.depth, vision.temporal_depth, vision.auxiliary_depth, text.depth)
    names = {golden.stacked(name) for name in case.spec["shapes"]}
    table, _ = tables.rules(depths, vision.heads)
    assert {rule.source for rule in table.rules} == names
    assert len(names) == 88
    assert len(tables.encoder_rules(depths, vision.heads)[0].rules) == 40


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w | {"params/more": np.zeros(3, "f4")}, r"params/more \[3\] has no place"),
        (lambda w: {n: x for n, x in w.items() if "cls_emb" not in n}, "no params/text_encoder/cl"),
        (lambda w: {n: x[1:] if "x_layers" in n else x for n, x in w.items()}, "cannot become"),
        (lambda w: {n: np.moveaxis(x, 2, -1) if n.endswith("query/w") and x.ndim == 4 else x
                    for n, x in w.items()}, r"query/w \[3, 32, 16, 2\] cannot become"),
        (lambda w: {"params/other/kernel": np.zeros((2, 2), "f4")}, "no VideoPrism: they have no"),
    ],
)  # fmt: skip
def test_refusals(change, says):
    with pytest.raises(UserError, match=says):
        checkpoints.from_torch(system(), change(CASE.weights()))


@pytest.mark.parametrize("damage", ["cut", "compressed", "objects", "other"])
def test_damaged_files_are_refused(damage, tmp_path):
    path, arrays = tmp_path / "a.npz", {"params/x": np.zeros((64, 64), np.float32)}
    arrays = arrays if damage != "objects" else {"params/x": np.array([{}], object)}
    save(path, arrays, np.savez_compressed if damage == "compressed" else np.savez)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:900])
    if damage == "other":
        path.write_bytes(b"PK no archive")
    with pytest.raises(UserError, match=r"a\.npz: (its .* is compressed|it is no \.npz file)"):
        torch_file.read(path)
