"""benchmarks/scale.py: exponents and what they mean, resuming, memory, the picture and the page."""

import itertools
import json

import numpy as np
import pytest
import script
from PIL import Image

from benchmarks import (
    scale_axes,
    scale_data,
    scale_jobs,
    scale_memory,
    scale_picture,
    scale_points,
)
from benchmarks import scale_report as report
from benchmarks.scale_axes import AXES, Axis, Point
from tokmerge_jax.config import files
from tokmerge_jax.data.video.decode import open_video
from tokmerge_jax.types import UserError

MIB = 2**20
LINEAR = Axis(
    "things",
    (1, 2, 4, 8),
    "linear",
    why_time="they meet, {gmac:.1f}",
    most=2,
    why_memory="they stay",
)


def rows(seconds, over, **more):
    """Points of the works 1, 2, 4, 8 with these seconds and MiB."""
    return [
        {"work": work, "seconds": spent, "over": mib * MIB, **{k: v[i] for k, v in more.items()}}
        for i, (work, spent, mib) in enumerate(zip((1, 2, 4, 8), seconds, over, strict=True))
    ]


def test_exponents_are_those_of_powers():
    exponents = report.growth(
        LINEAR, rows([3, 6, 12, 24], [50, 200, 800, 3200], gmac=[1, 4, 16, 64])
    )
    assert exponents == pytest.approx((1, 2, 2))


def test_what_the_least_work_takes_does_not_count():
    least = {"work": 0.5, "seconds": 9.0}
    seconds = [9 + 2 * (work - 0.5) for work in (1, 2, 4, 8)]
    assert report.growth(LINEAR, rows(seconds, [1] * 4, least=[least] * 4)).time == pytest.approx(1)
    assert report.growth(LINEAR, rows(seconds, [1] * 4)).time < 0.5


def test_what_grows_of_a_square_is_its_area():
    assert AXES["pixels"].amount(224) == 224 * 224
    square = Axis("pixels", (1, 2, 4, 8), "linear", edge=True)
    assert report.growth(square, rows([1, 4, 16, 64], [1] * 4)).time == pytest.approx(1)


@pytest.mark.parametrize(
    ("over", "memory"), [([5, 28, 6, 20], 0), ([110, 200, 200, 120], 0.04), ([5, 30, 60, 120], 1.5)]
)
def test_memory_that_hardly_varies_is_flat(over, memory):
    exponents = report.growth(LINEAR, rows([1] * 4, over))
    assert exponents.memory == pytest.approx(memory, abs=0.05)
    assert report.memory_verdict(LINEAR, exponents) == ("flat" if memory < 1 else "they stay")


@pytest.mark.parametrize(
    ("time", "gmac", "means"),
    [
        (0.99, None, "linear"),
        (0.7, 1.0, "less than linear"),
        (1.14, 1.0, "linear"),
        (1.2, 1.4, "they meet, 1.4"),
        (2.1, 1.5, "they meet, 1.5"),
        (2.2, 1.5, "faster than it should"),
    ],
)
def test_what_an_exponent_of_time_means(time, gmac, means):
    assert report.time_verdict(LINEAR, report.Growth(time, gmac, 0)) == means
    alone = LINEAR._replace(why_time="", most=1)
    said = report.time_verdict(alone, report.Growth(time, gmac, 0))
    assert said == (means if "linear" in means else "faster than it should")


@pytest.mark.parametrize(
    ("memory", "kind", "means"),
    [
        (0, "flat", "flat"),
        (0.15, "flat", "flat"),
        (0.2, "flat", "they stay"),
        (0.9, "linear", "linear"),
        (0.5, "linear", "less than linear"),
        (1.9, "linear", "they stay"),
        (0.9, "flat", "they stay"),
    ],
)
def test_what_an_exponent_of_memory_means(memory, kind, means):
    axis = LINEAR._replace(memory=kind)
    assert report.memory_verdict(axis, report.Growth(1, None, memory)) == means
    bare = axis._replace(why_memory="", why_time="")
    said = report.memory_verdict(bare, report.Growth(1, None, memory))
    assert said == (f"not {kind}" if means == "they stay" else means)


def figures(seconds, over, **more):
    spent = {"seconds": seconds, "cpu_seconds": 2 * seconds, "held": 100 * MIB}
    return {**spent, "over": over * MIB, "peak": 300 * MIB, **more}


@pytest.fixture
def measured():
    """Points of three axes, in no order."""
    least = {"work": 25, "seconds": 1.0}
    kept = {
        "frames:16": figures(2.0, 80, gmac=24.0),
        "frames:8": figures(1.0, 40, gmac=10.0),
        "merging:8": figures(0.8, 40, gmac=9.0),
        "merging:16": figures(1.5, 90, gmac=20.0),
        "pixels:224": figures(1.0, 40, gmac=9.0),
    }
    for count in (100, 200):
        parts = {"encode videos": count / 100, "re-rank": 0.25}
        more = {"parts": parts, "least": least}
        kept[f"videos:{count}"] = figures(1 + (count - 25) / 50, 60, **more)
    return {"points": kept}


def test_the_tables(measured):
    summary, stages, details = (
        [line.strip("| ").split(" | ") for line in lines if line]
        for empty, lines in itertools.groupby(report.tables(measured), lambda line: not line)
        if not empty
    )
    assert [row[0] for row in summary[2:]] == [
        "videos, and texts, of an evaluation", "frames of a clip", "frames of a clip, merging",
    ]  # fmt: skip
    assert summary[2][1:] == [
        "100, 200", "2.5, 4.5", "1.00", "linear", "60, 60", "0.00", "flat",
    ]  # fmt: skip
    assert summary[3][1:5] == ["8, 16", "1, 2", "1.00", "linear"]
    assert stages[0] == ["videos", "encode videos, s", "re-rank, s", "the rest, s"]
    assert stages[2:] == [["100", "1.00", "0.25", "1.25"], ["200", "2.00", "0.25", "2.25"]]
    assert ["frames of a clip", "8", "10", "1", "2", "100", "40", "300"] in details
    assert len(details) == 2 + len(measured["points"])


def points_of(line):
    """The points of a line of a picture."""
    return np.asarray(line.get_xydata()).tolist()


def test_the_picture_has_two_panels_for_an_axis_and_merging_beside_none(measured):
    drawn = scale_picture.draw(measured)
    shown = [axes for axes in drawn.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == [
        AXES["videos"].title, AXES["frames"].title, "", "",
    ]  # fmt: skip
    seconds, memory = shown[1], shown[3]
    ideal, plain, counted, merging = map(points_of, seconds.lines)
    assert ideal == [[1, 1], [2, 2]]
    assert plain == [[1, 1], [2, 2]]
    assert counted == [[1, 1], [2, 2.4]]
    assert merging == [[1, 0.8], [2, 1.5]]
    assert points_of(memory.lines[0]) == [[1, 40], [2, 80]]
    assert points_of(shown[2].lines[0]) == [[1, 60], [2, 60]]
    with pytest.raises(UserError, match="measure two points of an axis"):
        scale_picture.draw({"points": {"frames:8": figures(1.0, 40)}})


def test_points_are_those_of_the_named_axes():
    assert scale_axes.points(["batch"]) == [Point("batch", work) for work in (1, 2, 4, 8)]
    everything = scale_axes.points([])
    assert {point.axis for point in everything} == set(AXES) == set(scale_jobs._JOBS)
    assert [Point.read(point.name) for point in everything] == everything
    with pytest.raises(UserError, match=r"--axes=batch,frame: unknown frame; known: videos, "):
        scale_axes.points(["batch", "frame"])


def test_a_stopped_run_measures_what_is_missing_and_what_was_measured_otherwise(
    tmp_path, monkeypatch, capsys
):
    asked = []

    def alone(point):
        asked.append(point.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return None if point.work == 2 else figures(1.0, 3)

    monkeypatch.setattr(scale_points, "_alone", alone)
    monkeypatch.setattr(scale_data, "prepare", lambda folder, points: None)
    file, wanted = tmp_path / "scale.json", scale_axes.points(["batch"])
    config = files.read("demo")[0].resolved()

    def measure(config):
        setting = scale_jobs.Setting(tmp_path / "data", config)
        scale_points.measure(scale_points.read(file), file, wanted, setting)

    with pytest.raises(KeyboardInterrupt):
        measure(config)
    assert "[1 of 4] clips of a batch: 1: 1 s, 3 MiB beside 100" in capsys.readouterr().err
    assert list(scale_points.read(file)["points"]) == ["batch:1"]
    measure(config)
    assert asked[3:] == ["batch:2", "batch:4", "batch:8"]
    assert list(scale_points.read(file)["points"]) == ["batch:1", "batch:4", "batch:8"]
    measure(config)
    assert asked[6:] == ["batch:2"]  # it failed
    measure(config.override({"model.vision.depth": 5}))
    assert asked[7:] == ["batch:1", "batch:2", "batch:4", "batch:8"]


def test_a_damaged_file_is_named(tmp_path):
    file = tmp_path / "scale.json"
    for content in ("{", "[]", "{}"):
        file.write_text(content)
        with pytest.raises(UserError, match=r"scale\.json: damaged; delete it"):
            scale_points.read(file)


def test_tables_take_the_place_of_those_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report._MARKS[0]}\nold\n{report._MARKS[1]}\nafter\n")
    for lines in (["a", "b"], ["c"]):
        report.insert(page, lines)
    begin, end = report._MARKS
    assert page.read_text() == f"before\n{begin}\n\nc\n\n{end}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(UserError, match=r"page\.md has no lines"):
        report.insert(page, [])


def test_memory_is_that_of_the_job():
    def job():
        held = np.ones(64 * MIB, np.uint8)
        return held.sum()

    scale_memory.measured(job)
    taken = scale_memory.measured(job)
    assert 60 * MIB < taken["over"] < 80 * MIB
    assert taken["peak"] > taken["held"] + taken["over"] - MIB
    assert taken["seconds"] > 0
    assert scale_memory.measured(lambda: None)["over"] < 8 * MIB  # the peak began again


def test_a_long_video_is_a_short_one_again_and_again(tmp_path):
    scale_data.prepare(tmp_path, [Point("length", 2)])
    lengths = []
    for minutes in (scale_data.SHORTEST, 2):
        (path,) = scale_data.long(tmp_path, minutes).iterdir()
        with open_video(path, 16) as video:
            lengths.append(video.length)
            frames = video.read([5, 305, 605])
        np.testing.assert_array_equal(frames[0], frames[1])
        np.testing.assert_array_equal(frames[0], frames[2])
    assert lengths == [60 * 30, 120 * 30]


@pytest.mark.slow
def test_a_small_axis_is_measured_drawn_and_written(tmp_path):
    network = ["--config=configs/demo.py", "--config.model.vision.depth=1",
               "--config.model.merger.name=none"]  # fmt: skip
    common = [f"--output={tmp_path}", "--axes=batch", *network]
    done = script.run("benchmarks/scale", *common)
    assert done.returncode == 0, done.stderr
    points = json.loads((tmp_path / "scale.json").read_text())["points"]
    assert list(points) == [f"batch:{clips}" for clips in (1, 2, 4, 8)]
    counted = [points[f"batch:{clips}"]["gmac"] for clips in (1, 2, 4, 8)]
    np.testing.assert_allclose(counted, counted[0] * np.array([1, 2, 4, 8]))
    assert done.stdout.startswith("| what grows | ")
    before = json.loads((tmp_path / "scale.json").read_text())
    assert script.run("benchmarks/scale", *common).returncode == 0
    assert json.loads((tmp_path / "scale.json").read_text()) == before  # nothing anew
    picture = tmp_path / "scale.png"
    done = script.run("benchmarks/scale", f"--output={tmp_path}", f"--draw={picture}")
    assert done.returncode == 0, done.stderr
    with Image.open(picture) as opened:
        assert opened.format == "PNG"
