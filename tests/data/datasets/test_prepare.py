"""prepare_data: what is checked, stored and reported, once; also after it was killed."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction

import clips
import pytest

import tokmerge_jax
from tokmerge_jax import data, disk
from tokmerge_jax.config import umt
from tokmerge_jax.config.common import TextData
from tokmerge_jax.data.datasets.prepare import prepare
from tokmerge_jax.data.video import checking
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path):
    """Annotations and videos: 0, 1, 2 good, one without a file, one without its end."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(3):
        clips.write(videos / f"{i}.mp4", clips.draw(14, 32, 48, seed=i))
    whole = (videos / "0.mp4").read_bytes()
    (videos / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    names = ["0.mp4", "gone.mp4", "1.mp4", "cut.mp4"]
    write(tmp_path, "msrvtt_ret_test1k.json", names)
    write(tmp_path, "msrvtt_ret_train9k.json", ["2.mp4"])
    return tmp_path


def write(folder, name, videos):
    rows = [{"video": video, "caption": f"this is {video}"} for video in videos]
    (folder / name).write_text(json.dumps(rows))


def run(folder, splits=("test",), source=None, workers=0):
    source = source or folder
    videos, data = folder / "videos", str(folder / "data")
    return prepare("msrvtt", source, videos, data, splits, workers=workers)


def opened(folder, split="test", on_broken="skip"):
    place = {"dataset": "msrvtt", "split": split, "folder": str(folder / "data")}
    config = TextData().override({**place, "on_broken": on_broken, "workers": 0})
    return data.open_retrieval(config, 4)


def by_processes(folder):
    """Prepares by the package's own function."""
    places = {"annotations": folder, "videos": folder / "videos"}
    return tokmerge_jax.prepare("msrvtt", folder / "data", **places, workers=2)


@pytest.mark.parametrize("how", [run, pytest.param(by_processes, marks=pytest.mark.slow)])
def test_videos_are_sorted_into_good_missing_and_broken(folder, how):
    (report,) = how(folder)
    assert (report.texts, report.videos, report.usable) == (4, 4, 2)
    assert report.missing == ["gone.mp4"]
    assert list(report.undecodable) == ["cut.mp4"]
    assert "cannot be decoded" in report.undecodable["cut.mp4"]
    written = json.loads((folder / "data" / "msrvtt_report.json").read_text())
    assert written["test"]["missing"] == ["gone.mp4"]
    source = opened(folder)
    assert source.gallery.videos == ("0.mp4", "1.mp4")
    assert source.gallery.texts == ("this is 0.mp4", "this is 1.mp4")
    assert source.broken == ("gone.mp4", "cut.mp4")


def edit(folder):
    """Hides the first 5 frames of a video by an edit list."""
    whole = clips.write(folder / "whole.mp4", clips.draw(40, 48, 64))
    clips.change_packets(whole, folder / "videos" / "edited.mp4", earlier=Fraction(5, 25))
    write(folder, "msrvtt_ret_test1k.json", ["0.mp4", "edited.mp4"])


def test_videos_with_packets_that_are_not_shown_are_named(folder):
    edit(folder)
    log = folder / "data" / "msrvtt_checks.jsonl"
    for _ in range(2):  # checked, then known from the log
        (report,) = run(folder)
        assert (report.usable, report.unshown) == (2, {"edited.mp4": 5})
        assert log.read_text().count("edited.mp4") == 1
    rows = [json.loads(line) for line in log.read_text().splitlines() if line]
    log.write_text("\n".join(json.dumps(row[:3]) for row in rows))  # as version 0.1 wrote it
    assert run(folder)[0].unshown == {"edited.mp4": 5}
    written = json.loads((folder / "data" / "msrvtt_report.json").read_text())
    assert written["test"]["unshown"] == {"edited.mp4": 5}


def test_one_split_after_the_other(folder):
    run(folder, ["test"])
    run(folder, ["train"], source=folder / "msrvtt_ret_train9k.json")
    assert opened(folder, "train").gallery.videos == ("2.mp4",)
    assert opened(folder, "test").gallery.videos == ("0.mp4", "1.mp4")
    written = json.loads((folder / "data" / "msrvtt_report.json").read_text())
    assert set(written) == {"test", "train"}


def test_only_new_and_changed_videos_are_checked_again(folder, monkeypatch):
    run(folder)
    checked = []

    def record(paths, workers):
        checked.extend(pathlib.Path(path).name for path in paths)
        return ((path, checking.Check("")) for path in paths)

    monkeypatch.setattr(checking, "_checked", record)
    (folder / "videos" / "cut.mp4").write_bytes((folder / "videos" / "1.mp4").read_bytes())
    clips.write(folder / "videos" / "gone.mp4", clips.draw(14, 32, 48))
    (report,) = run(folder)
    assert sorted(checked) == ["cut.mp4", "gone.mp4"]
    assert report.usable == 4


def test_files_are_looked_up_and_checked_in_slices(folder, monkeypatch):
    parts = []

    def checked(paths, pool):
        parts.append([pathlib.Path(path).name for path in paths])
        return ((path, checking.Check("bad" if "cut" in path else "")) for path in paths)

    monkeypatch.setattr(checking, "_checked", checked)
    monkeypatch.setattr(checking, "_SLICE", 2)
    names = ("0.mp4", "gone.mp4", "0.mp4", "1.mp4", "cut.mp4", "2.mp4")
    paths = [str(folder / "videos" / name) for name in names] + [str(folder / "videos")]
    faults = ["", "missing", "", "", "bad", "", "missing"]  # the last is a folder
    for expected in ([["0.mp4"], ["1.mp4", "cut.mp4"], ["2.mp4"]], [[], ["cut.mp4"], []]):
        parts.clear()
        checks = checking.check_videos(paths, folder / "log.jsonl", 1)
        assert checks == dict(zip(paths, map(checking.Check, faults), strict=True))
        assert parts == expected


@pytest.mark.slow
def test_two_processes_check_and_store_what_one_does(folder):
    expected, videos = run(folder), folder / "videos"
    alone = json.loads((folder / "data" / "msrvtt_report.json").read_text())
    command = [sys.executable, "scripts/launch.py", "--processes=2", "scripts/prepare_data.py"]
    settings = {"dataset": "msrvtt", "annotations": folder, "videos": videos, "workers": 1}
    arguments = [f"--{key}={value}" for key, value in settings.items()]
    for _ in range(2):  # the second time, only what is broken is checked again
        done = subprocess.run(
            [*command, *arguments, f"--folder={folder / 'both'}"],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("undecodable") == 1
        assert json.loads((folder / "both" / "msrvtt_report.json").read_text()) == alone
    logs = [(folder / "both" / f"msrvtt_checks{n}.jsonl").read_text() for n in ("", ".1")]
    checked = [re.findall(r"(\w+)\.mp4", log) for log in logs]
    assert [*map(set, checked)] == [{"0", "1"}, {"cut"}]  # of gone.mp4 there is nothing to check
    assert [report.usable for report in expected] == [2]
    assert opened(folder, on_broken="skip").gallery.videos == ("0.mp4", "1.mp4")


@pytest.mark.parametrize(
    ("splits", "source", "message"),
    [
        (["test"], "none", r"none: no such annotation files .*: msrvtt_ret_test1k\.json, or MSR"),
        (["val"], "", r"splits=val: msrvtt has the splits train, test, train_7k$"),
        (["test", "train"], "msrvtt_ret_test1k.json", "one file holds one split"),
    ],
)
def test_wrong_arguments_are_named(folder, splits, source, message):
    with pytest.raises(UserError, match=message):
        run(folder, splits, folder / source)


@pytest.mark.slow
def test_the_script(folder):
    arguments = ["--annotations", folder, "--videos", folder / "videos", "--folder", folder / "out"]
    done = script(*arguments, "--workers", "1").communicate()
    assert "undecodable" in done[0]
    assert "not shown" not in done[0]
    assert "msrvtt_report.json" in done[0].replace("\n", "")
    failed = script(*arguments[:2], "--videos", folder / "nowhere")
    message = failed.communicate()[1]
    assert failed.returncode == 2
    assert "nowhere: no such folder" in message
    assert "Traceback" not in message
    edit(folder)
    said = script(*arguments, "--workers", "1").communicate()[0]
    assert "Videos with packets that are not shown: 1 (edited.mp4). The originals' decord" in said
    failed = script(*arguments, "--format", "clip4clip")
    message = failed.communicate()[1]
    assert failed.returncode == 2
    assert "(split test): MSRVTT_JSFUSION_test.csv; name their folder" in message


@pytest.mark.slow
def test_a_killed_run_goes_on(folder):
    names = [f"{i}.mp4" for i in range(3, 120)]
    for name in names:
        clips.write(folder / "videos" / name, clips.draw(14, 32, 48))
    write(folder, "msrvtt_ret_test1k.json", names)
    arguments = [
        "--annotations",
        folder,
        "--videos",
        folder / "videos",
        "--folder",
        folder / "data",
    ]
    log = folder / "data" / "msrvtt_checks.jsonl"
    process = script(*arguments, "--workers", "1")
    while not (log.exists() and log.read_text().count(".mp4") >= 4):
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    first = log.read_text().count(".mp4")
    log.write_text(log.read_text()[:-9])  # the last line may have been cut in two as well
    done = script(*arguments, "--workers", "1").communicate()
    assert f" of {len(names) - first + 1} (100 %)" in done[1]
    assert opened(folder).gallery.videos == tuple(names)


def script(*arguments):
    command = [sys.executable, ROOT / "scripts/prepare_data.py", "--dataset", "msrvtt"]
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.Popen(
        [str(word) for word in (*command, *arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_questions_with_their_answer_list(folder):
    rows = [
        {"video": f"{i}.mp4", "question": "who?", "answer": "man", "question_id": i} for i in (1, 0)
    ]
    (folder / "msvd_qa_test.json").write_text(json.dumps(rows))
    target = str(folder / "data")
    config = umt.QuestionData(dataset="msvd_qa", folder=target, workers=0)
    prepare("msvd_qa", folder, folder / "videos", target, ["test"], workers=0)
    with pytest.raises(UserError, match=r"put msvd_qa_answer_list\.json .* beside"):
        data.open_questions(config, 4)
    (folder / "msvd_qa_answer_list.json").write_text(json.dumps(["man", "dog"]))
    prepare("msvd_qa", folder, folder / "videos", target, ["test"], workers=0)
    source = data.open_questions(config, 4)
    assert source.gallery.answers == ("man", "dog")
    assert source.gallery.ids == ("1", "0")
    assert source.gallery.truths == (("man",), ("man",))
    with pytest.raises(UserError, match="holds questions, but captions are needed"):
        data.open_retrieval(config, 4)
    other = folder / "other.json"
    other.write_text(json.dumps(["cat"]))
    config = config.override({"answers": str(other)})
    assert data.open_questions(config, 4).gallery.answers == ("cat",)


def test_choices_are_stored_whole(folder):
    rows = [{"video": "1.mp4", "caption": list("vwxyz"), "answer": 3}]
    (folder / "msrvtt_mc_test.json").write_text(json.dumps(rows))
    target = str(folder / "data")
    prepare("msrvtt_mc", folder, folder / "videos", target, ["test"], workers=0)
    config = TextData(dataset="msrvtt_mc", folder=target, workers=0)
    source = data.open_choices(config, 4)
    assert source.gallery.options == (tuple("vwxyz"),)
    assert source.gallery.answers == (3,)
    with pytest.raises(UserError, match="holds choices, which can only be evaluated"):
        data.open_training(config, 4, "test")


def test_files_that_changed_since_stop_what_opens_them(folder):
    """Those that still can be decoded do not, and where broken videos are left out none does."""
    videos = folder / "videos"
    write(folder, "msrvtt_ret_test1k.json", ["0.mp4", "1.mp4"])
    run(folder)
    assert len(opened(folder, on_broken="stop").paths) == 2
    whole = (videos / "0.mp4").read_bytes()
    (videos / "0.mp4").write_bytes((videos / "1.mp4").read_bytes() + bytes(9))
    assert len(opened(folder, on_broken="stop").paths) == 2
    (videos / "0.mp4").write_bytes(whole[:50])
    (videos / "1.mp4").unlink()
    said = (
        r"2 videos of msrvtt were usable when .* \(1\.mp4: missing; 0\.mp4: .*\);"
        r" bring them back, or .*on_broken=skip$"
    )
    with pytest.raises(UserError, match=said):
        opened(folder, on_broken="stop")
    assert len(opened(folder).paths) == 2
    (videos / "0.mp4").write_bytes(b"")
    (folder / "data" / "msrvtt_checks.jsonl").unlink()  # its sizes are not known any more
    with pytest.raises(UserError, match=said):
        opened(folder, on_broken="stop")


@pytest.mark.parametrize("line", ["7", "[]", '["a", 5, ""]', "[[], [5], 0]", "\xff", "[" * 60_000])
def test_a_damaged_line_of_the_checks_is_checked_again(folder, line):
    run(folder)
    log = folder / "data" / "msrvtt_checks.jsonl"
    log.write_bytes(log.read_bytes() + line.encode("latin1") + b"\n")
    assert run(folder)[0].usable == 2
    assert checking.faults([str(folder / "videos" / "0.mp4")], log, 0) == {}


def test_a_damaged_report_is_written_anew(folder, capsys):
    run(folder)
    report = folder / "data" / "msrvtt_report.json"
    report.write_text("{")
    run(folder)
    assert re.search(r"msrvtt_report\.json.*; it is replaced", capsys.readouterr().err)
    assert json.loads(report.read_text())["test"]["missing"] == ["gone.mp4"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", bytes(2000)])
@pytest.mark.parametrize("name", ["video_text-test.array_record*", "dataset_info.json"])
def test_a_damaged_data_set_is_named(folder, name, content):
    run(folder)
    (file,) = (folder / "data").rglob(name)
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"msrvtt.* is damaged \(.*\); remove it and prepare"):
        opened(folder)


def test_another_process_preparing_it_is_named(folder):
    with (
        disk.held(folder / "data", "msrvtt.lock"),
        pytest.raises(UserError, match=rf"data is being written by process {os.getpid()} on"),
    ):
        run(folder)
