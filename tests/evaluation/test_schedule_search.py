"""The schedule search on costs and metrics whose best schedule is known."""

import itertools
import json
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.evaluation.schedule_search import Space, neighbours, search, uniform
from tokmerge_jax.merging import schedule

ROOT = pathlib.Path(__file__).parents[2]
TOKENS, DEPTH, WIDTH = 96, 4, 32


def cost(r):
    return sum(layer.macs for layer in schedule.vit_cost(r, TOKENS, WIDTH, 48)) / 1e6


FULL = cost((0,) * DEPTH)


def space(share):
    return Space(DEPTH, TOKENS, cost, share * FULL)


def within(r, share):
    counts = schedule.token_counts(r, TOKENS)
    halves = all(2 * merged <= left for merged, left in zip(r, counts, strict=False))
    return halves and cost(r) <= share * FULL


@given(st.floats(0.3, 1.0))
def test_uniform_schedules_spend_the_budget(share):
    for r in uniform(space(share)):
        layers = sum(map(bool, r))
        assert r == (r[0],) * layers + (0,) * (DEPTH - layers)
        assert within(r, share)
        if r[0] > 1:  # one token fewer in each layer would cost too much
            assert not within(tuple(max(merged - 1, 0) for merged in r), share)


@given(st.floats(0.5, 0.95), st.integers(1, 12), st.data())
def test_neighbours_keep_the_budget_and_change_two_layers(share, step, data):
    starts = uniform(space(share))
    r = data.draw(st.sampled_from(starts))
    for other in neighbours(space(share), r, step):
        assert within(other, share)
        changed = [ours - theirs for ours, theirs in zip(r, other, strict=True) if ours != theirs]
        assert 1 <= len(changed) <= 2
        assert any(abs(change) <= step for change in changed)


def test_the_best_schedule_is_found():
    """A metric that likes early merging less the earlier it is, against trying all on the grid."""

    def metric(r):
        return -1.0 * sum(
            (merged - wanted) ** 2 for merged, wanted in zip(r, (10, 30, 6, 0), strict=True)
        )

    found = search(space(0.62), metric, 300)
    grid = itertools.product(range(0, 49, 2), range(0, 41, 2), range(0, 33, 2), (0,))
    best = max(metric(r) for r in grid if within(r, 0.62))
    assert found[0].value == metric(found[0].r)
    assert found[0].value > best - 4  # its last step is two tokens
    assert max(metric(r) for r in uniform(space(0.62))) < best - 100


def test_none_is_evaluated_twice_and_no_more_than_asked():
    asked = []

    def metric(r):
        asked.append(r)
        return float(r[1] - abs(r[0] - 20))

    found = search(space(0.7), metric, 9)
    assert len(asked) == len(set(asked)) == len(found) == 9
    assert asked[: len(uniform(space(0.7)))] == uniform(space(0.7))
    again = search(space(0.7), lambda r: float(r[1] - abs(r[0] - 20)), 9)
    assert again == found


def test_of_equal_metrics_the_cheaper_is_first():
    found = search(space(0.7), lambda r: 1.0, 40)
    costs = [cost(trial.r) for trial in found]
    assert costs == sorted(costs)


def test_a_budget_that_nothing_reaches():
    assert search(space(0.1), lambda r: 1.0, 5) == []


def run(*arguments):
    command = [sys.executable, "scripts/search_schedule.py", "--config=configs/demo.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--budget=0", "--budget=0 must be above 0 and at most 1"),
        ("--config.model.merger.name=none", "merges nothing; name the merger to search"),
        ("--config.data.folder=nowhere", "data set demo, split val, is not prepared in 'nowhere'"),
    ],
)
def test_what_cannot_work_is_told(argument, message, tmp_path):
    done = run(argument, f"--config.output={tmp_path}")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_search_on_clips_goes_on_where_it_was(tmp_path):
    """Two sittings find what one finds, and the second evaluates only what the first did not."""
    prepare = [sys.executable, "scripts/prepare_data.py", "--dataset=demo", "--splits=val"]
    folder = f"--folder={tmp_path}"
    subprocess.run([*prepare, folder], cwd=ROOT, check=True, capture_output=True)
    options = (f"--config.data.folder={tmp_path}", "--config.eval.rerank=False", "--budget=0.6")
    first = run(*options, f"--config.output={tmp_path / 'a'}", "--trials=3")
    assert first.returncode == 0, first.stderr
    places = tmp_path / "a" / "schedules"
    stamps = {path: os.stat(path).st_mtime_ns for path in places.glob("*/results.json")}
    assert len(stamps) >= 3
    second = run(*options, f"--config.output={tmp_path / 'a'}", "--trials=5")
    assert "config.model.merger.r = (" in second.stdout
    assert all(os.stat(path).st_mtime_ns == stamp for path, stamp in stamps.items())
    found = json.loads((places / "search.json").read_text())
    assert [trial["value"] for trial in found["trials"]] == sorted(
        (trial["value"] for trial in found["trials"]), reverse=True
    )
    assert all(trial["gmac"] <= found["budget_gmac"] for trial in found["trials"])
    assert found["best"] == found["trials"][0]["r"]
