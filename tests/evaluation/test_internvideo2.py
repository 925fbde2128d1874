"""InternVideo2's evaluation: cosines, reweighted scores, recalls and prompts, by the original's."""

import golden
import jax.numpy as jnp
import numpy as np
import pytest
from clip_case import close

from tokmerge_jax.data.text.tokenizers import pre_text
from tokmerge_jax.evaluation.metrics import PROTOCOLS
from tokmerge_jax.evaluation.scores import dual_softmax
from tokmerge_jax.layers.functional import unit

CASE = golden.load("internvideo2-eval")
CHOICE = golden.load("internvideo2-choice")
PROMPTS = golden.load("internvideo2-prompts")


def cosines(video, text):
    return np.asarray(unit(jnp.asarray(text)) @ unit(jnp.asarray(video)).T)


@pytest.mark.parametrize("tag", ["one", "several"])
def test_scores_and_recalls(tag):
    """The plain table and the reweighted one, in both directions."""
    arrays = CASE.arrays
    scores = cosines(arrays[f"inputs/{tag}/vision"], arrays[f"inputs/{tag}/text"])
    close(scores, arrays[f"{tag}/sim_t2v"], 2e-6)
    both = scores, np.ascontiguousarray(scores.T)
    dual = tuple(dual_softmax(x, 1.0) for x in both)
    close(dual[0][:], arrays[f"{tag}/dual_t2v"], 5e-6)
    close(dual[1][:], arrays[f"{tag}/dual_v2t"], 5e-6)
    relevant = [[video] for video in CASE.config[tag]["text_to_video"]]
    for kind, each in (("plain", both), ("dual", dual)):
        result, wanted = PROTOCOLS["umt"].both_directions(*each, relevant), CASE.spec["metrics"]
        for way, short in (("text_to_video", "img"), ("video_to_text", "txt")):
            ours = [result[way][f"R@{k}"] for k in (1, 5, 10)]
            theirs = [wanted[tag][kind][f"{short}_r{k}"] for k in (1, 5, 10)]
            np.testing.assert_allclose(ours, theirs, atol=0.006)


def test_scores_of_prompts_are_means_of_cosines():
    """A class is its 16 prompts; an option of a question has the logit of its cosine."""
    arrays = CASE.arrays
    scores = cosines(arrays["inputs/actions/vision"], arrays["inputs/actions/text"])
    close(scores.reshape(7, 16, -1).mean(axis=1), arrays["actions/sim_t2v"], 2e-6)
    video, text = (CHOICE.arrays[f"inputs/{name}"] for name in ("vision", "text"))
    logits = jnp.einsum("ve,voe->vo", unit(jnp.asarray(video)), unit(jnp.asarray(text)))
    odds = np.exp(np.asarray(logits) / CHOICE.config["temp"])
    close(odds / odds.sum(axis=1, keepdims=True), CHOICE.arrays["score"], 2e-5)


def test_prompts_are_cleaned_as_captions():
    for name, prompts in PROMPTS.spec["prompts"].items():
        templates = PROMPTS.config["templates"]
        assert [pre_text(template.format(name)) for template in templates] == prompts
