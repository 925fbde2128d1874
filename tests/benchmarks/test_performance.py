"""The page of ratios from figures written by hand."""

import json
import runpy
import sys

import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from tokmerge_jax.visualize import ratios


def case(stage, way, rounds, **more):
    figures = {"seconds": sorted(rounds)[1], "share_of_ceiling": 0.5, "clips_per_second": 2.0}
    return {"stage": stage, "way": way, "rounds": rounds, **figures, **more}


@pytest.fixture
def run(tmp_path):
    cases = [
        case("ceiling", "12 products", [1.0, 1.0, 1.0]),
        case("encode 1 clip", "ours", [1.0, 2.0, 4.0]),
        case("encode 1 clip", "original, eager", [3.0, 4.0, 8.0]),
        case("encode 1 clip", "original, fused", [1.0, 3.0, 2.0]),
        case("text", "ours", [1.0, 1.0, 1.0]),
    ]
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"name": "b16", "cases": cases}))
    return path


def start(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["performance.py", *map(str, arguments)])
    runpy.run_path("benchmarks/performance.py", run_name="__main__")


def test_ratios_are_those_of_rounds(run, tmp_path, monkeypatch, capsys):
    start(monkeypatch, run, "--output", tmp_path / "page")
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert rows == [
        "| b16 | encode 1 clip | 2 | 50% | 2 | original, eager: **2.00** (2.00-3.00);"
        " original, fused: **1.00** (0.50-1.50) |"
    ]
    assert (tmp_path / "page.png").stat().st_size > 1000


def test_the_gain_of_merging_stands_beside_that_of_the_products(tmp_path, monkeypatch, capsys):
    cases = [
        case("encode 1 clip, no merging", "ours", [4.0, 6.0, 9.0], clips=1, gmac=30.0),
        case("encode 1 clip, no merging", "original, eager", [4.0, 6.0, 9.0]),
        case("encode 1 clip, tome, r=8", "ours", [2.0, 4.0, 3.0], clips=1, gmac=12.0),
        case("encode 64 texts", "ours", [1.0, 1.0, 1.0], clips=None),
    ]
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"name": "b14", "cases": cases}))
    start(monkeypatch, path, "--output", tmp_path / "page")
    *_, empty, _, _, row = capsys.readouterr().out.splitlines()
    assert empty == ""  # between two tables of Markdown
    # Round by round 2, 1.5 and 3 times as fast; 30 / 12 = 2.5.
    assert row == "| b14 | encode 1 clip, tome, r=8 | 12.0 | 3 | 2.00 (1.50-3.00) | 2.50 | 80% |"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no file of stages.py"),
        ("null", "is no file of stages.py"),
        ('{"name": "b16"}', "KeyError('cases')"),
        ('{"name": "b16", "cases": [{"way": "ours"}]}', "KeyError('stage')"),
        ('{"name": "b16", "cases": [{"stage": "text"}, {"stage": "text"}]}', "KeyError('way')"),
        ('{"name": "b16", "cases": []}', "nothing was timed beside an original"),
    ],
)
def test_other_files_are_refused(content, says, tmp_path, monkeypatch, capsys):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(SystemExit, match="2"):
        start(monkeypatch, path, "--output", tmp_path / "page")
    error = capsys.readouterr().err
    assert str(path) in error
    assert says in error


def test_bars_are_medians():
    drawn = ratios.draw(
        [ratios.Comparison("job", ("eager", "fused"), ((3.0, 2.0, 9.0), (1.5, 1.0, 1.0)))]
    )
    axes = drawn.axes[0]
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    assert [bar.get_x() + bar.get_width() for bar in bars] == [3, 1]
    assert [text.get_text() for text in axes.texts] == ["3", "1"]


def test_the_median_of_two_rounds_lies_between_them():
    drawn = ratios.draw([ratios.Comparison("job", ("eager",), ((2.0, 5.0),))])
    (text,) = drawn.axes[0].texts
    assert isinstance(text, Annotation)
    assert (text.get_text(), text.xy[0]) == ("3.5", 5)
