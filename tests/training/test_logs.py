"""Copies of a run's log: what each library is given, and what is said where it is missing."""

import sys
import types

import pytest

from tokmerge_jax.training import logs
from tokmerge_jax.training.run import RunFolder
from tokmerge_jax.types import UserError


@pytest.fixture
def library(monkeypatch):
    """A module that keeps what it is given, under the names of all three."""
    given = []

    class Writer:
        def __init__(self, folder, purge_step):
            given.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            given.append((name, value, step))

    module = types.ModuleType("library")
    module.__dict__["SummaryWriter"] = Writer
    module.__dict__["init"] = lambda **named: given.append(named)
    module.__dict__["log"] = lambda scalars, step: given.append((scalars, step))
    for name in ("tensorboardX", "trackio", "wandb"):
        monkeypatch.setitem(sys.modules, name, module)
    return given


def test_tensorboard_is_given_each_scalar_and_forgets_steps_that_run_again(library, tmp_path):
    copy = logs.copy_for("tensorboard", tmp_path, {}, 7)
    assert copy
    copy(7, {"loss": 0.5, "rate": 0.1})
    assert library == [(str(tmp_path / "tensorboard"), 7), ("loss", 0.5, 7), ("rate", 0.1, 7)]


@pytest.mark.parametrize("kind", ["trackio", "wandb"])
def test_the_others_are_given_the_settings_once_and_each_step(kind, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = logs.copy_for(kind, tmp_path / "results" / "a", {"seed": 1}, 0)
    assert copy
    copy(0, {"loss": 0.5})
    about = {"project": "tokmerge_jax", "name": "results-a", "config": {"seed": 1}}
    assert library == [{**about, "resume": "allow"}, ({"loss": 0.5}, 0)]


def test_a_run_copies_what_it_logs(library, tmp_path):
    RunFolder(tmp_path, {}, keep=1, log="wandb").log(0, {"loss": 0.25})
    assert library[-1] == ({"loss": 0.25}, 0)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 0, "loss": 0.25}\n'


def test_a_missing_package_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        UserError, match=r"train\.log=tensorboard needs .*tokmerge_jax\[tensorboard"
    ):
        logs.copy_for("tensorboard", tmp_path, {}, 0)
    assert logs.copy_for("", tmp_path, {}, 0) is None
