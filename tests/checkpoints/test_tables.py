"""vid-TLDR's table against the full lists of names of real checkpoints."""

import importlib

import golden
import jax
import numpy as np
import pytest
import umt_case
from parameters import slow

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.tables import vid_tldr, vid_tldr_qa
from tokmerge_jax.config import umt
from tokmerge_jax.types import UserError


def weightless(shapes):
    """Tensors of full size that take no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module", params=["b16", "l16"])
def surgery(request):
    return request.param, golden.load(f"vidtldr-surgery-{request.param}").spec


@pytest.fixture(scope="module")
def full_system(surgery):
    size, _ = surgery
    return tokmerge_jax.build(
        importlib.import_module(f"tokmerge_jax.configs.msrvtt_mc_{size}").get_config()
    )


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
def test_full_checkpoints_fill_the_network(surgery, full_system, shapes):
    _, case = surgery

    def load(shapes):
        return golden.parameters(full_system, weightless(shapes))

    params = load(case[shapes])
    jax.tree.map(
        lambda x, y: np.testing.assert_equal(x.shape, y.shape),
        params,
        {**full_system.weights.shapes},
    )
    fewer = {name: shape for name, shape in case[shapes].items() if "blocks.3.mlp" not in name}
    with pytest.raises(UserError, match=r"4 faults.*\n.*vision/block_3/mlp/hidden/kernel is not"):
        load(fewer)


def tiny():
    """Weights and configuration of the small golden network."""
    case = golden.load("vidtldr-tiny")
    return case.weights(), umt_case.config_of(case)


def test_small_network_there_and_back():
    weights, config = tiny()
    system = tokmerge_jax.build(config)
    params = checkpoints.from_torch(system, weights)
    qkv = weights["vision_encoder.encoder.blocks.2.attn.qkv.weight"]
    attention = params["vision"]["block_2"]["attention"]
    np.testing.assert_array_equal(attention["key"]["kernel"], qkv[64:128].T)
    assert "bias" not in attention["key"]
    np.testing.assert_array_equal(
        params["text"]["layer_3"]["cross_attention_norm"]["scale"],
        weights["text_encoder.encoder.layer.3.crossattention.output.LayerNorm.weight"],
    )
    assert params["temperature"] == weights["temp"]
    back = checkpoints.to_torch(system, params)
    used = {name for name in weights if not name.endswith("position_ids")}
    assert back.keys() == used
    for name in used:
        assert back[name].tobytes() == weights[name].tobytes()


def test_vision_only_file_is_only_a_start():
    """Stage 1 of UMT: the encoder's names come without a prefix."""
    weights, config = tiny()
    prefix = "vision_encoder.encoder."
    encoder = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    system = tokmerge_jax.build(config)
    with pytest.raises(UserError, match=r"only a start for training and hold nothing for .*text/,"):
        checkpoints.from_torch(system, encoder)
    table = checkpoints.table(system, encoder)
    params = rules.load(table, encoder, system.weights.shapes, to_train=True)
    whole = checkpoints.from_torch(system, weights)
    jax.tree.map(np.testing.assert_array_equal, params["vision"], whole["vision"])
    del encoder["blocks.1.mlp.fc1.bias"]
    with pytest.raises(UserError, match=r"mlp/hidden/bias is not filled: no vision_encoder\."):
        checkpoints.from_torch(system, encoder)


def test_rules_name_each_parameter_once():
    table = vid_tldr.rules(2, 3, 1)
    targets = [target for rule in table.rules for target in rule.targets]
    assert len(targets) == len(set(targets))
    assert "text/layer_0/cross_attention/key/kernel" not in targets
    assert "text/layer_1/cross_attention/key/kernel" in targets
    assert rules.Rule("temp", ("temperature",)) in table.rules


@pytest.mark.parametrize("size", ["b16", "l16"])
def test_question_answering_starts_from_pretraining(size):
    """Each parameter of question answering is filled from where the original fills it."""
    case = golden.load(f"umtqa-surgery-{size}").spec
    text, mapping = case["config"], case["expected"]["mapping"]
    layers = text["num_hidden_layers"], text["fusion_layer"]
    fine_tuned, pretrained, *_ = vid_tldr_qa.rules(2, *layers)
    source = {target: rule.source for rule in pretrained.rules for target in rule.targets}
    ours = {
        rule.source: {source[target] for target in rule.targets}
        for rule in fine_tuned.rules
        if rule.source.startswith("text_")
    }
    theirs = {name: {pretrained.rename(origin)} for name, origin in mapping.items()}
    buffers = {name for name in theirs if name.endswith("position_ids")}
    second_names = {name for name in theirs if ".predictions.decoder." in name}
    assert ours == {n: o for n, o in theirs.items() if n not in buffers | second_names}
    assert set(second_names) == set(fine_tuned.tied)


def qa_case():
    case = golden.load("umtqa-tiny")
    return case.weights(), umt_case.config_of(case)


def test_question_answering_there_and_back():
    weights, config = qa_case()
    word = weights["text_decoder.bert.embeddings.word_embeddings.weight"]
    head = "text_decoder.cls.predictions"
    twice = {f"{head}.decoder.weight": word, f"{head}.decoder.bias": weights[f"{head}.bias"]}
    system = tokmerge_jax.build(config)
    params = checkpoints.from_torch(system, {**weights, **twice})
    back = checkpoints.to_torch(system, params)
    assert back.keys() == {name for name in weights if not name.endswith("position_ids")}
    for name, tensor in back.items():
        assert tensor.tobytes() == weights[name].tobytes()
    twice[f"{head}.decoder.weight"] = word + 1
    with pytest.raises(UserError, match=r"decoder\.weight differs from .*word_embeddings\.weight"):
        checkpoints.from_torch(system, {**weights, **twice})


def retrieval_weights(config, predicts_words):
    """Random weights of a retrieval network of the sizes of a question-answering one."""
    other = umt.Retrieval(
        model=umt.RetrievalModel(vision=config.model.vision, text=config.model.text),
        data=umt.TextData(max_text_length=config.data.max_text_length),
        train=umt.RetrievalTraining(losses=umt.Losses(mlm=float(predicts_words))),
    )
    system = tokmerge_jax.build(other)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape, np.float32), system.weights.shapes
    )
    return rules.unload(system.weights.names[0], params)


@pytest.mark.slow
def test_question_answering_starts_from_retrieval_only_to_train():
    """The head, which such a checkpoint lacks, is drawn for a training and missed otherwise."""
    _, config = qa_case()
    weights = retrieval_weights(config, predicts_words=False)
    system = tokmerge_jax.build(config)
    with pytest.raises(UserError, match="nothing for decoder/word_head/; train from them"):
        checkpoints.from_torch(system, weights)
    table = checkpoints.table(system, weights)
    params = rules.load(table, weights, system.weights.shapes, to_train=True)
    fusion = config.model.text.fusion_layer
    for ours, theirs in ((0, fusion), (1, fusion + 1)):
        layer = f"text_encoder.encoder.layer.{theirs}.crossattention.self.value.weight"
        kernel = params["decoder"][f"layer_{ours}"]["cross_attention"]["value"]["kernel"]
        np.testing.assert_array_equal(kernel, weights[layer].T)
    assert 0.015 < np.std(params["decoder"]["word_head"]["transform"]["kernel"]) < 0.025


def test_question_answering_starts_from_a_head_that_predicted_words():
    _, config = qa_case()
    weights = retrieval_weights(config, predicts_words=True)
    params = checkpoints.from_torch(tokmerge_jax.build(config), weights)
    head = weights["text_encoder.cls.predictions.transform.dense.weight"]
    transform = params["decoder"]["word_head"]["transform"]["kernel"]
    np.testing.assert_array_equal(transform, head.T)


@pytest.mark.parametrize("size", slow(["b16", "l16"], "l16".__eq__))
def test_full_question_answering_checkpoints_fill_the_network(size):
    case = golden.load(f"umtqa-{size}")
    config = umt_case.config_of(case)
    checkpoints.from_torch(tokmerge_jax.build(config), weightless(case.spec["shapes"]))
