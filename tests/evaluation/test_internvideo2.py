"""InternVideo2's evaluation: cosines, reweighted scores, recalls and prompts, by the original's."""

import functools

import golden
import jax.numpy as jnp
import numpy as np
import pytest
import row_batches
import small_gallery
from clip_case import close

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.configs import internvideo2_msrvtt_b14
from tokmerge_jax.data.text.tokenizers import pre_text
from tokmerge_jax.evaluation import multiple_choice, outcomes
from tokmerge_jax.evaluation.metrics import PROTOCOLS
from tokmerge_jax.evaluation.scores import dual_softmax
from tokmerge_jax.layers.functional import unit
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.system import Retrieval
from tokmerge_jax.systems import contrastive
from tokmerge_jax.types import Choices

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
    """A class is its 16 prompts."""
    arrays = CASE.arrays
    scores = cosines(arrays["inputs/actions/vision"], arrays["inputs/actions/text"])
    close(scores.reshape(7, 16, -1).mean(axis=1), arrays["actions/sim_t2v"], 2e-6)


def test_an_option_is_chosen_by_its_cosine(tmp_path):
    """Without a matching head; each option's id is its row in the table of embeddings."""
    video, text = (CHOICE.arrays[f"inputs/{name}"] for name in ("vision", "text"))
    ids = np.arange(text[..., 0].size, dtype=np.int32).reshape(*text.shape[:2], 1)
    retrieval = Retrieval(
        small_gallery.RETRIEVAL.tokenize,
        lambda params, video: {"embedding": unit(jnp.asarray(video))[:, None]},
        lambda params, text_ids, text_mask: {"embedding": unit(params["text"][text_ids[:, 0]])},
    )
    choosing = contrastive.multiple_choice(retrieval, lambda params: params["temperature"])
    params = {
        "text": text.reshape(-1, text.shape[2]),
        "temperature": np.float32(CHOICE.config["temp"]),
    }
    context = evaluation.Context(
        evaluation.Model(params, parallel.make_mesh(1)),
        functools.partial(row_batches.batches, video),
        evaluation.Store(tmp_path, {"choices": "golden"}),
        Stopwatch(),
    )
    chosen = multiple_choice.evaluate(context, choosing, (ids, ids >= 0), 2)
    close(chosen.scores, CHOICE.arrays["score"], 2e-5)
    answers = tuple(CHOICE.arrays["answer"].tolist())
    asked = Choices(("v",) * len(ids), (("x",) * ids.shape[1],) * len(ids), answers)
    outcome = outcomes.choices(chosen, asked, internvideo2_msrvtt_b14.get_config(), [])
    assert outcome.headline == ("accuracy", 100.0)
    assert outcome.protocol["score"] == "contrast"
    assert [*outcome.arrays] == ["contrast"]


def test_prompts_are_cleaned_as_captions():
    for name, prompts in PROMPTS.spec["prompts"].items():
        templates = PROMPTS.config["templates"]
        assert [pre_text(template.format(name)) for template in templates] == prompts
