"""benchmarks/study.py: what its numbers are, its points, its file, its picture."""

import json
from types import SimpleNamespace
from typing import get_args

import chex
import clips
import numpy as np
import pytest
import script
from PIL import Image

from benchmarks import study_picture, study_points
from benchmarks.study_grid import Point, grid
from benchmarks.study_outputs import Scored, compared
from tokmerge_jax.config import files
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.merging import merger
from tokmerge_jax.merging.merger import Place
from tokmerge_jax.tasks.synthetic import unmerged
from tokmerge_jax.types import UserError

WORDS = [*enumerate(("red", "blue", "green"))]


def scored(vectors, scores):
    return Scored(np.array(vectors, np.float32), np.array(scores, np.float32))


def test_numbers_by_hand():
    plain = scored([[2, 0], [0, 1]], [[0.3, 0.2, 0.1], [0.1, 0.2, 0.4]])
    assert compared(plain, plain) == pytest.approx((1, 1, 1))
    other = scored([[1, 0], [3, 0]], [[0.1, 0.2, 0.3], [1, 2, 9]])  # reversed; the same order
    assert compared(plain, other) == pytest.approx((0.5, 0, 0.5))


@pytest.mark.parametrize(
    ("name", "merger", "shares", "step"),  # what a token more in each layer saves at most
    [
        ("demo", "vid_tldr", [0.8, 0.6], 0.03),
        ("demo_tempme", "tempme", [0.55, 0.5], 0.08),
        ("demo_testa", "testa", [0.65, 0.62], 0.13),
    ],
)
def test_points_are_just_below_each_share(name, merger, shares, step):
    config = files.read(name)[0]
    points = grid(config, shares, [merger])
    assert {point.merger for point in points} == {merger}
    assert {point.schedule for point in points} == {"even", "configured"}
    assert len({point.name for point in points}) == len(points)
    full = unmerged(config).merging.gmac
    for point in points:
        assert 0 <= point.wanted - point.system.merging.gmac / full < step
        r = point.system.merging.schedule.r
        if point.schedule == "even":  # the last layers may have no more to merge
            assert all(r[0] == each for each in r[: len(r) // 2])


@pytest.mark.slow
def test_points_are_of_every_merger_that_fits():
    points = grid(files.read("demo_tdsclip")[0], [0.9])
    merging = {point.merger for point in points}
    assert {"tome", "shift", "vid_tldr"} <= merging
    assert not {"none", "unchanged", "vote"} & merging
    assert {point.schedule for point in points} == {"even"}  # the configuration merges nothing


def test_a_merger_that_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"config\.model\.merger\.name='vote' acts at 'time'"):
        grid(files.read("demo")[0], [0.9], ["vote"])


def test_picture_has_a_row_for_each_configuration():
    point = {"merger": "tome", "share": 0.7, "cosine": 0.9, "ranks": 0.8, "time_share": 0.75}
    more = {**point, "share": 0.5, "cosine": 0.8, "ranks": 0.7}
    about = {"gmac": 1.0, "points": [{**each, "schedule": "even"} for each in (more, point)]}
    axes = study_picture.draw({"one": about, "two": about}).axes
    assert len(axes) == 6
    (line,) = axes[0].lines
    chex.assert_trees_all_close(line.get_xydata(), np.array([[0.7, 0.1], [0.5, 0.2]]))
    assert axes[0].get_yscale() == "log"
    with pytest.raises(UserError, match="no study to draw"):
        study_picture.draw({})


def test_mergers_of_a_picture_look_different_and_families_share_a_colour():
    names = [name for name in merger.names(get_args(Place)) if name != "none"]
    point = {"schedule": "even", "ranks": 0.8, "time_share": 0.75}
    ends = (
        {"share": 0.7, "cosine": 1.0, "ranks": 0.8},
        {"share": 0.5, "cosine": 0.5, "ranks": 0.5},
    )
    points = [{"merger": name, **point, **end} for name in names for end in ends]
    axes = study_picture.draw({"one": {"gmac": 1.0, "points": points}}).axes
    lines = {name: line for name, line in zip(sorted(names), axes[0].lines, strict=True)}
    looks = {name: (line.get_color(), line.get_marker()) for name, line in lines.items()}
    assert len(set(looks.values())) == len(names) > 20
    assert looks["tome"][0] == looks["tome_rotated"][0] != looks["tofu"][0]
    np.testing.assert_allclose(
        np.asarray(lines["atc"].get_ydata()), [1e-4, 0.5]
    )  # a cosine of 1, and of 0.5


def test_a_point_that_a_network_refuses_is_reported_and_not_tried_again(
    monkeypatch, tmp_path, capsys
):
    config = files.read("demo")[0]
    systems = {name: unmerged(config) for name in ("good", "bad")}
    points = [Point(name, "even", 0.9, system) for name, system in systems.items()]
    subject = SimpleNamespace(facts={}, plain=systems["good"], videos=3)
    tried = []

    def row(subject, point, rounds):
        tried.append(point.merger)
        if point.merger == "bad":
            raise UserError("dropped tokens cannot be followed")
        return {"point": point.name, "rounds": rounds}

    monkeypatch.setattr(study_points.Subject, "of", lambda config, videos: subject)
    monkeypatch.setattr(study_points, "grid", lambda *_: points)
    monkeypatch.setattr(study_points, "_row", row)
    file, wanted = tmp_path / "study.json", study_points.Wanted([0.9], [], videos=3, rounds=7)
    study_points.measure({}, file, "demo", config, wanted)
    (kept,) = study_points.read(file)["demo"]["points"]
    assert kept == {"point": "good, even, 0.9", "rounds": 7}
    said = capsys.readouterr().err
    assert "bad, even, 0.9 is left out: dropped tokens cannot be followed" in said
    study_points.measure(study_points.read(file), file, "demo", config, wanted)
    assert tried == ["good", "bad"]
    refused = study_points.read(file)["demo"]["refused"]
    assert refused == {"bad, even, 0.9": "dropped tokens cannot be followed"}


@pytest.mark.parametrize("shares", ["a", "0.5,1.5"])
def test_shares_that_cannot_be_are_reported(shares, tmp_path):
    done = script.run(
        "benchmarks/study", f"--shares={shares}", f"--output={tmp_path}", "--config=configs/demo.py"
    )
    assert done.returncode == 2
    assert f"--shares={shares}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_file_grows_and_a_picture_is_drawn_from_it(tmp_path):
    for i in range(3):
        clips.write(tmp_path / f"{i}.mp4", clips.draw(20, 48, 64, seed=i))
    records = [Record((Clip(f"{i}.mp4", f"{i}.mp4"),), (f"a {word} circle",)) for i, word in WORDS]
    video_text.write(str(tmp_path), "msvd", {"test": records})
    common = (f"--output={tmp_path}", "--config=configs/demo.py", "--config.data.dataset=msvd",
              f"--config.data.folder={tmp_path}", "--config.data.workers=0", "--rounds=1",
              "--mergers=tome")  # fmt: skip

    def points(shares):
        done = script.run("benchmarks/study", *common, f"--shares={shares}")
        assert done.returncode == 0, done.stderr
        kept = json.loads((tmp_path / "study.json").read_text())
        assert list(kept) == ["demo"]
        assert kept["demo"]["videos"] == 3
        return {row["point"]: row for row in kept["demo"]["points"]}

    first = points("0.9")
    assert [*first] == ["tome, even, 0.9", "tome, configured, 0.9"]
    for row in first.values():
        assert 0.9 < row["cosine"] < 1
        assert -1 <= row["ranks"] <= 1
        assert 0.8 < row["share"] <= 0.9
    more = points("0.9,0.7")
    assert len(more) == 4
    assert {name: more[name] for name in first} == first  # not measured again
    done = script.run("benchmarks/study", f"--output={tmp_path}", f"--draw={tmp_path / 'a.png'}")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
