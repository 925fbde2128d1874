"""The picture of what runs cost and reach."""

import numpy as np

from tokmerge_jax.visualize import costs


def run(merger, gmac, value, checkpoint="weights"):
    return {
        "config": {"checkpoint": checkpoint, "model": {"merger": {"name": merger}}},
        "gmac": gmac,
        "headline": {"name": "T2V R@1", "value": value},
        "protocol": {"dataset": "demo"},
    }


RUNS = {
    "a/none": run("none", 3.0, 70.0),
    "a/tome": run("tome", 2.0, 69.0),
    "b": run("none", 1.0, 50.0),
    "c": run("none", 2.5, 90.0, "others"),
}


def test_lines_join_runs_of_one_merger_and_checkpoint():
    (axes,) = costs.draw(RUNS).axes
    lines = [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
    assert lines == [[[1.0, 50.0], [3.0, 70.0]], [[2.0, 69.0]], [[2.5, 90.0]]]
    assert [text.get_text() for text in axes.texts] == ["none", "tome", "b", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("GMAC", "T2V R@1, %")
