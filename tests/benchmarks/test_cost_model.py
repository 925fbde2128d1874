"""benchmarks/cost_model.py as a user runs it: what cannot work, the folder, more rounds."""

import json
import subprocess
import sys

import pytest
import script

from tokmerge_jax.tasks import rounds
from tokmerge_jax.types import UserError

OTHER_CODE = """
import runpy, sys
import jax
from tokmerge_jax import runtime
runtime.jit = lambda function, **settings: jax.jit(
    lambda *args: jax.tree.map(lambda x: x + 1, function(*args)), **settings
)
runpy.run_module("benchmarks.cost_model", run_name="__main__")
"""


def run(*arguments):
    return script.run("benchmarks/cost_model", "--config=configs/demo.py", *arguments)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.model.merger.name=none", "merges nothing; name the merger whose schedules"),
        ("--schedules=10;20;30", "--schedules: 4, no merging among them, are too few"),
        pytest.param(
            "--schedules=10;20;200,200;5",
            "--schedules, '200,200': the merging schedule",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "--schedules=10;merger.k=2",
            "no merger.k that says how tokens merge; it has merger.name",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_work_is_reported_at_once(argument, message, tmp_path):
    done = run(argument, f"--output={tmp_path}")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_object_store_is_refused():
    pytest.importorskip("s3fs")
    done = run("--config.output=s3://bucket/a")
    assert done.returncode == 2
    assert done.stderr.startswith("s3://bucket/a/cost_model: cost models need a local folder")


@pytest.mark.parametrize("content", ["{", "[]", '{"rounds": []}', '{"facts": "a", "rounds": 3}'])
def test_a_damaged_file_of_rounds_is_named(content, tmp_path):
    path = tmp_path / "rounds.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"rounds.json: damaged; delete it to measure anew"):
        rounds.earlier(path, "a")


@pytest.mark.slow
def test_the_folder_and_more_rounds(tmp_path):
    options = (
        "--schedules=30x2; 60; 90,30; 45; merger.name=tome merger.r=100,60",
        f"--output={tmp_path}",
    )
    done = run(*options, "--rounds=1")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    plain, half, *_, tome = results["schedules"]
    assert (plain["merging"], plain["tokens_out"], plain["times_as_fast"]) == ("no merging", 288, 1)
    assert (half["merging"], half["tokens_out"]) == ("30x2", 228)
    assert tome["tokens_out"] == 128
    assert tome["mac_ratio"] == pytest.approx(plain["gmac"] / tome["gmac"], rel=1e-12)
    assert tome["error"] == tome["predicted"] / tome["seconds"] - 1
    assert (tmp_path / "tokens_to_time.png").stat().st_size > 10000
    again = run(*options, "--rounds=3")
    assert f"1 rounds are in {tmp_path}" in again.stderr
    measured = json.loads((tmp_path / "results.json").read_text())["rounds"]
    assert (len(measured), measured[:1]) == (3, results["rounds"])
    command = [sys.executable, "-c", OTHER_CODE, "--config=configs/demo.py"]
    other = subprocess.run(
        [*command, *options, "--rounds=1"], cwd=script.ROOT, capture_output=True, text=True
    )
    assert other.returncode == 0, other.stderr
    assert "rounds are in" not in other.stderr  # they are of programs that did less
    assert len(json.loads((tmp_path / "rounds.json").read_text())["rounds"]) == 1
