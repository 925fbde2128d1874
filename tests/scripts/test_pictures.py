"""Pictures of merges as a job: which files it writes, and what it refuses."""

from pathlib import Path

import av
import clips
import pytest
from matplotlib.figure import Figure

import tokmerge_jax
from tokmerge_jax.configs import demo, demo_testa
from tokmerge_jax.tasks import pictures
from tokmerge_jax.types import Actions, Choices, Gallery, UserError


@pytest.mark.slow
def test_a_video_is_drawn_with_its_frames(tmp_path):
    clips.write(tmp_path / "dog.mp4", clips.draw(32, 96, 96))
    system = tokmerge_jax.build(demo_testa.get_config())
    drawn = pictures.draw_videos(system, [tmp_path / "dog.mp4"], tmp_path)
    names = ["dog_merging.png", "dog_merging.mp4", "dog_merging.gif", "dog_frames.png"]
    assert drawn == [tmp_path / name for name in names]
    assert all(path.stat().st_size > 1000 for path in drawn)
    with av.open(str(drawn[1])) as film:
        assert sum(1 for _ in film.decode(video=0)) > 3  # the input, and each block that merges


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"checkpoint": ""}, "config.checkpoint is empty; name the weights"),
        ({"model.merger.name": "none"}, "merges no tokens, so there is nothing to draw"),
        ({"model.merger.name": "prune"}, "^dropped tokens cannot be followed; choose a config.mod"),
    ],
)
def test_what_cannot_be_traced_is_refused(changes, says):
    system = tokmerge_jax.build(demo.get_config().override({"checkpoint": "weights"} | changes))
    with pytest.raises(UserError, match=says):
        pictures.tracer(system)


def test_a_curve_without_a_name_is_refused():
    with pytest.raises(UserError, match="the curve's --output is empty; name its files"):
        pictures.draw_curve([], Path())


@pytest.mark.parametrize("name", ["curve", "curve.png", "curve.pdf"])
def test_a_curve_may_be_named_with_its_suffix(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pictures.report, "read", lambda _: {})
    monkeypatch.setattr(pictures.report, "check_same", lambda _: None)
    monkeypatch.setattr(pictures.curve, "draw", lambda _: Figure())
    drawn = pictures.draw_curve([Path("run")], tmp_path / name)
    assert drawn == [tmp_path / "curve.png", tmp_path / "curve.pdf"]
    assert sorted(tmp_path.iterdir()) == sorted(drawn)


def test_pictures_replace_neither_one_another_nor_a_video():
    folder = Path("results")
    with pytest.raises(UserError, match=r"b/dog.mp4 have the same name|a/dog.mp4 have the same"):
        pictures._targets([Path("a/dog.mp4"), Path("b/dog.mp4")], folder)
    videos = [Path("dog.mp4"), folder / "dog_merging.mp4"]
    with pytest.raises(UserError, match=r"dog.mp4 would replace results/dog_merging.mp4"):
        pictures._targets(videos, folder)


def test_titles():
    gallery = Gallery(("a", "b"), ("one", "two", "three"), ((0,), (1,), (1,)))
    assert [pictures._title(gallery, place) for place in (0, 1)] == ["one", "two"]
    assert pictures._title(Actions(("a", "b"), (1, 0), ("run", "jump")), 0) == "jump"
    assert pictures._title(Choices(("a", "b"), (("x",), ("y",)), (0, 0)), 1) == "b"
