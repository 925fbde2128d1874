"""BLIP's BERT (MED): alone, reading, causal at once and position by position, and its loss."""

import functools

import chex
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from umt_case import close

from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.tables import bert
from tokmerge_jax.models.bert import Bert, BertEmbeddings, BertLayer
from tokmerge_jax.training import losses

CASE = golden.load("testa-med")
SIZES, ARRAYS = CASE.config, CASE.arrays
IDS = ARRAYS["in/ids"].astype(np.int32)
MASK, CONTEXT_MASK = (jnp.asarray(ARRAYS[f"in/{name}"] > 0) for name in ("mask", "emask"))
CONTEXT = jnp.asarray(
    recipe.video((SIZES["batch"], SIZES["enc_len"], SIZES["encoder_width"]), seed=CASE.spec["seed"])
)
CAUSAL = jnp.tril(jnp.ones((SIZES["length"],) * 2, bool))[None]


@functools.cache
def network(source, target, predicts_words):
    """A BERT of the case and its parameters, from the tensors under `source`."""
    module = Bert(
        width=SIZES["hidden"],
        depth=SIZES["layers"],
        heads=SIZES["heads"],
        mlp_width=SIZES["intermediate"],
        fusion_layer=0,
        vocab_size=SIZES["vocab"],
        max_positions=SIZES["max_pos"],
        token_types=0,
        predicts_words=predicts_words,
    )

    def start(model, ids, mask, context):
        x = model(ids, mask, context)
        return model.words(x) if predicts_words else x

    init = jax.eval_shape(
        functools.partial(module.init, method=start), jax.random.key(0), IDS, MASK, CONTEXT
    )
    table = bert.rules(source, target, SIZES["layers"], 0, token_types=False)
    if predicts_words:
        table += bert.word_head("text_decoder.cls.predictions", f"{target}/word_head")
    weights = {n: w for n, w in CASE.weights().items() if n.split(".")[0] == source.split(".")[0]}
    params = rules.load(rules.RuleSet(table), weights, {target: init["params"]})
    return module, {"params": params[target]}


def with_first(piece):
    return jnp.asarray(IDS).at[:, 0].set(piece)


@pytest.mark.slow
def test_encoder_alone_and_reading():
    """Every layer's states in text mode and in multimodal mode."""
    module, variables = network("text_encoder", "text", False)

    def modes(model, ids, asked):
        text = model.encode_alone(ids, MASK)
        multimodal = model(asked, MASK, CONTEXT, CONTEXT_MASK)
        return text, multimodal, model.encode_alone(ids, MASK, first_only=True)

    def parts(module, method):
        return method == "__call__" and isinstance(module, BertEmbeddings | BertLayer)

    run = functools.partial(module.apply, method=modes, capture_intermediates=parts)
    (text, multimodal, first), seen = jax.jit(run)(
        variables, jnp.asarray(IDS), with_first(SIZES["vocab"] - 1)
    )
    depth, seen = SIZES["layers"], seen["intermediates"]
    names = ("embeddings", *(f"layer_{i}" for i in range(depth)))
    for i, name in enumerate(names):
        close(seen[name]["__call__"][0], ARRAYS[f"text/hidden{i}"])
        close(seen[name]["__call__"][1], ARRAYS[f"multimodal/hidden{i}"])
    close(text, ARRAYS[f"text/hidden{depth}"])
    close(multimodal, ARRAYS[f"multimodal/hidden{depth}"])
    close(first, ARRAYS[f"text/hidden{depth}"][:, :1])


def test_decoder_and_its_loss():
    module, variables = network("text_decoder.bert", "decoder", True)
    ids = with_first(SIZES["vocab"] - 2)

    def decode(model, ids, visible):
        memory = model.memory(CONTEXT)
        states = model.fuse(model.encode_text(ids, visible), visible, memory, CONTEXT_MASK)
        return states, model.words(states)

    run = jax.jit(functools.partial(module.apply, method=decode))
    states, logits = run(variables, ids, CAUSAL & MASK[:, None])
    close(states, ARRAYS["decoder/hidden_last"])
    close(logits, ARRAYS["decoder/logits"])
    mean, sums = jax.jit(losses.language_model)(logits, ids, MASK)
    close(mean, ARRAYS["decoder/loss_mean"])
    close(sums, ARRAYS["decoder/loss_per_sequence"])


def test_position_by_position():
    """Each position at its own time gives what the original gives for all at once."""
    module, variables = network("text_decoder.bert", "decoder", True)
    beams, length = 2, SIZES["length"]
    pieces = jnp.repeat(with_first(SIZES["vocab"] - 2), beams, axis=0)

    @chex.assert_max_traces(n=1)
    def advance(model, cache, ids, position, memory):
        states, cache = model.step(cache, ids, position, memory, CONTEXT_MASK)
        return states, model.words(states), cache

    run = jax.jit(functools.partial(module.apply, method=advance))
    memory = module.apply(variables, CONTEXT, method="memory")
    empty = module.apply(variables, len(pieces), length, method="empty_cache")
    chex.assert_shape(jax.tree.leaves(empty), (len(pieces), length, 4, 12))
    cache = jax.tree.map(lambda x: x + 7, empty)  # what lies at later positions is not read
    steps = []
    for i in range(length):
        *here, cache = run(variables, cache, pieces[:, i], jnp.asarray(i), memory)
        steps.append(here)
    real = np.asarray(MASK)
    for beam in range(beams):
        states, logits = (np.stack(x, axis=1)[beam::beams] for x in zip(*steps, strict=True))
        close(states[real], ARRAYS["decoder/hidden_last"][real])
        close(logits[real], ARRAYS["decoder/logits"][real])
        close(logits[:, :3], ARRAYS["decoder/logits_no_attention_mask"])


def test_language_model_loss_by_hand():
    """Two words in all: -(0.95 log p + 0.05 log q) for a target of probability p = 1 - q."""
    logits = jnp.log(jnp.array([[[0.25, 0.75], [9, 1]], [[0.5, 0.5], [1, 9]]]))
    ids = jnp.array([[1, 0], [0, 1]])
    expected = [-(0.95 * np.log(0.25) + 0.05 * np.log(0.75)), np.log(2)]
    loss = jax.jit(losses.language_model)
    mean, sums = loss(logits, ids, jnp.ones((2, 2), bool))
    np.testing.assert_allclose(sums, expected, rtol=1e-6)
    np.testing.assert_allclose(mean, np.mean(expected), rtol=1e-6)
    mask = jnp.array([[True, True], [True, False]])
    mean, sums = loss(logits, ids, mask)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-6)
    assert sums[1] == 0
    nothing = jnp.zeros((2, 2), bool)
    assert loss(logits, ids, nothing)[0] == 0
