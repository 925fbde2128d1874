"""tokmerge_jax.tasks.evaluation without a script: what an evaluation that goes on depends on."""

import dataclasses
import json
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import pytest
import tds_clip_case

import tokmerge_jax
from tokmerge_jax import data, runtime
from tokmerge_jax.data import loader
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.evaluation import Model
from tokmerge_jax.system import Recognition
from tokmerge_jax.tasks import evaluation as tasks
from tokmerge_jax.types import Actions, Choices, UserError

VIDEOS = ("a", "b", "c")
SIZES = {
    "vision.width": 64,
    "vision.depth": 1,
    "vision.heads": 1,
    "vision.patch_size": 16,
    "vision.image_size": 16,
    "side.width": 64,
    "classes": 4,
}


@dataclasses.dataclass(frozen=True)
class Drawn(data.Source):
    """Three videos of six views whose logits are their pixels; counts how often they are read."""

    read: list[Sequence[int] | None]
    faults: Sequence[int] = ()

    def batches(self, transform, batch_size, rows=None, refuse=loader.stop):
        del transform, batch_size
        self.read.append(rows)
        for row in rows or ():
            if row in self.faults:
                refuse(row, f"{VIDEOS[row]}: cannot be decoded")
                continue
            video = np.zeros((1, 6, 4), np.uint8)
            video[..., row] = 9
            yield {"video": video, "index": np.array([row]), "mask": np.array([True])}


def logits(video):
    return jnp.asarray(video, jnp.float32)


@pytest.fixture
def system():
    one = {"data.dataset": "ssv2", "eval.batch_size": 1, "mesh.data": 1}
    system = tokmerge_jax.build(tds_clip_case.config_of(SIZES).override(one))
    return dataclasses.replace(system, recognition=Recognition(lambda params, video: logits(video)))


def skipping(system):
    """The system, whose configuration leaves broken videos out."""
    return dataclasses.replace(system, config=system.config.override({"data.on_broken": "skip"}))


def source_of(system, folder, asked):
    paths = tuple(str(folder / name) for name in asked.videos)
    for name in VIDEOS:
        (folder / name).touch()
    return Drawn(asked, (), paths, decoder(system.config.data, 1, ""), 0, [])


def test_other_names_or_labels_of_actions_leave_what_is_known(system, tmp_path):
    """Nothing is recognised again; the numbers and names are those of now."""
    first = source_of(system, tmp_path, Actions(VIDEOS, (0, 1, 3), tuple("0123")))
    later = source_of(system, tmp_path, Actions(VIDEOS, (0, 1, 2), ("up", "down", "on", "off")))
    results = [
        tasks.evaluate("run", system, {}, source, tmp_path / "out") for source in (first, later)
    ]
    assert (first.read, later.read) == ([[0, 1, 2]], [])
    assert [numbers["scores"]["all"]["top-1"] for numbers in results] == [66.67, 100.0]
    assert list(results[0]["classes"]) == ["0", "1", "3"]
    assert list(results[1]["classes"]) == ["up", "down", "on"]
    known = [tasks.fingerprint(system, {}, source) for source in (first, later)]
    assert known[0] != known[1]  # what a search remembers are numbers, which labels change


def test_seconds_are_those_of_all_sittings(system, tmp_path):
    """Seconds add up over stopped and resumed runs with the same rules only."""
    source = source_of(system, tmp_path, Actions(VIDEOS, (0, 1, 3), tuple("0123")))
    first = tasks.evaluate("run", system, {}, source, tmp_path / "out")["seconds"]
    assert first["classify videos"] > 0
    assert tasks.evaluate("run", system, {}, source, tmp_path / "out")["seconds"] == first


def test_weights_are_known_by_their_numbers(system, tmp_path):
    """Wherever they lie and in whatever order, as for other commands, which place none."""
    params = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.float32(7)}
    source = source_of(system, tmp_path, Actions(VIDEOS, (0, 1, 3), tuple("0123")))
    tasks.evaluate("run", system, params, source, tmp_path / "out")
    (known,) = (tmp_path / "out" / "cache").glob("*/facts.json")
    numbers = np.array([0, 3, 1, 4, 2, 5, 7], np.float32)
    assert json.loads(known.read_text())["checkpoint"] == runtime.digest([numbers])


def test_only_an_evaluation_that_begins_compiles_ahead(system, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(Model, "begin", lambda model, function, rows: begun.append(rows.shape))
    source = source_of(system, tmp_path, Actions(VIDEOS, (0, 1, 3), tuple("0123")))
    for _ in range(3):
        tasks.evaluate("run", system, {}, source, tmp_path / "out")
        assert [shape[0] for shape in begun] == [1]
        (tmp_path / "out" / "results.json").unlink(missing_ok=True)  # its scores are still there


def test_a_model_that_tells_nothing_is_reported(system, tmp_path, capsys):
    nothing = Recognition(lambda params, video: 0 * logits(video))
    even = dataclasses.replace(system, recognition=nothing)
    source = source_of(even, tmp_path, Actions(VIDEOS, (0, 1, 3), tuple("0123")))
    results = tasks.evaluate("run", even, {}, source, tmp_path / "out")
    assert results["equal_scores"] == {"all": {"right_and_wrong": 3, "all": 3}}
    assert "all: all scores of 3 queries are equal" in capsys.readouterr().err


def test_other_videos_are_recognised(system, tmp_path):
    facts = [
        tasks.facts(system, source_of(system, tmp_path, Actions(videos, (0,), ("0",))), {}, ())
        for videos in (("a",), ("b",))
    ]
    assert facts[0]["gallery"] != facts[1]["gallery"]


def test_other_tasks_depend_on_all_that_is_asked(system, tmp_path):
    """As they ever did: what they have computed is found again."""
    asked = Choices(("a",), (("left", "right"),), (1,))
    gallery = tasks.facts(system, source_of(system, tmp_path, asked), {}, ())["gallery"]
    whole = {"videos": ["a"], "options": [["left", "right"]], "answers": [1]}
    assert gallery == runtime.fingerprint(whole)


def test_videos_that_cannot_be_decoded_are_left_out(system, tmp_path, capsys):
    """The numbers are those of a data set without them; the next run tries them again."""
    source = source_of(system, tmp_path, Actions(VIDEOS, (0, 2, 2), tuple("0123")))
    system = skipping(system)
    broken = dataclasses.replace(source, faults=(1,), read=[])
    results = tasks.evaluate("run", system, {}, broken, tmp_path / "out")
    assert "b: cannot be decoded; left out" in capsys.readouterr().err
    assert results["protocol"]["left_out"] == ["b"]
    assert (results["protocol"]["videos"], results["scores"]["all"]["count"]) == (2, 2)
    assert results["scores"]["all"]["top-1"] == 100
    assert list(results["classes"]) == ["0", "2"]
    with np.load(tmp_path / "out" / "scores.npz") as arrays:
        assert arrays["labels"].tolist() == [0, 2]
        assert arrays["scores"].argmax(axis=1).tolist() == [0, 2]
    whole = tasks.evaluate("run", system, {}, source, tmp_path / "out")
    assert source.read == [[1]]
    assert (whole["protocol"]["left_out"], whole["scores"]["all"]["count"]) == ([], 3)
    nothing = dataclasses.replace(source, faults=(0, 1, 2))
    with pytest.raises(UserError, match="no video can be decoded; the first fault: a: cannot be"):
        tasks.evaluate("run", system, {}, nothing, tmp_path / "none")


def test_a_video_that_cannot_be_decoded_stops_the_run(system, tmp_path):
    source = source_of(system, tmp_path, Actions(VIDEOS, (0, 2, 2), tuple("0123")))
    broken = dataclasses.replace(source, faults=(1,))
    with pytest.raises(UserError, match=r"b: cannot be decoded; then run the same command .*=skip"):
        tasks.evaluate("run", system, {}, broken, tmp_path / "out")
    tasks.evaluate("run", system, {}, source, tmp_path / "out")
    assert source.read == [[0, 1, 2], [1, 2]]  # what comes before is kept


def test_missing_videos_are_left_out(system, tmp_path):
    source = source_of(system, tmp_path, Actions(VIDEOS, (0, 2, 2), tuple("0123")))
    for name in ("b", "c"):
        (tmp_path / name).unlink()
    system = skipping(system)
    gone = dataclasses.replace(source, faults=(1, 2))
    results = tasks.evaluate("run", system, {}, gone, tmp_path / "out")
    assert results["protocol"]["left_out"] == ["b", "c"]


def test_only_videos_whose_files_have_changed_are_recognised_again(system, tmp_path):
    source = source_of(system, tmp_path, Actions(VIDEOS, (0, 2, 2), tuple("0123")))
    first = tasks.evaluate("run", system, {}, source, tmp_path / "out")
    (tmp_path / "b").write_text("mended")
    again = tasks.evaluate("run", system, {}, source, tmp_path / "out")
    assert source.read == [[0, 1, 2], [1]]
    assert again["scores"] == first["scores"]
