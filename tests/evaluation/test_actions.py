"""Action recognition: what is counted, against the original and by hand; and going on."""

import json

import golden
import numpy as np
import pytest
import row_batches

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.configs import tdsclip_ssv2_b16
from tokmerge_jax.evaluation import actions, outcomes
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.system import Recognition
from tokmerge_jax.types import Actions, UserError

ORIGINAL = golden.load("tdsclip-views")
VIDEOS, VIEWS, CLASSES = (ORIGINAL.config[name] for name in ("videos", "views", "classes"))
LABELS = ORIGINAL.arrays["inputs/labels"]
LOGITS = ORIGINAL.arrays["inputs/logits"].reshape(VIDEOS, VIEWS, CLASSES)


def test_scores_of_the_original():
    scores = actions.view_scores(LOGITS)
    np.testing.assert_allclose(scores, ORIGINAL.arrays["scores"], rtol=1e-5, atol=1e-7)
    results = actions.summary(scores, LABELS)
    assert abs(results["top-1"] - float(ORIGINAL.arrays["top1"])) < 0.01
    assert abs(results["top-5"] - float(ORIGINAL.arrays["top5"])) < 0.01


def test_probabilities_are_averaged_not_logits():
    sure, unsure = [0.0, 30.0], [2.0, 0.0]  # the mean of logits is for the second action as well
    scores = actions.view_scores(np.array([[sure, unsure, unsure]]))
    e = np.exp(-2)
    np.testing.assert_allclose(scores[0], [2 / 3 / (1 + e), 1 / 3 + 2 / 3 * e / (1 + e)], rtol=1e-6)
    assert scores.argmax() == 0
    assert actions.view_scores(np.full((1, 2, 4), 1e4, np.float32)).tolist() == [[0.25] * 4]


def test_places_by_hand():
    scores = np.array([[0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.3, 0.3, 0.4]])
    assert actions.places(scores, np.array([0, 0, 1])).tolist() == [2, 1, 2]


def test_confusion_and_classes_by_hand():
    scores = np.eye(4)[[0, 0, 2, 2, 1]]
    labels = np.array([0, 1, 2, 2, 2])
    matrix = actions.confusion(scores, labels)
    assert matrix.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(actions.by_class(matrix), [100, 0, 200 / 3, np.nan])
    assert actions.summary(scores, labels) == {"top-1": 60.0, "top-5": 100.0, "mean class": 55.56}


def test_pairs_that_were_confused_most_often():
    matrix = np.array([[9, 2, 0], [3, 0, 2], [0, 0, 0]])
    assert actions.confused(matrix, 20) == [(1, 0, 3), (0, 1, 2), (1, 2, 2)]
    assert actions.confused(matrix, 2) == [(1, 0, 3), (0, 1, 2)]
    assert actions.confused(np.diag([3, 4]), 20) == []


# The way of videos through a model, here one whose logits are the pixels of its views.

SEEN = np.random.default_rng(4).integers(0, 9, (5, VIEWS, 3)).astype(np.uint8)


def classify(params, video):
    return params["scale"] * video


def seen(size, rows):
    return row_batches.batches(SEEN, size, rows)


def recognise(folder, source=seen, devices=1, scale=0.5):
    mesh = parallel.make_mesh(devices)
    model = evaluation.Model({"scale": np.float32(scale)}, mesh)
    store = evaluation.Store(folder, {"videos": "small"})
    context = evaluation.Context(model, source, store, Stopwatch())
    sizes = {"views": VIEWS, "classes": SEEN.shape[2], "batch_size": 2}
    return actions.evaluate(context, Recognition(classify), "vwxyz", **sizes)


def stopped(size, rows):
    yield next(seen(size, rows))
    raise KeyboardInterrupt


@pytest.mark.parametrize("devices", [1, 4])
def test_videos_are_scored_and_padding_is_not(tmp_path, devices):
    scores = recognise(tmp_path, devices=devices)
    np.testing.assert_allclose(scores.scores, actions.view_scores(0.5 * SEEN), rtol=1e-6)
    again = recognise(tmp_path, lambda *_: pytest.fail("all is known"))
    np.testing.assert_array_equal(again.scores, scores.scores)
    assert again.clips_per_second == scores.clips_per_second is not None


def test_a_run_that_was_stopped_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        recognise(tmp_path, stopped)
    begun = []
    scores = recognise(tmp_path, lambda size, rows: begun.append(rows.tolist()) or seen(size, rows))
    assert begun == [[2, 3, 4]]
    np.testing.assert_allclose(scores.scores, actions.view_scores(0.5 * SEEN), rtol=1e-6)


def test_what_is_no_number_has_no_rank(tmp_path):
    says = r"the logit of video v and view 0 and action 0 is nan: .*config\.checkpoint"
    with pytest.raises(UserError, match=says):
        recognise(tmp_path, scale=np.nan)
    logits = np.array([[[0.1, 0.9]], [[-np.inf, 0.0]]])  # its softmax would be finite
    assert actions.view_scores(logits[:1], ["a.mp4"]).shape == (1, 2)
    with pytest.raises(UserError, match=r"logit of video b\.mp4 and view 0 and action 0 is -inf"):
        actions.view_scores(logits, ["a.mp4", "b.mp4"])
    with pytest.raises(UserError, match="score of video 1 and action 0 is inf"):
        actions.ActionScores(np.array([[0.1, 0.9], [np.inf, 0.0]], np.float32), None)


def test_findings():
    """Five videos of four actions, of which the last has none."""
    scores = np.eye(4, dtype=np.float32)[[0, 0, 2, 2, 1]]
    names = ("a", "b", "c", "d")
    asked = Actions(tuple("vwxyz"), (0, 1, 2, 2, 2), names)
    config = tdsclip_ssv2_b16.get_config().override({"data.wrap": False}).resolved()
    scored, rules = actions.ActionScores(scores, 7.5), actions.protocol(config.data)
    outcome = outcomes.actions(scored, asked, config, ["broken.mp4"], rules)
    assert outcome.headline == ("top-1", 60.0)
    all_ = {"top-1": 60.0, "top-5": 100.0, "mean class": 55.56, "count": 5}
    assert outcome.scores == {"all": all_}
    assert outcome.further["classes"] == {
        "a": {"accuracy": 100.0, "count": 1},
        "b": {"accuracy": 0.0, "count": 1},
        "c": {"accuracy": 66.67, "count": 3},
    }
    assert outcome.further["confused"] == [
        {"action": "b", "taken_for": "a", "count": 1},
        {"action": "c", "taken_for": "b", "count": 1},
    ]
    expected = {
        "dataset": "ssv2", "split": "val", "videos": 5, "actions": 4, "left_out": ["broken.mp4"],
        "clips": 2, "crops": 3, "frames": 8, "neighbours": 5, "wrap": False, "scale": [256, 320],
        "sampling": "segments", "score": "mean over views of softmax",
    }  # fmt: skip
    assert expected.items() <= outcome.protocol.items()
    assert json.loads(json.dumps(outcome.further)) == outcome.further
    assert outcome.arrays["confusion"].sum() == 5
    assert outcome.arrays["labels"].tolist() == [0, 1, 2, 2, 2]
