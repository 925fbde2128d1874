"""Pictures of which actions were taken for which: what is told, and that nothing is cut off."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tokmerge_jax.visualize import confusion

LONG = "Pretending to put [something] into $some$thing, but missing so it doesn't go in, no {}"


def told(text):
    return " ".join(text.get_text().split())


def shares(axes):
    return np.asarray(axes.images[0].get_array())


def check_that_all_is_inside(drawn):
    renderer = FigureCanvasAgg(drawn).get_renderer()
    drawn.draw(renderer)
    box = drawn.get_tightbbox(renderer)  # of all that is to see, in inches
    assert min(box.x0, box.y0) >= 0
    assert (box.max <= drawn.get_size_inches()).all()


def test_few_actions_are_named_and_counted():
    matrix = np.array([[6, 2, 0], [0, 0, 0], [1, 0, 3]])
    names = ["left", LONG.format(1), "up"]
    drawn = confusion.draw(matrix, names, [], "demo, test: top-1 75.0 %")
    assert drawn.get_suptitle() == "demo, test: top-1 75.0 %"
    (axes,) = drawn.axes
    np.testing.assert_allclose(shares(axes), [[75, 25, 0], [0, 0, 0], [25, 0, 75]])
    assert [told(label) for label in axes.get_yticklabels()] == names
    assert [told(label) for label in axes.get_xticklabels()] == names
    counts = {(*map(int, text.get_position()),): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "6", (1, 0): "2", (0, 2): "1", (2, 2): "3"}  # column, row
    (bar,) = axes.child_axes
    assert bar.get_ylabel() == "% of the action's videos"
    assert bar.get_ylim() == (0, 100)
    check_that_all_is_inside(drawn)


@pytest.mark.parametrize("classes", [174, 400])
def test_of_many_actions_the_pairs_are_told(classes):
    matrix = 9 * np.eye(classes, dtype=int)
    matrix[7, 3] = 1
    names = [LONG.format(i) for i in range(classes)]
    pairs = [{"action": names[i], "taken_for": names[i + 1], "count": 1000 - i} for i in range(20)]
    drawn = confusion.draw(matrix, names, pairs, "ssv2, val: top-1 71.8 %")
    axes, beside = drawn.axes
    np.testing.assert_allclose(shares(axes)[7, [3, 7, 8]], [10, 90, 0])
    assert not axes.texts
    counts, lines = beside.texts[::2], beside.texts[1::2]
    assert [text.get_text() for text in counts] == [str(1000 - i) for i in range(len(counts))]
    assert 8 <= len(lines) < 20
    assert told(lines[2]) == f"{names[2]} → {names[3]}"
    check_that_all_is_inside(drawn)


def test_nothing_was_confused():
    drawn = confusion.draw(np.eye(31, dtype=int), [str(i) for i in range(31)], [], "")
    _, beside = drawn.axes
    assert not beside.texts
