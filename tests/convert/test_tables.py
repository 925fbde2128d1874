"""vid-TLDR's table against the full lists of names of real checkpoints."""

import golden
import jax
import numpy as np
import pytest
import umt_case

import tokmerge_jax
from configs.base import vid_tldr as base
from tokmerge_jax import convert
from tokmerge_jax.convert import rules
from tokmerge_jax.convert.tables import vid_tldr
from tokmerge_jax.types import UserError


def weightless(shapes):
    """Tensors of full size that take no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@pytest.fixture(params=["b16", "l16"])
def surgery(request):
    return request.param, golden.load(f"vidtldr-surgery-{request.param}").spec


def test_names_of_pretraining_files(surgery):
    """Every name goes where the original puts it."""
    size, case = surgery
    text = case["config"]["text"]
    depth = case["config"]["vision"]["depth"]
    table = vid_tldr.rules(depth, text["num_hidden_layers"], text["fusion_layer"])
    ruled = {rule.source for rule in table.rules}
    buffers = {"text_encoder.embeddings.position_ids"}
    assert ruled == set(case["mapping"].values()) - buffers
    for name, ours in case["mapping"].items():
        assert table.rename(name) == ours
        assert table.ignores(ours) == (ours in buffers)
    assert {n for n in case["pretraining_shapes"] if table.ignores(table.rename(n))} == {
        *case["ignored"],
        "text_encoder.bert.embeddings.position_ids",
    }
    assert size in case["case"]


@pytest.mark.parametrize("shapes", ["shapes", "pretraining_shapes"])
def test_full_checkpoints_fill_the_network(surgery, shapes):
    size, case = surgery
    config = base.get_config(size)
    system = tokmerge_jax.build(config)
    params = convert.from_torch("vid_tldr", weightless(case[shapes]), config)
    jax.tree.map(
        lambda x, y: np.testing.assert_equal(x.shape, y.shape), params, {**system.abstract_params}
    )
    fewer = {name: shape for name, shape in case[shapes].items() if "blocks.3.mlp" not in name}
    with pytest.raises(UserError, match=r"4 faults.*\n.*vision/block_3/mlp/hidden/kernel is not"):
        convert.from_torch("vid_tldr", weightless(fewer), config)


def tiny():
    """Weights and configuration of the small golden network."""
    case = golden.load("vidtldr-tiny")
    return case.weights(), umt_case.config_of(case)


def test_small_network_there_and_back():
    weights, config = tiny()
    params = convert.from_torch("vid_tldr", weights, config)
    qkv = weights["vision_encoder.encoder.blocks.2.attn.qkv.weight"]
    attention = params["vision"]["block_2"]["attention"]
    np.testing.assert_array_equal(attention["key"]["kernel"], qkv[64:128].T)
    assert "bias" not in attention["key"]
    np.testing.assert_array_equal(
        params["text"]["layer_3"]["cross_attention_norm"]["scale"],
        weights["text_encoder.encoder.layer.3.crossattention.output.LayerNorm.weight"],
    )
    assert params["temperature"] == weights["temp"]
    back = convert.to_torch("vid_tldr", params, config)
    used = {name for name in weights if not name.endswith("position_ids")}
    assert back.keys() == used
    for name in used:
        assert back[name].tobytes() == weights[name].tobytes()


def test_config_of_another_system():
    weights, config = tiny()
    with pytest.raises(UserError, match=r"config\.system='vid_tldr', but .*'testa'"):
        convert.from_torch("testa", weights, config)


def test_vision_only_file_says_what_lacks():
    """Stage 1 of UMT: the encoder's names come without a prefix."""
    weights, config = tiny()
    prefix = "vision_encoder.encoder."
    encoder = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    with pytest.raises(UserError) as error:
        convert.from_torch("vid_tldr", encoder, config)
    faults = str(error.value).splitlines()[1:]
    assert faults
    assert all(" is not filled: no " in fault for fault in faults)
    assert not any("vision_encoder.encoder" in fault for fault in faults)


def test_rules_name_each_parameter_once():
    table = vid_tldr.rules(2, 3, 1)
    targets = [target for rule in table.rules for target in rule.targets]
    assert len(targets) == len(set(targets))
    assert "text/layer_0/cross_attention/key/kernel" not in targets
    assert "text/layer_1/cross_attention/key/kernel" in targets
    assert rules.Rule("temp", ("temperature",)) in table.rules
