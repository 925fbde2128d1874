"""Pictures of merged frames and patches, against TESTA's own and arrays written by hand."""

import random

import golden
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tokmerge_jax import visualize
from tokmerge_jax.visualize import Merge, patches

FRAMES = np.array([1, 0, 1, 2, 1])  # which of three frames holds each of five
GROUPS = np.array([[2, 3], [0, 1], [3, 2], [4, 5], [2, 2]]).reshape(5, 1, 2)
"""Two tokens in each frame that is left; frames 0, 2 and 4 became one."""


@pytest.fixture(scope="module")
def drawn():
    clip = np.repeat(np.arange(5, dtype=np.uint8)[:, None, None, None] * 40, 112, axis=1)
    clip = np.broadcast_to(clip.repeat(224, axis=2), (5, 112, 224, 3))
    merge = Merge("last", GROUPS, np.ones(GROUPS.shape), frames=FRAMES)
    return visualize.film(clip, merge, "a clip")


def shown(part):
    return [axis for axis in part.axes if axis.images]


def edge(axis):
    colours = {to_rgb(spine.get_edgecolor()) for spine in axis.spines.values()}
    assert len(colours) == 1
    return colours.pop()


def test_all_frames_are_shown_and_told_what_they_merged_with(drawn):
    assert isinstance(drawn, Figure)
    above, below = drawn.subfigs
    titles = [axis.get_title() for axis in shown(above)]
    assert titles == ["1 with 3, 5", "2", "3 with 1, 5", "4", "5 with 1, 3"]
    assert [axis.get_title() for axis in shown(below)] == ["1, 3, 5", "2", "4"]
    assert above.get_suptitle().startswith("5 frames merged to 3")
    assert below.get_suptitle() == "3 frames of 2 tokens each"
    middles = [int(np.asarray(axis.images[0].get_array())[50, 50, 0]) for axis in shown(above)]
    assert middles == [0, 40, 80, 120, 160]


def test_frames_of_one_group_have_one_colour(drawn):
    above, below = drawn.subfigs
    first, second, third, fourth, fifth = map(edge, shown(above))
    assert first == third == fifth != second == fourth
    assert [edge(axis) for axis in shown(below)] == [first, second, second]


def test_what_is_left_is_filled_by_mean_colours_over_all_frames_of_a_token(drawn):
    left, *_ = (np.asarray(axis.images[0].get_array()) for axis in shown(drawn.subfigs[1]))
    # Token 2: left half of frame 0, right half of frame 2, both of frame 4; token 3: the others.
    assert left[50, 50, 0] == (0 + 80 + 2 * 160) // 4
    assert left[50, 350, 0] == (0 + 80) // 2


def test_long_groups_are_told_in_one_line():
    merge = Merge("", np.zeros((20, 1, 1), int), np.ones((20, 1, 1)), frames=np.zeros(20, int))
    drawn = visualize.film(np.zeros((20, 16, 16, 3), np.uint8), merge, "")
    above, below = drawn.subfigs
    assert (len(above.axes), len(shown(above)), len(shown(below))) == (24, 20, 1)  # three lines
    titles = [axis.get_title() for part in drawn.subfigs for axis in part.axes]
    assert max(map(len, titles)) <= 22
    assert titles[0].endswith("...")


def test_frames_are_read_from_a_trace():
    trace = {"origin": [np.array([[0, 1, 0, 1]])], "saliency": [], "size": [np.full((1, 2), 2.0)]}
    (merge,) = visualize.merges(trace | {"frames": [np.array([[0, 0]])]}, 0, (2, 1, 2), ["block 0"])
    np.testing.assert_array_equal(merge.frames, [0, 0])
    assert visualize.merges(trace, 0, (2, 1, 2), ["block 0"])[0].frames is None


def test_a_picture_of_testa(monkeypatch):
    """Groups from its source matrix; where their edges are, and what is inside."""
    case = golden.load("testa-vis")
    arrays, grid = case.arrays, case.config["grid"]
    groups = arrays["in/source"][0, :, 1:].argmax(axis=0)  # the class token's column is left out
    np.testing.assert_array_equal(groups, arrays["groups"][0])
    groups = groups.reshape(1, grid, grid)
    random.seed(0)
    colours = np.array([[random.random() for _ in range(3)] for _ in arrays["cmap"]])
    np.testing.assert_allclose(colours, arrays["cmap"], atol=1e-6)
    image = arrays["in/image"][None].astype(np.uint8)
    monkeypatch.setattr(patches, "group_colours", colours.__getitem__)
    ours = patches.paint_groups(image, groups)[0].astype(int)
    assert np.abs(ours - arrays["vis"]).max() <= 1
    labels = groups.repeat(16, axis=1).repeat(16, axis=2)
    inside = ~patches.group_edges(labels)[0]
    for group in np.unique(groups):
        mean = 255 * arrays["colors"][group]
        computed = ours[inside & (labels[0] == group)]
        np.testing.assert_allclose(computed, np.broadcast_to(mean, computed.shape), atol=1)
    overlay = np.where(inside[..., None], image[0], 255 * colours[labels[0]])
    assert np.abs(overlay.astype(int) - arrays["overlay"]).max() <= 1
