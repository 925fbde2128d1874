"""Multiple choice against the original, its scores and its accuracy; and going on."""

import dataclasses
import functools

import golden
import jax
import numpy as np
import pytest
import row_batches
import umt_case
from umt_case import close

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.configs import msrvtt_mc_b16
from tokmerge_jax.evaluation import multiple_choice, outcomes
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.system import MultipleChoice
from tokmerge_jax.types import Choices, UserError

CASE = golden.load("vidtldr-mc")
OPTIONS = CASE.config["options"]
IDS = CASE.arrays["inputs/text_ids"].reshape(-1, OPTIONS, CASE.arrays["inputs/text_ids"].shape[1])


@pytest.fixture(scope="module")
def compiled():
    """The system, its functions compiled once for all tests, and its parameters."""
    system, params = umt_case.system_of(CASE)
    task = system.multiple_choice
    assert task
    assert task.video_memory
    choosing = MultipleChoice(
        task.tokenize,
        jax.jit(task.encode_video),
        jax.jit(task.encode_text),
        jax.jit(task.choose),
        jax.jit(task.video_memory),
    )
    return choosing, params, umt_case.videos(CASE, len(IDS))


def choose(compiled, folder, source=None, batch_size=4):
    choosing, params, video = compiled

    batches = functools.partial(row_batches.batches, np.asarray(video))
    model = evaluation.Model(params, parallel.make_mesh(1))
    store = evaluation.Store(folder, {"choices": "golden"})
    context = evaluation.Context(model, source or batches, store, Stopwatch())
    return multiple_choice.evaluate(context, choosing, (IDS, IDS != 0), batch_size)


def test_scores_and_accuracy(compiled, tmp_path):
    chosen = choose(compiled, tmp_path)
    close(chosen.match, CASE.arrays["match"])
    close(chosen.contrast, CASE.arrays["contrastive"])
    close(chosen.scores, CASE.arrays["score"])
    np.testing.assert_array_equal(chosen.scores.argmax(axis=1), CASE.arrays["prediction"])
    videos = tuple(map(str, range(len(IDS))))
    asked = Choices(videos, (("x",) * OPTIONS,) * len(IDS), tuple(CASE.config["answers"]))
    outcome = outcomes.choices(chosen, asked, msrvtt_mc_b16.get_config(), [])
    assert outcome.headline == ("accuracy", CASE.spec["expected"]["accuracy"])
    again = choose(compiled, tmp_path, lambda *_: pytest.fail("all is known"))
    np.testing.assert_array_equal(again.scores, chosen.scores)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["match", "contrast"])
def test_what_is_no_number_is_not_chosen(compiled, tmp_path, part):
    choosing, params, video = compiled

    def broken(*arrays):
        probabilities = choosing.choose(*arrays)
        return {**probabilities, part: probabilities[part].at[2, 1].set(np.nan)}

    with pytest.raises(UserError, match=rf"probability \({part}\) of video 2 and option 1 is nan"):
        choose((dataclasses.replace(choosing, choose=broken), params, video), tmp_path)
