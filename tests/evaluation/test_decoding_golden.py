"""Beam search over TESTA's answer decoder gives the words that the original gave."""

from typing import Any

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from tokmerge_jax.convert import rules
from tokmerge_jax.convert.tables import testa
from tokmerge_jax.evaluation import decoding
from tokmerge_jax.merging import space_time
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.timesformer import TimeSformer

END, PAD = 2, 0


class Answering(nn.Module):
    """A network that reads questions about videos, and its answer decoder."""

    vision: TimeSformer
    text: Bert
    decoder: Bert

    def read(self, video, ids, mask):
        """What the decoder knows of each question: all its places, padding too."""
        return self.decoder.memory(self.text(ids, mask, self.vision(video).x))

    def step(self, cache, ids, at, memory):
        states, cache = self.decoder.step(cache, ids, at, memory)
        return self.decoder.words(states), cache

    def empty(self, rows, length):
        return self.decoder.empty_cache(rows, length)

    def __call__(self, video, ids, mask):
        memory = self.read(video, ids, mask)
        return self.step(self.empty(len(ids), 1), ids[:, 0], jnp.int32(0), memory)


def network(sizes):
    merged = space_time.of_testa(sizes["merging_type"], sizes["testa_r"], sizes["depth"])
    text = {
        "width": sizes["hidden"],
        "depth": sizes["layers"],
        "heads": sizes["text_heads"],
        "mlp_width": sizes["intermediate"],
        "fusion_layer": 0,
        "vocab_size": sizes["vocab"],
        "max_positions": sizes["max_pos"],
        "token_types": 0,
    }
    vision = TimeSformer(
        width=sizes["width"],
        heads=sizes["heads"],
        merging=space_time.plan("testa", *merged),
        patch_size=sizes["patch_size"],
        table_frames=sizes["num_frames"],
        table_patches=(sizes["image_size"] // sizes["patch_size"]) ** 2,
    )
    return Answering(vision, Bert(**text), Bert(**text, predicts_words=True))


def parameters(case, module, inputs):
    sizes, weights = case.config, case.weights()
    edge = sizes["image_size"] // sizes["patch_size"]
    vision = testa.Vision(sizes["depth"], edge, sizes["num_frames"])
    table = rules.choose(testa.answering_rules(vision, sizes["layers"]), weights)
    abstract = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return {"params": rules.load(table, weights, abstract["params"])}


@pytest.mark.parametrize(
    "name", ["testa-vqa-generate", pytest.param("testa-vqa", marks=pytest.mark.slow)]
)
def test_answers_of_the_original(name):
    case = golden.load(name)
    sizes, seed = case.config, case.spec["seed"]
    shape = (sizes["batch"], 3, sizes["num_frames"], sizes["image_size"], sizes["image_size"])
    video = recipe.video(shape, seed).transpose(0, 2, 3, 4, 1)
    mask = case.arrays["in/question_mask"] > 0
    ids = case.arrays["in/question_ids"].astype(np.int32)
    ids[:, 0] = sizes["vocab"] - 1
    inputs = jax.tree.map(jnp.asarray, (video, ids, mask))
    module = network(sizes)
    how = decoding.Options(end=END, pad=PAD, max_length=10, min_length=1, beams=3)

    @jax.jit
    def answer(variables, *inputs):
        def call(method, *args) -> Any:
            return module.apply(variables, *args, method=method)

        memory, questions = call("read", *inputs), len(inputs[1])
        start = jnp.full((questions, 1), sizes["vocab"] - 2, jnp.int32)
        cache = call("empty", questions * how.beams, how.max_length)
        return decoding.generate(lambda *now: call("step", *now, memory), cache, start, how)

    found = answer(parameters(case, module, inputs), *inputs)
    np.testing.assert_array_equal(found.ids, case.arrays["generated"])
    for text, length in zip(*map(np.asarray, found[:2]), strict=True):
        assert (text[length:] == PAD).all()
        assert length == how.max_length or text[length - 1] == END
