"""benchmarks/seeds.py: its recipes are those that users read, and what it skips and shows."""

import json

import pytest
import script

from benchmarks import seeds_runs, seeds_table
from benchmarks.seeds_recipes import Recipe, evaluations, read, recipes
from benchmarks.seeds_runs import Seed

REST = {"scores": {}, "gmac": 1.0, "protocol": {}}  # of a results.json

TEXT = """Two trainings.

The weights were trained by:
  tokmerge prepare --dataset demo
  tokmerge convert --config demo --source demo/tokmerge_jax_demo/demo.safetensors \\
      --target first.safetensors
  tokmerge train --config demo --export demo_qa.safetensors
and others, from those, by:
  tokmerge train --config demo_moves --config.checkpoint=first.safetensors \\
      --export demo_moves.safetensors
"""


def test_recipes_are_read_from_a_docstring():
    steps = [" ".join(line.split()) for line in TEXT.replace("\\\n", "").splitlines()]
    prepare, convert, first, second = (
        step.split()[1:] for step in steps if step.startswith("tokmerge")
    )
    assert dict(read(TEXT)) == {
        "demo_qa": Recipe(
            ("demo",), (prepare,), {"first.safetensors": convert, "demo_qa.safetensors": first}
        ),
        "demo_moves": Recipe((), (prepare,), {"demo_moves.safetensors": second}),
    }


def test_every_weight_that_a_demo_evaluates_has_a_recipe_after_those_it_needs():
    known = [*recipes()]
    assert {"demo_moves", "demo_qa", "demo_clip", "demo_tempme", "demo_testa"} <= {*known}
    for name, recipe in recipes().items():
        assert recipe.prepare, name
        assert list(recipe.steps)[-1] == f"{name}.safetensors"
        assert all(known.index(needed) < known.index(name) for needed in recipe.needs)
    assert evaluations()["demo_testa/frames"] == [
        *("--config", "demo_testa", "--config.model.merger.r=0"),
        "--config.output=results/demo_testa/frames",
    ]


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The commands that would run, each of which writes its files at once."""
    seen = []

    def run(self, words):
        seen.append(words)
        self.folder.mkdir(parents=True, exist_ok=True)
        if words[0] == "eval":
            output = next(word for word in words if word.startswith("--config.output="))
            results = self.folder / output.split("=")[1]
            results.mkdir(parents=True)
            metric = {"name": "top-1", "value": 50 + len(seen)}
            (results / "results.json").write_text(json.dumps({"headline": metric, **REST}))
        elif words[0] in ("train", "convert"):
            after = words.index("--export" if words[0] == "train" else "--target") + 1
            (self.folder / words[after]).touch()

    monkeypatch.setattr(seeds_runs.Seed, "_run", run)
    return seen


def test_a_seed_trains_what_is_needed_and_keeps_it(calls, tmp_path):
    seed = Seed(tmp_path / "seed_1", 1, tmp_path / "data", recipes())
    seed.train("demo_tempme")
    trained = [words[2] for words in calls if words[0] == "train"]
    assert trained == ["demo_clip", "demo_tempme"]
    last = calls[-1]
    assert "--config.checkpoint=demo_clip.safetensors" in last
    assert last[-2:] == ["--config.seed=1", f"--config.data.folder={tmp_path / 'data'}"]
    done = len(calls)
    seed.train("demo_tempme")
    assert len(calls) == done
    seed.evaluate("demo_tempme")
    seed.evaluate("demo_tempme")
    assert [words[0] for words in calls[done:]] == ["eval"]
    assert f"--config.checkpoint={tmp_path / 'seed_1' / 'demo_tempme.safetensors'}" in calls[-1]


def test_table_by_hand(tmp_path):
    for seed, value in (("shipped", 80.0), ("seed_1", 84.0), ("seed_2", 79.0)):
        folder = tmp_path / seed / "results" / "demo_tempme"
        folder.mkdir(parents=True)
        metric = {"name": "T2V R@1", "value": value}
        (folder / "results.json").write_text(json.dumps({"headline": metric, **REST}))
    view = seeds_table.table(seeds_table.read(tmp_path))
    assert [column.header for column in view.columns] == [
        *("run", "metric", "shipped", "seed_1", "seed_2", "mean", "lowest to highest")
    ]
    cells = [[*column.cells] for column in view.columns]
    assert cells == [
        *(["demo_tempme"], ["T2V R@1"], ["80.0"], ["84.0"], ["79.0"], ["81.0"], ["79.0 to 84.0"])
    ]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--seeds=one", "--seeds=one is not a number"),
        ("--weights=demo_none", "--weights=demo_none is not trained; choose from"),
    ],
)
def test_wrong_options_are_refused(option, message, tmp_path):
    done = script.run("benchmarks/seeds", option, f"--output={tmp_path}")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
