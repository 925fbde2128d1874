"""Actions in one's own videos by prompts: their names, and probabilities as the definition says."""

import json

import clips
import jax
import numpy as np
import pytest
import script

import tokmerge_jax
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.own_videos import actions
from tokmerge_jax.system import ZeroShot
from tokmerge_jax.types import UserError

NAMES = ["a red square moves up", "a blue cross", "nothing"]


def build(**data):
    config = {f"data.{key}": value for key, value in data.items()}
    return tokmerge_jax.load("demo_clip", {"data.workers": 0, **config})


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture
def labels(tmp_path):
    file = tmp_path / "actions.txt"
    file.write_text("\n".join(["", f"  {NAMES[0]} ", *NAMES[1:], ""]))
    return file


def test_a_file_has_a_name_on_each_line(model, labels, tmp_path):
    assert [*actions.names_of(model.system, str(labels))] == NAMES
    labels.write_text("jump\nrun\njump\n")
    with pytest.raises(UserError, match=r"--labels=.*actions\.txt names 'jump' 2 times; leave"):
        actions.names_of(model.system, str(labels))
    with pytest.raises(UserError, match=r"none\.txt: cannot be read"):
        actions.names_of(model.system, str(tmp_path / "none.txt"))


def test_without_a_file_names_are_those_of_the_prepared_data_set(tmp_path):
    system = build(dataset="k400", folder=str(tmp_path)).system
    stored = video_text.labels_path(str(tmp_path), "k400")
    for numbers in (None, ["0", "1"]):
        if numbers:
            stored.write_text(json.dumps(numbers))
        with pytest.raises(UserError, match=r"='k400' has none in .*, one a line: --labels=FILE"):
            actions.names_of(system)
    stored.write_text(json.dumps(NAMES))
    assert [*actions.names_of(system)] == NAMES


def test_a_trained_system_takes_no_other_names(labels):
    system = tokmerge_jax.load("demo_tdsclip").system
    with pytest.raises(UserError, match=r"'tds_clip' tells apart what .* --config\.data\.labels="):
        actions.names_of(system, str(labels))


def test_a_system_without_actions_is_named(labels):
    system = tokmerge_jax.load("demo").system
    with pytest.raises(UserError, match="'vid_tldr' does not support action recognition; use"):
        actions.names_of(system, str(labels))


def test_names_in_python(model):
    nothing = np.zeros((1, 8, 96, 96, 3), np.uint8)
    with pytest.raises(UserError, match=r"^\(\) is not a list of actions"):
        model.classify(nothing)
    with pytest.raises(UserError, match="'' holds no word"):
        model.classify(nothing, ["jump", ""])
    with pytest.raises(UserError, match=r"trained on; call classify\(frames\) without names"):
        tokmerge_jax.load("demo_tdsclip").classify(nothing, ["jump"])


@pytest.mark.slow
def test_videos_are_told_as_the_definition_says(model, labels, tmp_path):
    """By the command and in Python: the softmax of 100 times the cosines with the mean prompts."""
    paths = [clips.write(tmp_path / f"{seed}.mp4", clips.draw(16, 96, 96, seed)) for seed in (0, 1)]
    frames, by_prompts = model.read(paths), model.system.task(ZeroShot)
    encode = jax.jit(by_prompts.retrieval.encode_video)
    video = encode(model.params, frames)["embedding"].mean(axis=1)
    vectors = []
    for name in NAMES:
        texts = [template.replace("{}", name) for template in by_prompts.templates]
        mean = model.encode_text(texts)["embedding"].mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean) if by_prompts.unit_actions else mean)
    odds = np.exp(100.0 * np.asarray(video) @ np.stack(vectors).T.astype(np.float64))
    expected = odds / odds.sum(axis=1, keepdims=True)
    assert 0.001 < expected.min() < expected.max() < 0.999
    np.testing.assert_allclose(model.classify(frames, NAMES), expected, rtol=1e-3)
    reversed_names = model.classify(frames, NAMES[::-1])
    np.testing.assert_allclose(reversed_names, expected[:, ::-1], rtol=1e-3)
    options = [f"--labels={labels}", f"--output={tmp_path}/found.json", "--config.data.workers=0"]
    done = script.run("classify", "--config=configs/demo_clip.py", *options, *paths, COLUMNS="300")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["prompts"] == [*by_prompts.templates]
    for row, path, wanted in zip(found["videos"], paths, expected, strict=True):
        assert row["video"] == str(path)
        told = {action["name"]: action["probability"] for action in row["actions"]}
        np.testing.assert_allclose([told[name] for name in NAMES], wanted, rtol=1e-3)
        best = NAMES[int(wanted.argmax())]
        assert row["actions"][0]["name"] == best
        (line,) = (line for line in done.stdout.splitlines() if f" {path} " in line)
        assert best in line
