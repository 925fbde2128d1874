"""Pictures of merging against arrays written by hand."""

import av
import golden
import numpy as np
import pytest
import recipe
from matplotlib.figure import Figure
from PIL import Image

from tokmerge_jax import visualize
from tokmerge_jax.visualize import Merge, Row, curve, patches

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
        "size": [np.array([[2.0, 1.0, 1.0]]), np.array([[3.0, 1.0]])],
        "start": [np.arange(4)],
    }
    first, second = visualize.merges(trace, 0, (1, 2, 2), ["layer 1", "layer 2"])
    assert (first.layer, second.layer) == ("layer 1", "layer 2")
    np.testing.assert_array_equal(first.groups, [[[0, 0], [2, 1]]])
    np.testing.assert_array_equal(second.groups, [[[0, 0], [1, 0]]])
    assert (first.tokens, second.tokens) == (3, 2)
    np.testing.assert_array_equal(first.saliency, [[[0.1, 0.2], [0.3, 0.4]]])
    np.testing.assert_array_equal(second.saliency, [[[0.5, 0.5], [0.7, 0.6]]])
    np.testing.assert_array_equal(first.mass, [[[2, 2], [1, 1]]])
    np.testing.assert_array_equal(second.mass, [[[3, 3], [1, 3]]])


def test_saliency_is_that_of_patches_not_of_class_tokens():
    trace = {
        "origin": [np.array([[1, 2, 1, 2]])],
        "saliency": [np.array([[9, 0.1, 0.2, 9, 0.3, 0.4]])],  # a class token before each frame
        "size": [np.array([[1.0, 2.0, 2.0]])],
        "start": [np.array([1, 2, 4, 5])],
    }
    (merge,) = visualize.merges(trace, 0, (2, 1, 2), ["layer 1"])
    np.testing.assert_array_equal(merge.saliency, [[[0.1, 0.2]], [[0.3, 0.4]]])
    np.testing.assert_array_equal(merge.groups, [[[1, 2]], [[1, 2]]])


def test_merges_of_a_merger_without_saliency():
    origin, size = np.array([[0, 1], [1, 0]]), np.ones((2, 2))
    trace = {"origin": [origin], "saliency": [], "size": [size]}
    (merge,) = visualize.merges(trace, 1, (2, 1, 1), ["layer 4"])
    np.testing.assert_array_equal(merge.groups, [[[1]], [[0]]])
    assert merge.saliency is None


def test_edges_lie_where_the_neighbour_is_another_group():
    labels = np.array([[[5, 5, 5, 5, 7], [5, 5, 5, 5, 7], [5, 5, 5, 5, 7], [5, 5, 5, 5, 7]]])
    inside = np.zeros((1, 4, 5), bool)
    inside[0, 1:3, 1:3] = True  # not at the frame's border, nor beside the sevens
    np.testing.assert_array_equal(patches.group_edges(labels), ~inside)


def test_edges_do_not_see_other_frames():
    labels = np.stack([np.full((3, 3), 1), np.full((3, 3), 2)])
    assert not patches.group_edges(labels)[:, 1, 1].any()


def test_a_group_has_its_mean_colour_over_all_frames_and_its_own_edge(monkeypatch):
    monkeypatch.setattr(patches, "group_colours", COLOURS.__getitem__)
    clip = frames([[[0, 30], [7, 9]], [[60, 200], [11, 21]]], zoom=3)
    picture = patches.paint_groups(clip, GROUPS)
    means = picture[:, 1::3, 1::3]  # the middle of each patch of 3 x 3 pixels
    expected = np.array([[[30, 30], [9, 15]], [[30, 200], [9, 15]]])
    np.testing.assert_array_equal(means, np.stack([expected] * 3, axis=-1))
    np.testing.assert_array_equal(picture[:, ::3, ::3], 255 * COLOURS[GROUPS])  # corners


def test_pieces_of_one_group_that_touch_share_no_edge():
    clip = frames(np.full((1, 1, 2), 100), zoom=3)
    picture = patches.paint_groups(clip, np.zeros((1, 1, 2), int))
    np.testing.assert_array_equal(picture[0, 1, 1:5], np.full((4, 3), 100))


def test_groups_need_not_be_numbered_without_gaps(monkeypatch):
    monkeypatch.setattr(patches, "group_colours", COLOURS.__getitem__)
    clip = frames([[[10, 20]]], zoom=3)
    picture = patches.paint_groups(clip, np.array([[[1, 3]]]))
    np.testing.assert_array_equal(picture[0, 0, [0, 5]], 255 * COLOURS[[1, 3]])


def test_hues_of_neighbours_differ():
    picture = patches.paint_groups(frames([[[0, 0, 0]]], zoom=3), np.array([[[0, 1, 2]]]))
    colours = picture[0, 0, ::3].astype(int)
    assert np.abs(colours[:-1] - colours[1:]).max(axis=1).min() > 100
    assert (colours.max(axis=1) == 255).all()


def test_saliency_is_bright_where_it_is_one():
    clip = frames(np.full((1, 1, 2), 100), zoom=2)
    values = np.array([[[0.0, 1.0]]])
    picture = patches.paint_heat(clip, values, patches.SALIENCY).astype(int)
    dark, bright = picture[0, 0, 0], picture[0, 0, -1]
    np.testing.assert_allclose(dark, 30, atol=3)  # 0.3 of the grey, black heat
    assert (bright > 120).all()
    np.testing.assert_array_equal(picture[0, :, :2], np.broadcast_to(dark, (2, 2, 3)))


def test_colours_of_saliency_spread_the_small_weights():
    scale = patches.SALIENCY
    np.testing.assert_allclose(scale.norm(np.array([0, 0.01, 0.25, 1])), [0, 0.1, 0.5, 1])
    assert (scale.ticks[0], scale.ticks[-1]) == (0, 1)


def test_background_is_dimmed():
    clip = frames(np.full((1, 1, 2), 100), zoom=2)
    picture = patches.dim(clip, np.array([[[True, False]]]))
    np.testing.assert_array_equal(picture[0, 0, :, 0], [35, 35, 100, 100])


CLIP = frames([[[0, 30], [7, 9]], [[60, 200], [11, 21]]], zoom=4)
SALIENCY = np.array([[[0.0, 1], [1, 1]], [[0.5, 1], [1, 0]]])


def merge(groups, saliency=None, layer="layer 1"):
    """A merge whose tokens weigh as many patches as they hold."""
    return Merge(layer, groups, np.bincount(groups.ravel())[groups].astype(float), saliency)


def labels_of(rows):
    return [row.label for row in rows]


@pytest.mark.parametrize("saliency", [None, SALIENCY])
def test_overview_has_a_row_for_each_kind_of_picture(saliency):
    rows = visualize.overview(CLIP, [merge(GROUPS, saliency)])
    middle = [] if saliency is None else ["saliency\nin layer 1"]
    assert labels_of(rows) == ["frames", *middle, "8 tokens\nmerged to 4"]
    np.testing.assert_array_equal(rows[0].frames[:, :: 224 // 8, :: 224 // 8], CLIP)


@pytest.mark.parametrize("saliency", [None, SALIENCY])
def test_overview_dims_what_was_background_at_first(saliency):
    last = merge(GROUPS, layer="layer 2")
    plain, dimmed = (
        visualize.overview(CLIP, [merge(GROUPS, weights), last])[-1].frames
        for weights in (None, saliency)
    )
    expected = plain if saliency is None else patches.dim(plain, SALIENCY == 0)
    np.testing.assert_array_equal(dimmed, expected)
    assert np.array_equal(plain, dimmed) == (saliency is None)


def test_a_figure_has_a_title_a_label_for_each_row_and_its_scale(tmp_path):
    rows = visualize.overview(CLIP, [merge(GROUPS, SALIENCY)])
    drawn = visualize.figure([rows, rows], ["a red ball", "a blue box " * 10])
    assert isinstance(drawn, Figure)
    first, second = (part.get_suptitle() for part in drawn.subfigs)
    assert first == "a red ball"
    assert max(map(len, second.split("\n"))) <= 40  # two frames of 20 letters
    axes = drawn.subfigs[0].axes
    assert [axis.get_ylabel() for axis in axes if axis.get_ylabel()] == labels_of(rows)
    bar = axes[5]  # beside saliency: each of the rows has two frames and a place for a scale
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", "0.1", "0.5", "1"]
    assert [axis.axison for axis in axes[2::3]] == [False, True, False]
    drawn.savefig(tmp_path / "merging.png")
    assert (tmp_path / "merging.png").read_bytes().startswith(b"\x89PNG")


def test_figure_shows_evenly_spaced_frames():
    clip = frames(np.arange(9).reshape(9, 1, 1) * 20, zoom=4)
    drawn = visualize.figure([[Row("frames", clip)]], ["nine frames"], columns=3)
    shown = [axis.images[0].get_array() for axis in drawn.axes[:3]]
    assert [int(np.asarray(image)[0, 0, 0]) for image in shown] == [0, 80, 160]


def test_what_did_not_merge_keeps_its_pixels():
    """Groups of several patches have one hue in all frames; others are as before."""
    faded = np.zeros(GROUPS.shape, bool)
    picture = patches.tint_groups(CLIP, GROUPS, faded).astype(int)
    assert (picture[1, :4, 4:] == CLIP[1, :4, 4:]).all()  # group 3, alone
    first, other = picture[0, 0, 0], picture[0, 4, 0]
    np.testing.assert_array_equal(picture[1, 0, 0], first)  # group 0 in both frames
    np.testing.assert_array_equal(picture[0, 0, 7], first)
    assert np.abs(first - other).max() > 100  # another group, another hue


def test_background_that_merged_is_dark_within_its_edges():
    faded = GROUPS == 1
    light, dark = (
        patches.tint_groups(CLIP, GROUPS, mask).astype(int)
        for mask in (np.zeros(GROUPS.shape, bool), faded)
    )
    np.testing.assert_allclose(dark[:, 5:7, 1:3], light[:, 5:7, 1:3] * 0.35, atol=1)
    np.testing.assert_array_equal(dark[:, 4, :4], light[:, 4, :4])  # edge
    np.testing.assert_array_equal(dark[:, :4], light[:, :4])


def test_only_background_that_merged_is_faded():
    saliency = np.array([[[0.0, 1], [0.5, 0]], [[0, 0], [1, 0.2]]])
    expected = [[[True, False], [False, True]], [[True, False], [False, False]]]
    np.testing.assert_array_equal(merge(GROUPS, saliency).faded, expected)  # 3 is alone
    assert not merge(GROUPS).faded.any()


def test_a_group_keeps_its_colour_while_its_first_patch_stays():
    before = patches.group_colours(np.array([[[4, 4, 2, 3]]]))
    after = patches.group_colours(np.array([[[0, 0, 1, 0]]]))  # numbers are of no account
    np.testing.assert_array_equal(after[0, 0, :3], before[0, 0, :3])
    np.testing.assert_array_equal(after[0, 0, 3], before[0, 0, 0])


def test_details_have_rows_for_every_merge_and_the_mass():
    second = np.array([[[0, 0], [0, 1]], [[0, 2], [0, 1]]])
    merged = [merge(GROUPS, SALIENCY), merge(second, SALIENCY, "layer 2")]
    rows = visualize.details(CLIP, merged)
    assert labels_of(rows) == [
        "frames",
        "saliency\nin layer 1",
        "after layer 1:\n4 tokens",
        "saliency\nin layer 2",
        "after layer 2:\n3 tokens",
        "final mass\nin patches",
    ]
    assert rows[-1].scale is not None
    assert rows[-1].scale.ticks == (1, 2, 5)
    animated = visualize.animation_rows(CLIP, merged)
    assert labels_of(animated) == [labels_of(rows)[place] for place in (0, 1, 4, 5)]


def test_what_plays_without_saliency():
    rows = visualize.animation_rows(CLIP, [merge(GROUPS), merge(GROUPS, layer="layer 2")])
    assert labels_of(rows) == ["frames", "after layer 2:\n4 tokens", "final mass\nin patches"]


def test_mass_is_brighter_where_a_token_stands_for_more():
    clip = frames(np.full((1, 1, 3), 100), zoom=2)
    mass = np.array([[[1.0, 10.0, 100.0]]])
    picture = patches.paint_heat(clip, mass, patches.mass_scale(mass)).astype(int)
    one, ten, hundred = picture[0, 0, ::2]
    colours = 255 * np.array([[0.267, 0.005, 0.329], [0.128, 0.567, 0.551], [0.993, 0.906, 0.144]])
    np.testing.assert_allclose([one, ten, hundred], 30 + 0.7 * colours, atol=3)  # viridis


@pytest.mark.parametrize(
    ("most", "ticks"),
    [(1.0, (1, 2)), (5.0, (1, 2, 5)), (6.0, (1, 2, 6)), (123.4, (1, 2, 5, 10, 20, 50, 123.4))],
)
def test_ticks_of_mass_end_with_the_heaviest(most, ticks):
    assert patches.mass_scale(np.full((1, 1, 1), most)).ticks == ticks


def test_panels_stand_side_by_side():
    left, right = (np.full((3, 9, 101, 3), value, np.uint8) for value in (10, 200))
    rows = [Row("left", left), Row("right", right, patches.SALIENCY)]
    canvas = visualize.panels(rows)
    assert canvas.shape[1] % 2 == canvas.shape[2] % 2 == 0
    top = 22  # below the labels
    np.testing.assert_array_equal(canvas[:, top : top + 9, :101], left)
    np.testing.assert_array_equal(canvas[:, top : top + 9, 107:208], right)
    assert (canvas[:, top : top + 9, 101:107] == 255).all()
    bar = canvas[0, top + 9 + 6 + 5]  # the middle of the scale
    assert (bar[:101] == 255).all()
    assert bar[107].sum() < 20 < 600 < bar[207].sum()  # inferno from black to yellow
    assert (canvas[0, :top, :101] < 128).any()  # letters


def test_what_plays_has_all_frames(tmp_path):
    values = np.array([0, 80, 160, 240]).reshape(4, 1, 1)
    clip = frames(values, zoom=64)
    visualize.write_mp4(tmp_path / "a.mp4", clip, 2)
    visualize.write_gif(tmp_path / "a.gif", clip, 2)
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 2
    np.testing.assert_allclose(decoded, clip, atol=6)
    with Image.open(tmp_path / "a.gif") as image:
        assert (getattr(image, "n_frames", 1), image.info["duration"]) == (4, 500)
        for number in range(4):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), clip[number])


def result(merger, r, gmac, value, speed: float | None = 10.0, width=128, weights="x.npz"):
    tokens = [100, 100, 100 - r, 100 - r]
    return {
        "name": f"{merger}-{r}-{width}",
        "headline": {"name": "T2V R@1", "value": value},
        "gmac": gmac,
        "clips_per_second": speed,
        "tokens": tokens,
        "protocol": {},
        "config": {
            "checkpoint": weights,
            "model": {"merger": {"name": merger}, "vision": {"width": width}},
        },
    }


def points(line):
    return np.asarray(line.get_xydata()).tolist()


def test_curve_joins_runs_in_the_order_of_their_cost():
    runs = [result("tome", 20, 3.0, 60.0), result("tome", 0, 5.0, 70.0)]
    runs += [result("tome", 40, 1.0, 50.0), result("vid_tldr", 40, 1.5, 65.0, None)]
    drawn = curve.draw(runs)
    left, right = drawn.axes
    lines = {line.get_label(): points(line) for line in left.lines}
    assert (lines["tome"], lines["vid_tldr"]) == ([[1, 50], [3, 60]], [[1.5, 65]])
    assert [value for _, value in lines["no merging"]] == [70, 70]
    assert [[5, 70]] in lines.values()
    (slow,) = (line for line in right.lines if line.get_label() == "vid_tldr")
    assert points(slow) == []  # its speed is not known
    assert {text.get_text() for text in left.texts} == {"20", "40"}
    assert left.get_ylabel() == "T2V R@1, %"
    assert (left.get_xlabel(), right.get_xlabel()) == ("GMAC per clip", "clips per second")


def test_curve_does_not_join_different_networks():
    runs = [result("tome", r, 4 - r / 20, 60.0 + w, width=w) for r in (20, 40) for w in (8, 9)]
    left, _ = curve.draw(runs).axes
    lines = [(line.get_label(), points(line)) for line in left.lines]
    expected = {8: [[2, 68], [3, 68]], 9: [[2, 69], [3, 69]]}
    assert lines == [(f"tome, tome-40-{width}", places) for width, places in expected.items()]


def test_curve_does_not_join_different_weights():
    runs = [result("tome", 20, 3.0, 60.0 + i, weights=f"{w}.npz") for i, w in enumerate("ab")]
    left, _ = curve.draw(runs).axes
    lines = [(line.get_label(), points(line)) for line in left.lines]
    assert lines == [("tome (a)", [[3, 60]]), ("tome (b)", [[3, 61]])]


def test_a_curve_of_recognition_is_by_view():
    run = result("tome", 20, 3.0, 60.0) | {"protocol": {"clips": 4, "crops": 3}}
    labels = [axes.get_xlabel() for axes in curve.draw([run]).axes]
    assert labels == ["GMAC per view", "views per second"]


@pytest.mark.parametrize(
    ("tokens", "name"),
    [([9, 9, 5, 5, 3, 3], "4, 0, 2"), ([9, 9, 7, 7], "2"), ([9, 9, 9], "")],
)
def test_a_schedule_is_named_by_what_merges(tokens, name):
    assert curve.schedule(tokens) == name


def test_a_picture_of_tome(monkeypatch):
    """Where its edges are and what its groups' mean colours are."""
    case = golden.load("tome-picture")
    shape = case.config["H"], case.config["W"], 3
    image = np.clip(recipe.video(shape, case.spec["seed"]) * 50 + 128, 0, 255).astype(np.uint8)
    colours = np.array(case.config["edge_colours"])
    groups = case.arrays["inputs/groups"][None]
    monkeypatch.setattr(patches, "group_colours", colours.__getitem__)
    ours = patches.paint_groups(image[None], groups)[0].astype(int)
    assert np.abs(ours - case.arrays["picture"]).max() <= 1
