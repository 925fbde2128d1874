"""Results as files and tables: what is written, what is refused, what a reader sees."""

import io
import json
import re

import numpy as np
import pytest
import rich.console

import tokmerge_jax
from tokmerge_jax.configs import demo, tdsclip_ssv2_b16
from tokmerge_jax.evaluation import Scores, outcomes, report
from tokmerge_jax.evaluation.actions import ActionScores, protocol
from tokmerge_jax.types import Actions, Gallery, UserError

FACTS = {"checkpoint": "0123456789abcdef" * 4}
GALLERY = Gallery(("a.mp4", "b.mp4"), ("one", "two", "three"), ((0,), (1,), (1,)))
SCORES = Scores(
    similarity=np.array([[0.9, 0.1, 0.2], [0.3, 0.8, 0.1]], np.float32),
    text_to_video=np.array([[1, -100], [2, -1], [-100, 3]], np.float32),
    video_to_text=np.array([[-2, 5, -100], [1, -100, 4]], np.float32),
    clips_per_second=7.25,
)


@pytest.fixture(scope="module")
def system():
    return tokmerge_jax.build(demo.get_config())


@pytest.fixture(scope="module")
def results(system):
    outcome = outcomes.retrieval(SCORES, GALLERY, system.config, ["c.mp4"])
    return report.results("name", system, system.config, outcome, FACTS, {"re-rank": 1.234})


def text(table, width=120):
    shown = io.StringIO()
    rich.console.Console(file=shown, width=width).print(table)
    return shown.getvalue()


def test_numbers_are_those_of_the_scores(results):
    to_video, to_text = results["scores"]["text_to_video"], results["scores"]["video_to_text"]
    assert (to_video["R@1"], to_video["MedR"], to_video["MeanR"]) == (66.67, 1.0, 1.33)
    assert (to_text["R@1"], to_text["R@5"], to_text["MeanR"]) == (50.0, 100.0, 1.5)
    assert results["similarity_scores"]["text_to_video"]["R@1"] == 66.67
    assert results["similarity_scores"]["video_to_text"]["R@1"] == 100.0


def test_protocol_and_cost_stand_beside_them(results):
    protocol = results["protocol"]
    expected = {"dataset": "demo", "split": "test", "videos": 2, "texts": 3, "reranked": True}
    assert expected.items() <= protocol.items()
    assert protocol["left_out"] == ["c.mp4"]
    assert protocol["dual_softmax"] == 0
    assert results["gflop"] == 2 * results["gmac"]
    assert results["tokens"][0] == 288
    assert results["seconds"] == {"re-rank": 1.23}
    assert results["config"]["model"]["merger"]["name"] == "vid_tldr"
    assert results["versions"]["jax"]


def test_files_are_named_without_the_folders_of_a_machine(system):
    places = {"checkpoint": "/home/jane/weights/demo.pth", "output": "results/demo"}
    config = system.config.override({**places, "data.folder": "/home/jane/data"})
    outcome = outcomes.retrieval(SCORES, GALLERY, config, [])
    results = report.results("name", system, config, outcome, FACTS, {})
    assert "jane" not in json.dumps(results)
    assert results["checkpoint"] == {"name": "demo.pth", "digest": "0123456789abcdef"}
    kept = results["config"]
    assert (kept["checkpoint"], kept["data"]["folder"]) == ("demo.pth", "data")
    assert kept["output"] == "results/demo"
    assert kept["model"] == json.loads(json.dumps(config.model.to_dict()))


@pytest.mark.parametrize("counting", ["umt", "clip4clip"])
def test_queries_of_equal_scores_are_reported(system, counting):
    """CLIP4Clip finds all of them right; the results and a warning say why."""
    config = system.config.override({"eval": {"metrics": counting, "rerank": False}})
    even = np.full((2, 3), 0.5, np.float32)
    outcome = outcomes.retrieval(Scores(even, even.T, even, None), GALLERY, config, [])
    results = report.results("name", system, config, outcome, FACTS, {})
    if counting == "clip4clip":
        assert results["headline"]["value"] == 100.0
    assert results["equal_scores"] == {
        "text_to_video": {"right_and_wrong": 3, "all": 3},
        "video_to_text": {"right_and_wrong": 2, "all": 2},
    }
    warnings = report.warnings(results)
    assert [w.split(" queries")[0].split(" scores of ") for w in warnings] == [
        ["text-to-video: all", "3"],
        ["video-to-text: all", "2"],
    ]


def test_healthy_scores_bring_no_warning(results):
    assert results["equal_scores"] == {
        "text_to_video": {"right_and_wrong": 0, "all": 0},
        "video_to_text": {"right_and_wrong": 0, "all": 0},
    }
    assert report.warnings(results) == []


def test_written_and_read(results, tmp_path):
    report.write(tmp_path / "new", results, {"similarity": SCORES.similarity[:]})
    assert report.read(tmp_path / "new") == json.loads(json.dumps(results))
    assert report.read(tmp_path / "new/results.json")["name"] == "name"
    with np.load(tmp_path / "new/scores.npz") as arrays:
        np.testing.assert_array_equal(arrays["similarity"], SCORES.similarity)


def test_other_results_in_the_folder_are_named_before_they_go(results, tmp_path):
    assert report.replaced(tmp_path, results) == []
    report.write(tmp_path, results, {})
    assert report.replaced(tmp_path, results) == []  # the same again
    other = {**results, "fingerprint": "another"}
    (note,) = report.replaced(tmp_path, other)
    assert str(tmp_path) in note
    assert results["name"] in note
    assert results["protocol"]["dataset"] in note
    (note,) = report.replaced(tmp_path, {**results, "protocol": {"dataset": "other"}})
    assert results["protocol"]["dataset"] in note


def test_scores_of_a_large_gallery_are_not_written(system, tmp_path, monkeypatch):
    report.write(tmp_path, {}, {"similarity": np.eye(2)})  # of an earlier run
    monkeypatch.setattr(outcomes, "PAIRS", 5)
    outcome = outcomes.retrieval(SCORES, GALLERY, system.config, [])
    results = report.results("name", system, system.config, outcome, FACTS, {})
    report.write(tmp_path, results, outcome.arrays)
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]
    assert "pairs, so no scores.npz is written" in text(report.table(results))
    monkeypatch.setattr(outcomes, "PAIRS", 6)
    assert len(outcomes.retrieval(SCORES, GALLERY, system.config, []).arrays) == 3


def test_table_shows_them(results):
    shown = re.sub(" +", " ", text(report.table(results)))
    assert "text-to-video, re-ranked (32) │ 66.7" in shown
    assert "video-to-text, cosine │ 100.0" in shown
    assert "7.2 clips/s" in shown
    assert "1 broken videos left out" in shown


def test_runs_side_by_side(results):
    lighter = {**results, "gmac": results["gmac"] / 2, "clips_per_second": None}
    rows = text(report.compare({"full": results, "light": lighter})).splitlines()
    full, light = (next(row for row in rows if f"│{name} " in row) for name in ("full", "light"))
    assert "100%" in full
    assert "50%" in light
    assert light.rstrip(" │").endswith("-")
    scores = results["scores"]
    t2v, v2t = scores["text_to_video"]["R@1"], scores["video_to_text"]["R@1"]
    mean = 2 * t2v * v2t / (t2v + v2t)
    assert f"both R@1: full {mean:.1f}, light {mean:.1f}" in " ".join(rows)


def test_long_names_are_folded_and_no_number_is_cut(results):
    names = ["study/" + "tempme_with_more_merging_[of_frames]_" + end for end in ("1", "2")]
    table = text(report.compare({name: {**results} for name in names}), width=80)
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= 80
    cells = [line.split("│")[1:] for line in table.splitlines() if line.startswith("│")]
    assert "".join(first.strip() for first, *_ in cells) == "".join(names)
    assert [row[1].strip() for row in cells].count("66.7/100/100") == 2


def test_different_protocols_are_not_compared(results):
    other = {**results, "protocol": {**results["protocol"], "texts": 4}}
    with pytest.raises(UserError, match="a and b cannot be compared: their texts is 3 and 4"):
        report.compare({"a": results, "b": other})


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({"score": "a"}, {"score": "b"}, "their score is a and b"),
        ({"beams": 3}, {"beams": 1}, "their beams is 3 and 1"),
        ({"max_length": 10}, {"max_length": 9}, "their max_length is 10 and 9"),
        ({"min_length": 1}, {"min_length": 2}, "their min_length is 1 and 2"),
        ({"question_padding": "x"}, {"question_padding": "y"}, "question_padding is x and y"),
        ({"answering": "generate"}, {"answering": "rank"}, "their answering is generate and rank"),
        ({"decode_size": 224}, {"decode_size": 0}, "their decode_size is 224 and 0"),
    ],
)
def test_rules_of_answering_and_scaling_must_be_one(results, ours, theirs, message):
    runs = [{**results, "protocol": {**results["protocol"], **own}} for own in (ours, theirs)]
    with pytest.raises(UserError, match=message):
        report.check_same(dict(zip("ab", runs, strict=True)))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_what_is_no_result_is_told(tmp_path, content):
    with pytest.raises(UserError, match=r"holds no results\.json"):
        report.read(tmp_path)
    file = tmp_path / "results.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"results\.json is no"):
        report.read(file)


@pytest.fixture(scope="module")
def recognised(system):
    """Two videos of action b, one taken for a, and one of c, taken for a as well; demo's cost."""
    config = tdsclip_ssv2_b16.get_config().override({"data.wrap": False}).resolved()
    asked = Actions(("v", "w", "x"), (1, 1, 2), ("a", "b [left]", "c [right]"))
    scores = np.array([[0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.6, 0.3, 0.1]], np.float32)
    scored, rules = ActionScores(scores, 12.5), protocol(config.data)
    outcome = outcomes.actions(scored, asked, config, [], rules)
    return report.results("tds", system, config, outcome, FACTS, {})


def words(*tables):
    return re.sub("[ │┃\n]+", " ", "".join(map(text, tables)))


def test_actions_are_told(recognised):
    assert json.loads(json.dumps(recognised)) == recognised
    shown = words(report.table(recognised))
    for part in (
        " top-1 top-5 mean class count ",
        " all 33.3 100.0 25.0 3 ",
        "ssv2, split val: 3 videos, 3 actions",
        " GFLOP) per view 6 views per video (2 clips, 3 crops each) 12.5 views/s",
    ):
        assert part in shown


def test_mistakes_are_told(results, recognised):
    worst, confused = report.mistakes(recognised)
    assert " c [right] 0.0 1 b [left] 50.0 2 " in words(worst)
    assert " b [left] a 1 c [right] a 1 " in words(confused)
    assert report.mistakes(results) == []
    perfect = {**recognised, "classes": {"a": {"accuracy": 100.0, "count": 3}}, "confused": []}
    assert report.mistakes(perfect) == []


def test_actions_side_by_side(recognised):
    other = {**recognised["protocol"], "neighbours": 1}  # the network's, not the counting's
    shown = words(report.compare({"one": recognised, "other": {**recognised, "protocol": other}}))
    assert " run top-1 top-5 tokens GMAC share views/s " in shown
    assert "ssv2, val: 3 videos, 3 actions, 6 views per video (2 clips, 3 crops each)" in shown
    assert re.search(r" other 33\.3 100\.0 \d+ [\d.]+ 100% 12\.5 ", shown)


@pytest.mark.parametrize(
    ("key", "value"), [("clips", 4), ("crops", 1), ("wrap", True), ("scale", 256)]
)
def test_other_views_are_not_compared(recognised, key, value):
    other = {**recognised, "protocol": {**recognised["protocol"], key: value}}
    with pytest.raises(UserError, match=f"their {key} is .* and {value}"):
        report.check_same({"a": recognised, "b": other})
