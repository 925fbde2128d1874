"""The fuzzing command: what it damages, what it sees, and a part of its cases."""

import collections
import json

import numpy as np
import pytest

from tests.fuzz import kinds, misdeeds, mutations, runner

NAMES = ("a.json", "a.jsonl", "a.csv", "a.txt", "a.bin")
TEXT = json.dumps([{"video": "a", "caption": ["b", "c"], "n": 1}] * 3).encode()


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_a_function_of_its_seed(name):
    damaged = [mutations.damage(name, TEXT, np.random.default_rng(i)) for i in range(60)]
    again = [mutations.damage(name, TEXT, np.random.default_rng(i)) for i in range(60)]
    assert damaged == again
    assert len(set(damaged)) > 50
    assert damaged.count(TEXT) < 10


def test_damage_to_json_is_json_mostly():
    kept = collections.Counter()
    for seed in range(100):
        damaged = mutations.of_json(TEXT, np.random.default_rng(seed))
        try:
            kept[json.loads(damaged) == json.loads(TEXT)] += 1
        except (ValueError, RecursionError):
            kept["broken"] += 1
    assert kept[False] > 60
    assert kept[True] < 15


@pytest.mark.slow
def test_every_misdeed_is_seen(tmp_path):
    results = list(runner.run([misdeeds.KIND], range(0), 0, 2, tmp_path))
    outcomes = {sorted(misdeeds.SAID)[result.number]: result.outcome for result in results}
    verdicts = {deed: "failed" for deed in misdeeds.SAID} | {"reads": "ok", "refuses": "refused"}
    assert {deed: outcome.verdict for deed, outcome in outcomes.items()} == verdicts
    for deed, outcome in outcomes.items():
        assert misdeeds.SAID[deed] in outcome.fault
    assert len(list((tmp_path / "failed").iterdir())) == len(misdeeds.SAID) - 2
    assert runner.table(results).splitlines()[1].split()[:5] == ["misdeeds", "11", "1", "1", "9"]


@pytest.mark.slow
def test_a_part_of_the_cases(tmp_path):
    """Read or refused, as all are that `make fuzz` adds."""
    results = list(runner.run([*kinds.KINDS.values()], range(20), 0, 2, tmp_path))
    assert len(results) == sum(kind.inputs or 20 for kind in kinds.KINDS.values())
    assert "failed" not in {r.outcome.verdict for r in results}, runner.table(results)
