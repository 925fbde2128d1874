"""The demo's moves: clips show the movements that their numbers name, in groups that move apart."""

import dataclasses
import json

import numpy as np
import pytest

from tokmerge_jax import data
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.data.datasets import demo, video_text
from tokmerge_jax.data.datasets.demo import moves, scene
from tokmerge_jax.data.datasets.demo.moves import COUNTS, GROUP, MIRRORED, NAMES
from tokmerge_jax.types import UserError

RED = scene.Event("large", "red", "circle", "left")


def groups(split):
    made = moves.stories(split)
    return [made[i : i + GROUP] for i in range(0, len(made), GROUP)]


def still(story):
    """A story's events without their directions, in any order."""
    return sorted(str(dataclasses.replace(event, direction="left")) for event in story)


def test_actions_are_named_after_their_movements():
    other = dataclasses.replace(RED, direction="up", shape="cross")
    assert NAMES[moves.action((RED,))] == "moves left"
    assert NAMES[moves.action((other,))] == "moves up"
    assert NAMES[moves.action((RED, other))] == "moves left, then up"
    assert NAMES[moves.action((other, RED))] == "moves up, then left"
    assert len(NAMES) == len(set(NAMES)) == 4 + 16


def test_mirror_images():
    named = {NAMES[number]: NAMES[other] for number, other in MIRRORED.items()}
    assert named["moves left"] == "moves right"
    assert named["moves up"] == "moves up"
    assert named["moves down, then right"] == "moves down, then left"
    assert named["moves right, then left"] == "moves left, then right"
    assert all(MIRRORED[other] == number for number, other in MIRRORED.items())


@pytest.mark.parametrize("split", COUNTS)
def test_only_movement_differs_in_a_group(split):
    made = groups(split)
    assert sum(map(len, made)) == COUNTS[split]
    for number, group in enumerate(made):
        assert {len(story) for story in group} == {1 + number % 2}
        assert len({moves.action(story) for story in group}) >= 2 + 2 * (number % 2 == 0)
        assert len(set(group)) == GROUP
        assert all(still(story) == still(group[0]) for story in group)


def test_no_story_is_one_of_the_retrieval_demos_test():
    shown = set(moves.stories("train"))
    assert shown.isdisjoint(demo.stories("test"))
    assert len(shown) > 1500


def test_a_group_is_one_scene():
    """Before anything has moved far, the clips of a group share their background."""
    story, other = moves.stories("test")[:2]
    first, second = (moves.draw(s, (2, i)) for i, s in enumerate((story, other)))
    assert first.shape == (scene.EVENT_FRAMES, scene.EDGE, scene.EDGE, 3)
    same = (first == second).all(axis=-1).mean()
    assert 0.6 < same < 1
    elsewhere = moves.draw(story, (2, GROUP))
    assert (first == elsewhere).all(axis=-1).mean() < 0.1


def test_a_clip_shows_its_movement(monkeypatch):
    monkeypatch.setattr(scene, "background", lambda rng, frames: np.zeros((frames, 96, 96, 3)))
    for direction, heading in scene.DIRECTIONS.items():
        story = (dataclasses.replace(RED, direction=direction),)
        seen = moves.draw(story, (2, 0))[..., 0] > 100
        centres = np.array([np.argwhere(frame).mean(axis=0) for frame in seen])
        travelled = centres[-1] - centres[0]
        assert (np.abs(travelled - np.dot(travelled, heading) * np.asarray(heading)) < 1).all()
        assert np.dot(travelled, heading) > 25


def test_stored_as_actions_with_names(tmp_path, monkeypatch):
    monkeypatch.setattr(moves, "COUNTS", {"test": 8})
    moves.stories.cache_clear()
    for number in range(8):
        path = tmp_path / demo.clip("demo_moves", "test", number).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-")  # not drawn again
    moves.prepare(str(tmp_path), ["test"], workers=1)
    moves.stories.cache_clear()
    read = video_text.read(str(tmp_path), "demo_moves", "test")
    records = [record for record in read if isinstance(record, video_text.Action)]
    assert [record.label for record in records[:4]] == [0, 1, 2, 3]
    assert [record.frames for record in records] == [8] * 4 + [16] * 4
    assert json.loads(video_text.labels_path(str(tmp_path), "demo_moves").read_text()) == [*NAMES]


def test_the_command_that_draws_a_missing_split_is_named(tmp_path):
    config = ActionData(dataset="demo_moves", split="val", folder=str(tmp_path), neighbours=1)
    with pytest.raises(UserError, match=r"prepare --dataset demo_moves --splits val --folder "):
        data.open_actions(config, 8)
