"""The timing of schedules: what is timed, its figures, and rounds that a later call continues."""

import itertools
import json

import jax.numpy as jnp
import pytest
import script

import tokmerge_jax
from tokmerge_jax.tasks import speed
from tokmerge_jax.types import UserError

CONFIG = tokmerge_jax.configuration("demo", {"model.vision.depth": 2})


def test_by_default_half_of_the_schedule_and_all_of_it():
    systems = speed.systems_of(CONFIG)
    r = {name: system.merging.schedule.r for name, system in systems.items()}
    assert r == {"no merging": (0, 0), "r=50,30": (50, 30), "r=100,60": (100, 60)}
    left = [system.merging.cost[-1].tokens_out for system in systems.values()]
    assert left == [288, 208, 128]


def test_schedules_in_every_form():
    systems = speed.systems_of(CONFIG, ["20", "0.5,", "9,0.5"])
    r = {name: system.merging.schedule.r for name, system in systems.items()}
    assert r.pop("no merging") == (0, 0)
    assert r == {"r=20": (20, 20), "r=0.5,": (144, 0), "r=9,0.5": (4, 14)}


def test_a_schedule_of_one_layer_is_not_taken_for_that_of_all():
    systems = speed.systems_of(CONFIG, ["4,", "4"])
    r = {name: system.merging.schedule.r for name, system in systems.items()}
    assert r == {"no merging": (0, 0), "r=4,": (4, 0), "r=4": (4, 4)}


def test_what_cannot_be_timed_is_one_sentence(tmp_path):
    plain = CONFIG.override({"model.merger.name": "none"})
    assert [*speed.systems_of(plain)] == ["no merging"]
    with pytest.raises(UserError, match=r"merger\.name=none merges nothing; name the merger"):
        speed.benchmark(plain, tmp_path / "new", name="x", schedules=["9"])
    with pytest.raises(UserError, match=r"the merging schedule r='9,x' cannot be read"):
        speed.benchmark(CONFIG, tmp_path / "new", name="x", schedules=["9,x"])
    assert not (tmp_path / "new").exists()


def test_figures_are_medians_and_ratios_are_those_of_the_rounds():
    systems = speed.systems_of(CONFIG, ["20"])
    pairs = [(4.0, 1.0), (8.0, 4.0), (6.0, 1.5)]
    rounds = [dict(zip(systems, pair, strict=True)) for pair in pairs]
    plain, merged = speed.rows(systems, rounds)
    assert [plain[key] for key in ("seconds", "times_as_fast", "share")] == [6, 1, 1]
    assert [merged[key] for key in ("seconds", "fastest", "slowest")] == [1.5, 1, 4]
    assert merged["times_as_fast"] == 4  # of 4, 2 and 4
    assert merged["clips_per_second"] == pytest.approx(1 / 1.5)
    macs = [sum(layer.macs for layer in system.merging.cost) for system in systems.values()]
    assert merged["gmac"] == macs[1] / 1e9
    assert merged["share"] == macs[1] / macs[0]


def test_a_later_call_continues(tmp_path, monkeypatch, capsys):
    ticks = itertools.count(1)

    programs = speed.lowered(speed.systems_of(CONFIG, ["20"]), clips=2)
    assert all("tensor<2x8x96x96x3xui8>" in program.as_text() for program in programs.values())
    monkeypatch.setattr(speed, "lowered", lambda systems, clips: programs)
    run_of = dict.fromkeys(programs, lambda: float(next(ticks)))
    monkeypatch.setattr(speed, "compiled", lambda own, systems, programs, clips: run_of)

    def run(count):
        return speed.benchmark(
            CONFIG, tmp_path, name="demo", schedules=["20"], clips=2, count=count
        )

    first = run(1)
    assert [row["seconds"] for row in first["schedules"]] == [3, 4]  # 1 and 2 warmed up
    second = run(2)
    assert second["rounds"] == [*first["rounds"], {"no merging": 7, "r=20": 8}]
    assert f"1 rounds are in {tmp_path}" in capsys.readouterr().err
    assert run(1)["rounds"] == second["rounds"]
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["schedules"][1]["r"] == [20, 20]
    assert kept["machine"]["jax"] == second["machine"]["jax"]
    assert kept["dtype"] == "float32"


def test_a_timed_run_is_of_one_clip(monkeypatch):
    monkeypatch.setattr(speed.time, "perf_counter", itertools.count(0, 6).__next__)
    assert speed._timed(lambda params, video: video, {}, jnp.zeros((3, 1))) == 2


@pytest.mark.slow
def test_the_command(tmp_path):
    small = [f"--config.{key}" for key in ("model.vision.depth=2", f"output={tmp_path}")]
    command = "benchmark", "--config=demo", *small, "--rounds=2"
    done = script.run("tokmerge_jax/__main__", *command, "--merging=72", COLUMNS="100")
    assert done.returncode == 0, done.stderr
    assert "demo, 1 at a time, float32" in done.stdout
    shown = [line.split("│")[1:4] for line in done.stdout.splitlines() if "│" in line]
    plain, merged = (
        f"{sum(layer.macs for layer in system.merging.cost) / 1e9:.3g}"
        for system in speed.systems_of(CONFIG, ["72"]).values()
    )
    assert [[x.strip() for x in row] for row in shown] == [
        ["no merging", "288", plain],
        ["r=72", "144", merged],
    ]
    kept = json.loads((tmp_path / "benchmark" / "results.json").read_text())
    assert [len(each) for each in kept["rounds"]] == [2, 2]
