"""UMT's BERT in its three modes against the original's states."""

from typing import Any

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import umt_case
from umt_case import close

from tokmerge_jax.checkpoints import rules
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.umt import UMT
from tokmerge_jax.training import losses


def run(case, vision, vision_mask=None):
    """Text states, fused states and multi_modal states of a golden case."""
    spec, ids = case.config, case.arrays["inputs/ids"]
    mask = np.arange(ids.shape[1]) < np.array(spec["lengths"])[:, None]
    inputs = jax.tree.map(jnp.asarray, (ids, mask, vision, vision_mask))
    system, params = umt_case.system_of(case, only="text_encoder", words=True)
    assert isinstance(system.network, UMT)
    module = system.network.text

    @jax.jit
    def states(params, ids, mask, vision, vision_mask):
        def apply(method, *args):
            return module.apply({"params": params}, *args, method=method)

        text = apply("encode_text", ids, mask)
        memory = apply("memory", vision)
        return {
            "text": text,
            "fusion": apply("fuse", text, mask, memory),
            "masked": apply("fuse", text, mask, memory, vision_mask),
            "first": module.apply(
                {"params": params}, text, mask, memory, first_only=True, method="fuse"
            ),
            "multi_modal": (fused := apply("__call__", ids, mask, vision, vision_mask)),
            **({"words": apply("words", fused)} if module.predicts_words else {}),
        }

    return states(params["text"], *inputs)


@pytest.mark.slow
def test_tiny_states_of_every_mode():
    case = golden.load("bert-tiny")
    lengths = np.array(case.config["vision_lengths"])
    vision = recipe.video((3, 17, 48), seed=4)
    states = run(case, vision, np.arange(17) < lengths[:, None])
    expected = case.arrays
    close(states["text"], expected["text/hidden_1"])
    close(states["fusion"], expected["fusion/hidden_3"])
    close(states["masked"], expected["fusion_masked/last_hidden"])
    close(states["multi_modal"], expected["multi_modal/last_hidden"])
    close(states["first"][:, 0], expected["fusion/hidden_3"][:, 0])
    close(states["words"], expected["mlm/logits"])
    labels = expected["inputs/labels"]
    loss = jax.jit(losses.word_prediction)(states["words"], np.maximum(labels, 0), labels != -100)
    close(loss, expected["mlm/loss"])


@pytest.mark.slow
@pytest.mark.parametrize("size", ["base", "large"])
def test_full_size_states(size):
    case = golden.load(f"bert-{size}")
    width = case.config["hidden_size"]
    states = run(case, recipe.video((2, 200, width), seed=case.spec["seed"] + 1))
    for mode in ("text", "fusion"):
        ours = np.asarray(states[mode])
        close(ours[:, [0, 1, 24]], case.arrays[f"{mode}/tokens"])
        close(np.linalg.norm(ours, axis=-1), case.arrays[f"{mode}/norms"])
        close(ours.mean(-1), case.arrays[f"{mode}/means"])


def decode(case, ids, length, seed):
    """Logits and likelihoods of an answer decoder; the summed losses' gradients, also of states."""
    spec = case.config
    system, params = umt_case.system_of(case, only="text_decoder")
    assert isinstance(system.network, Answerer)
    module, ids = system.network, jnp.asarray(ids)
    known = jnp.asarray(np.arange(length) < np.array(spec["question_lengths"])[:, None])
    states = jnp.asarray(recipe.video((len(ids), length, spec["hidden_size"]), seed=seed))

    def run(params, states):
        def call(method, *args) -> Any:
            return module.apply({"params": params}, *args, method=method)

        memory = call("answer_memory", states)
        causal = jnp.tril(jnp.ones((ids.shape[1],) * 2, bool))[None] & (ids != 0)[:, None]
        logits = call("next_words", memory, known, ids, causal)
        first = call("next_words", memory, known, ids[:, :1], jnp.ones((len(ids), 1, 1), bool))
        likelihood = call("log_likelihood", memory, known, ids)
        return -likelihood.sum(), (logits, first[:, 0], likelihood)

    differentiate = jax.jit(jax.value_and_grad(run, argnums=(0, 1), has_aux=True))
    (_, outputs), (gradient, of_states) = differentiate(params, states)
    gradient = rules.unload(system.weights.names[0], gradient)
    return outputs, {**gradient, "encoder_hidden_states": of_states}


@pytest.mark.slow
def test_tiny_answer_decoder():
    case = golden.load("bert-decoder-tiny")
    ids, expected = case.arrays["inputs/ids"], case.arrays
    (logits, first, likelihood), gradient = decode(case, ids, 12, seed=6)
    close(
        np.where(ids[..., None] != 0, logits, 0),
        np.where(ids[..., None] != 0, expected["logits"], 0),
    )
    close(first, expected["start_logits"])
    close(-likelihood, expected["loss"])
    names = case.spec["gradient_names"]
    close([np.linalg.norm(gradient[name]) for name in names], expected["grad_norms"])
    for key in (key for key in expected if key.startswith("grad/")):
        close(gradient[key.removeprefix("grad/")], expected[key])


@pytest.mark.slow
@pytest.mark.parametrize("size", ["base", "large"])
def test_full_size_answer_decoder(size):
    case = golden.load(f"bert-decoder-{size}")
    ids, expected = np.array(case.config["ids"]), case.arrays
    (logits, _, likelihood), _ = decode(case, ids, 25, seed=case.spec["seed"] + 1)
    real = ids != 0
    close(logits[..., expected["columns"]][real], expected["logits_columns"][real])
    close(jax.nn.logsumexp(logits, axis=-1)[real], expected["logsumexp"][real])
    best = np.argsort(-np.asarray(logits[:, 0]), axis=1)[:, :10]
    np.testing.assert_array_equal(best, expected["top_ids"])
    close(-likelihood, expected["loss"])
