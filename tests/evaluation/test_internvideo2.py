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
from tokmerge_jax.data.text import prompts
from tokmerge_jax.data.text.tokenizers import pre_text
from tokmerge_jax.evaluation import actions, multiple_choice, outcomes, zero_shot
from tokmerge_jax.evaluation.metrics import PROTOCOLS
from tokmerge_jax.evaluation.scores import dual_softmax
from tokmerge_jax.layers.functional import unit
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.system import Retrieval, ZeroShot
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


RETRIEVAL = Retrieval(
    small_gallery.RETRIEVAL.tokenize,
    lambda params, video: {"embedding": unit(jnp.asarray(video))[:, None]},
    lambda params, text_ids, text_mask: {"embedding": unit(params["text"][text_ids[:, 0]])},
)
"""Videos are their embeddings; the id of a text is its row in the table of embeddings."""


def opened(folder, video, text):
    """The context of given features, and the ids [...,1] of texts [...,E]."""
    params = {
        "text": text.reshape(-1, text.shape[-1]),
        "temperature": np.float32(CHOICE.config["temp"]),
    }
    context = evaluation.Context(
        evaluation.Model(params, parallel.make_mesh(1)),
        functools.partial(row_batches.batches, video),
        evaluation.Store(folder, {"features": "golden"}),
        Stopwatch(),
    )
    ids = np.arange(text[..., 0].size, dtype=np.int32)
    return context, ids.reshape(*text.shape[:-1], 1)


@pytest.mark.parametrize("unit_actions", [False, True])
def test_actions_by_prompts(tmp_path, unit_actions):
    """The mean of the cosines of 16 prompts, by the original; or the cosine with their mean."""
    video, text = (CASE.arrays[f"inputs/actions/{name}"] for name in ("vision", "text"))
    context, ids = opened(tmp_path, video, text.reshape(7, 16, -1))
    videos = tuple(map(str, range(len(video))))
    by_prompts = ZeroShot(RETRIEVAL, prompts.INTERNVIDEO2, unit_actions)
    scored = zero_shot.evaluate(context, by_prompts, (ids, ids >= 0), videos, 5)
    expected = CASE.arrays["actions/sim_v2t"]
    if unit_actions:
        mean = unit(jnp.asarray(text)).reshape(7, 16, -1).mean(axis=1)
        expected = expected / np.linalg.norm(mean, axis=1)
    odds = np.exp(100 * expected)
    close(scored.scores, odds / odds.sum(axis=1, keepdims=True), 2e-4)
    metrics = actions.summary(scored.scores, np.array(CASE.config["actions"]["label"]))
    wanted = CASE.spec["metrics"]["actions"]["plain"]
    assert unit_actions or metrics["top-1"] == wanted["txt_r1"]
    assert metrics["top-5"] == wanted["txt_r5"]


def test_an_option_is_chosen_by_its_cosine(tmp_path):
    """Without a matching head."""
    context, ids = opened(tmp_path, *(CHOICE.arrays[f"inputs/{x}"] for x in ("vision", "text")))
    choosing = contrastive.multiple_choice(RETRIEVAL, lambda params: params["temperature"])
    chosen = multiple_choice.evaluate(context, choosing, (ids, ids >= 0), 2)
    close(chosen.scores, CHOICE.arrays["score"], 2e-5)
    answers = tuple(CHOICE.arrays["answer"].tolist())
    asked = Choices(("v",) * len(ids), (("x",) * ids.shape[1],) * len(ids), answers)
    outcome = outcomes.choices(chosen, asked, internvideo2_msrvtt_b14.get_config(), [])
    assert outcome.headline == ("accuracy", 100.0)
    assert outcome.protocol["score"] == "contrast"
    assert [*outcome.arrays] == ["contrast"]


def test_prompts_are_cleaned_as_captions():
    assert list(prompts.INTERNVIDEO2) == PROMPTS.config["templates"]
    for name, expected in PROMPTS.spec["prompts"].items():
        assert [pre_text(text) for text in prompts.about([name], prompts.INTERNVIDEO2)] == expected


def test_prompts_of_kinetics():
    """Four subjects in seven forms; names stay together."""
    assert len({*prompts.KINETICS}) == 28
    texts = prompts.about(["a", "b"], prompts.KINETICS)
    assert texts[:2] == ["a photo of a.", "a photo of a person a."]
    assert texts[27:30] == [
        "a demonstration of a person practicing a.",
        "a photo of b.",
        "a photo of a person b.",
    ]
    assert "a video of a person doing b." in texts[28:]
