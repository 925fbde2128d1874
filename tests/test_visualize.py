"""Pictures of merging against arrays written by hand."""

import golden
import numpy as np
import pytest
import recipe
from matplotlib.figure import Figure

from tokmerge_jax import visualize
from tokmerge_jax.visualize import Merge

GROUPS = np.array([[[0, 0], [1, 2]], [[0, 3], [1, 2]]])  # two frames of 2 x 2 patches
COLOURS = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 1.0, 1.0]])


def frames(values, zoom):
    """Grey frames [T,H,W,3] whose patches have these values."""
    grey = np.asarray(values, np.uint8).repeat(zoom, axis=1).repeat(zoom, axis=2)
    return np.stack([grey] * 3, axis=-1)


def test_merges_follow_the_tokens_through_two_layers():
    """Tokens (0 1)(2)(3) after the first layer, (0 1 3)(2) after the second."""
    trace = {
        "origin": [np.array([[0, 0, 2, 1]]), np.array([[0, 0, 1, 0]])],
        "saliency": [np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([[0.5, 0.6, 0.7]])],
    }
    first, second = visualize.merges(trace, 0, (1, 2, 2))
    np.testing.assert_array_equal(first.groups, [[[0, 0], [2, 1]]])
    np.testing.assert_array_equal(second.groups, [[[0, 0], [1, 0]]])
    assert (first.tokens, second.tokens) == (3, 2)
    np.testing.assert_array_equal(first.saliency, [[[0.1, 0.2], [0.3, 0.4]]])
    np.testing.assert_array_equal(second.saliency, [[[0.5, 0.5], [0.7, 0.6]]])


def test_merges_of_a_merger_without_saliency():
    trace = {"origin": [np.array([[0, 1], [1, 0]])], "saliency": []}
    (merge,) = visualize.merges(trace, 1, (2, 1, 1))
    np.testing.assert_array_equal(merge.groups, [[[1]], [[0]]])
    assert merge.saliency is None


def test_edges_lie_where_the_neighbour_is_another_group():
    labels = np.array([[[5, 5, 5, 5, 7], [5, 5, 5, 5, 7], [5, 5, 5, 5, 7], [5, 5, 5, 5, 7]]])
    inside = np.zeros((1, 4, 5), bool)
    inside[0, 1:3, 1:3] = True  # not at the frame's border, nor beside the sevens
    np.testing.assert_array_equal(visualize.group_edges(labels), ~inside)


def test_edges_do_not_see_other_frames():
    labels = np.stack([np.full((3, 3), 1), np.full((3, 3), 2)])
    assert not visualize.group_edges(labels)[:, 1, 1].any()


def test_a_group_has_its_mean_colour_over_all_frames_and_its_own_edge():
    clip = frames([[[0, 30], [7, 9]], [[60, 200], [11, 21]]], zoom=3)
    picture = visualize.paint_groups(clip, GROUPS, COLOURS)
    means = picture[:, 1::3, 1::3]  # the middle of each patch of 3 x 3 pixels
    expected = np.array([[[30, 30], [9, 15]], [[30, 200], [9, 15]]])
    np.testing.assert_array_equal(means, np.stack([expected] * 3, axis=-1))
    np.testing.assert_array_equal(picture[:, ::3, ::3], 255 * COLOURS[GROUPS])  # corners


def test_pieces_of_one_group_that_touch_share_no_edge():
    clip = frames(np.full((1, 1, 2), 100), zoom=3)
    picture = visualize.paint_groups(clip, np.zeros((1, 1, 2), int), COLOURS[:1])
    np.testing.assert_array_equal(picture[0, 1, 1:5], np.full((4, 3), 100))


def test_groups_need_not_be_numbered_without_gaps():
    clip = frames([[[10, 20]]], zoom=3)
    picture = visualize.paint_groups(clip, np.array([[[1, 3]]]), COLOURS)
    np.testing.assert_array_equal(picture[0, 0, [0, 5]], 255 * COLOURS[[1, 3]])


def test_hues_of_neighbours_differ():
    picture = visualize.paint_groups(frames([[[0, 0, 0]]], zoom=3), np.array([[[0, 1, 2]]]))
    colours = picture[0, 0, ::3].astype(int)
    assert np.abs(colours[:-1] - colours[1:]).max(axis=1).min() > 100
    assert (colours.max(axis=1) == 255).all()


def test_saliency_is_bright_where_it_is_one():
    clip = frames(np.full((1, 1, 2), 100), zoom=2)
    picture = visualize.paint_saliency(clip, np.array([[[0.0, 1.0]]])).astype(int)
    dark, bright = picture[0, 0, 0], picture[0, 0, -1]
    np.testing.assert_allclose(dark, 40, atol=3)  # 0.4 of the grey, black heat
    assert (bright > 120).all()
    np.testing.assert_array_equal(picture[0, :, :2], np.broadcast_to(dark, (2, 2, 3)))


def test_background_is_dimmed():
    clip = frames(np.full((1, 1, 2), 100), zoom=2)
    picture = visualize.dim(clip, np.array([[[True, False]]]))
    np.testing.assert_array_equal(picture[0, 0, :, 0], [35, 35, 100, 100])


@pytest.mark.parametrize("saliency", [None, np.array([[[0.0, 1], [1, 1]], [[0.5, 1], [1, 0]]])])
def test_figure_has_a_row_for_each_kind_of_picture(saliency, tmp_path):
    clip = frames([[[0, 30], [7, 9]], [[60, 200], [11, 21]]], zoom=4)
    merge = Merge(GROUPS, saliency)
    drawn = visualize.figure([clip, clip], [[merge], [merge]], ["a red ball", "a blue box"])
    assert isinstance(drawn, Figure)
    titles = [part.get_suptitle() for part in drawn.subfigs]
    assert titles == ["a red ball", "a blue box"]
    labels = [axis.get_ylabel() for axis in drawn.subfigs[0].axes if axis.get_ylabel()]
    middle = [] if saliency is None else ["saliency"]
    assert labels == ["frames", *middle, "8 tokens\nmerged to 4"]
    assert len(drawn.axes) == 2 * 2 * len(labels)  # two clips of two frames
    drawn.savefig(tmp_path / "merging.png")
    assert (tmp_path / "merging.png").read_bytes().startswith(b"\x89PNG")


def test_figure_shows_evenly_spaced_frames():
    clip = frames(np.arange(9).reshape(9, 1, 1) * 20, zoom=4)
    merge = Merge(np.arange(9).reshape(9, 1, 1))
    drawn = visualize.figure([clip], [[merge]], ["nine frames"], columns=3)
    shown = [axis.images[0].get_array() for axis in drawn.axes[:3]]
    assert [int(np.asarray(image)[0, 0, 0]) for image in shown] == [0, 80, 160]


def test_a_picture_of_tome():
    """Where its edges are and what its groups' mean colours are."""
    case = golden.load("tome-picture")
    shape = case.config["H"], case.config["W"], 3
    image = np.clip(recipe.video(shape, case.spec["seed"]) * 50 + 128, 0, 255).astype(np.uint8)
    colours = np.array(case.config["edge_colours"])
    groups = case.arrays["inputs/groups"][None]
    ours = visualize.paint_groups(image[None], groups, colours)[0].astype(int)
    assert np.abs(ours - case.arrays["picture"]).max() <= 1
