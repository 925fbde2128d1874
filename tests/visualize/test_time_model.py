"""Pictures of measured, predicted and promised time: where the points are, and their names."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text

from tokmerge_jax.visualize import time_model

ROWS = [
    {"merging": "none", "seconds": 2.0, "predicted": 1.9, "times_as_fast": 1.0, "mac_ratio": 1.0},
    {"merging": "20x4", "seconds": 1.0, "predicted": 1.2, "times_as_fast": 2.0, "mac_ratio": 2.5},
    {"merging": "$90_", "seconds": 1.0, "predicted": 1.0, "times_as_fast": 2.0, "mac_ratio": 3.0},
]


def xy(line):
    return np.asarray(line.get_xydata()).tolist()


def points(axes):
    return [xy(line)[0] for line in axes.lines if line.get_marker() == "o"]


def boxes(drawn):
    """The positions of all names in pixels, by panel."""
    renderer = FigureCanvasAgg(drawn).get_renderer()
    drawn.draw(renderer)
    size = drawn.get_size_inches() * drawn.dpi
    named = [
        [Text.get_window_extent(text, renderer) for text in axes.texts]  # without their lines
        for axes in drawn.axes
    ]
    for box in itertools.chain(*named):
        assert 0 < box.x0 < box.x1 <= size[0]
        assert 0 <= box.y0 < box.y1 <= size[1]
    return named


def test_points_and_the_lines_on_which_they_would_lie():
    drawn = time_model.draw(ROWS, "demo, 1 x cpu")
    assert drawn.get_suptitle() == "demo, 1 x cpu"
    left, right = drawn.axes
    assert points(left) == [[1.9, 2.0], [1.2, 1.0], [1.0, 1.0]]
    assert points(right) == [[1.0, 1.0], [2.5, 2.0], [3.0, 2.0]]
    assert [xy(axes.lines[0]) for axes in drawn.axes] == [[[1, 1], [2, 2]], [[1, 1], [3, 3]]]
    names = [axes.lines[0].get_label() for axes in drawn.axes]
    assert names == ["as predicted", "proportional to GMAC"]


@pytest.mark.parametrize("count", [4, 12])
def test_every_point_has_its_name_and_none_overlap(count):
    rows = [{**ROWS[i % 3], "merging": f"{ROWS[i % 3]['merging']}, {i}"} for i in range(count)]
    drawn = time_model.draw(rows, "")
    for axes, named in zip(drawn.axes, boxes(drawn), strict=True):
        names = {text.get_text(): text.xy for text in axes.texts if isinstance(text, Annotation)}
        assert list(names) == [row["merging"] for row in rows]
        assert list(map(list, names.values())) == points(axes)
        heights = sorted((box.y0, box.y1) for box in named)
        assert all(below[1] <= above[0] for below, above in itertools.pairwise(heights))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9).map(sorted))
def test_names_move_no_further_than_they_must(heights):
    placed = np.array(time_model._apart(heights))
    gaps = np.diff(placed)
    assert (gaps >= time_model._GAP - 1e-9).all()
    if (np.diff(heights) >= time_model._GAP).all():
        np.testing.assert_allclose(placed, heights)
    np.testing.assert_allclose(placed.mean(), np.mean(heights), atol=1e-12)
