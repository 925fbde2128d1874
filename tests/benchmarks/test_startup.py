"""benchmarks/startup.py: phases of a start, in turns, and that one program is compiled once."""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import time

import pytest

from benchmarks import starts
from benchmarks.peer import Peer
from tokmerge_jax import registry
from tokmerge_jax.config import files, pe_core, tds_clip, umt
from tokmerge_jax.types import UserError

PHASES = ["imports", "network", "checkpoint", "first batch"]


def test_ways_take_turns_and_medians_are_reported():
    order = []

    def way(name, *seconds):
        left = iter(seconds)

        def run():
            order.append(name)
            return {"total": next(left)}

        return run

    timed = starts.in_turns({"cold": way("cold", 9, 5, 7), "warm": way("warm", 1, 2, 4)}, 3)
    assert order == ["cold", "warm"] * 3
    figures = {name: starts.figures(rounds) for name, rounds in timed.items()}
    assert figures == {"cold": {"total": (7, 5, 9)}, "warm": {"total": (2, 1, 4)}}
    view = starts.table({**figures, "original": {"imports": (3.0, 3.0, 3.0)}}, "b16")
    assert [list(column.cells) for column in view.columns] == [
        ["total", "imports"],
        ["7.00 (5.00-9.00)", "-"],
        ["2.00 (1.00-4.00)", "-"],
        ["-", "3.00 (3.00-3.00)"],
    ]


@pytest.mark.parametrize(
    ("config", "stages"),
    [(umt.Retrieval(), ["text", "encode"]), (tds_clip.Recognition(), ["encode"])],
    ids=["texts and videos", "videos"],
)
def test_the_original_encodes_a_batch_of_the_same_size(config, stages, monkeypatch):
    asked = []

    @contextlib.contextmanager
    def started(peer, folder):
        yield lambda **request: asked.append(request)

    monkeypatch.setattr(Peer, "started", started)
    system = registry.build(config.override({"eval.batch_size": 3}))
    seconds = starts._original(Peer("checkout", "python"), system, "folder")
    assert [request["stage"] for request in asked] == stages
    assert {request["form"] for request in asked} == {"eager"}
    assert asked[-1]["clips"] == 3
    assert seconds["total"] == pytest.approx(
        sum(value for name, value in seconds.items() if name != "total")
    )


@pytest.mark.parametrize(
    "config",
    [
        pe_core.Retrieval(),
        tds_clip.Recognition().override({"model.merger.name": "tome", "model.merger.r": 2}),
    ],
    ids=["it encodes no texts", "it merges nothing"],
)
def test_an_original_that_does_less_is_not_timed(config):
    system = registry.build(config)
    with pytest.raises(UserError, match=f"{system.name}' does not encode the same .*; leave out"):
        starts._requests(system)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo", "demo_tempme", "demo_tdsclip"])
def test_the_first_batch_of_a_demo(name, tmp_path):
    config, _ = files.read(name)
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps(config.override({"eval.batch_size": 2}).resolved()))
    programs = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs"), "JAX_LOG_COMPILES": "1"}
    command = [sys.executable, "-m", "benchmarks.first_batch", str(job), str(time.time())]
    process = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **programs}
    )
    seconds = json.loads(process.stdout)
    assert sum(seconds[phase] for phase in PHASES) == pytest.approx(seconds["total"])
    assert min(seconds.values()) > 0
    programs = 2 - (name == "demo_tdsclip")  # of videos, and of texts
    assert process.stderr.count("Compiling jit(on_whole)") == programs
