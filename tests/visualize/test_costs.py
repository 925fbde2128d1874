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


def lines(runs):
    (axes,) = costs.draw(runs).axes
    return {str(x.get_label()): np.asarray(x.get_xydata()).tolist() for x in axes.lines}, axes


def test_a_merger_starts_at_the_run_without_merging_of_its_weights():
    curves, axes = lines(RUNS)
    assert curves == {
        "none (weights)": [[1.0, 50.0], [3.0, 70.0]],
        "tome (weights)": [[2.0, 69.0], [3.0, 70.0]],
        "none (others)": [[2.5, 90.0]],
    }
    assert [text.get_text() for text in axes.texts] == ["a/none", "a/tome", "b", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("GMAC", "T2V R@1, %")


def test_weights_without_a_run_that_merges_nothing():
    curves, _ = lines({"a": run("tempme", 2.0, 80.0, "tuned"), "b": run("none", 3.0, 50.0)})
    assert curves == {"tempme (tuned)": [[2.0, 80.0]], "none (weights)": [[3.0, 50.0]]}


def test_many_runs_have_no_names():
    runs = {f"run{i}": run("tome", float(i + 1), 50.0) for i in range(6)}
    assert not lines(runs)[1].texts
    assert len(lines(dict(list(runs.items())[:5]))[1].texts) == 5


def test_weights_in_files_of_one_name_have_curves_of_their_own():
    runs = {name: run("none", 1.0, 50.0, f"{name}/best.npz") for name in "ab"}
    assert [*lines(runs)[0]] == ["none (a/best.npz)", "none (b/best.npz)"]
