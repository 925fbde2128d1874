"""`tokmerge compare`: the names of runs, which no width cuts."""

import json
import pathlib

import pytest
import script

from tokmerge_jax import objects
from tokmerge_jax.commands import compare
from tokmerge_jax.types import UserError


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["results/demo", "results/less/results.json"], ["demo", "less"]),
        (["results/study/a", "results/b"], ["study/a", "b"]),
        (["results/demo", "results/demo/tome"], ["demo", "demo/tome"]),
        (["results/demo"], ["demo"]),
        (["a", "b/results.json"], ["a", "b"]),
        (["/one/demo", "demo"], ["/one/demo", "demo"]),
        (["s3://runs/all/a", "s3://runs/all/b"], ["a", "b"]),
        (["."], ["."]),
        (["kept/before.json", "kept/after.json"], ["before.json", "after.json"]),
        (["kept/before.json", "results/results.json"], ["kept/before.json", "results"]),
    ],
)
def test_a_run_is_named_by_the_folders_that_differ(places, names):
    assert compare.names([*map(objects.place, places)]) == names


@pytest.mark.parametrize("name", ["costs.xyz", "results"])
def test_a_picture_of_an_unknown_kind_is_refused(name):
    compare.check(pathlib.Path("costs.PNG"))
    with pytest.raises(UserError, match=f"--picture={name}: name a file that ends in .png"):
        compare.check(pathlib.Path(name))


def write(folder: pathlib.Path, gmac: float) -> str:
    """Results of action recognition."""
    protocol = {"dataset": "ssv2", "split": "val", "videos": 3}
    results = {
        "headline": {"name": "top-1", "value": 50.0},
        "scores": {"all": {"top-1": 50.0, "top-5": 75.0}},
        "protocol": protocol,
        "gmac": gmac,
        "tokens": [10, 5],
        "clips_per_second": 2.0,
    }
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    return str(folder)


def test_in_a_pipe_every_run_has_one_line(tmp_path):
    names = ["study/" + "long_name_" * 12 + end for end in ("first", "second")]
    places = [write(tmp_path / name, gmac) for name, gmac in zip(names, (4.0, 1.0), strict=True)]
    done = script.run("compare", *places, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    rows = [line.strip("│").split() for line in done.stdout.splitlines() if "long_name" in line]
    shown = [name.removeprefix("study/") for name in names]
    assert [row[0] for row in rows] == shown
    assert [row[-3] for row in rows] == ["100%", "25%"]
