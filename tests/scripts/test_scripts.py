"""Parts of scripts that full disks, broken videos and closed pipes come by."""

import contextlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from tokmerge_jax import data, disk, registry
from tokmerge_jax.command_line import own_videos
from tokmerge_jax.configs import demo
from tokmerge_jax.data.loader import stop
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.tasks import schedules, training
from tokmerge_jax.tasks.cached_source import CachedSource
from tokmerge_jax.types import Gallery, UserError


def test_the_best_parameters_stay_until_better_ones_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(training.evaluation, "open_source", lambda *_: None)
    monkeypatch.setattr(training.evaluation, "protocol", lambda *_: "")
    system = registry.build(demo.get_config().override({"train.eval_split": "val"}))

    def save(place, params, *_):
        place.mkdir()
        if not params:
            raise OSError(28, "No space left on device")
        (place / "weights").write_text(params["name"])
        (place / "constants.json").touch()

    monkeypatch.setattr(training.checkpoints, "save_checkpoint", save)
    trials = training._trials(system, tmp_path, 10)
    assert trials is not None
    keep = trials.keep
    keep(10, {"name": "first"})
    with pytest.raises(OSError, match="No space"):
        keep(20, {})
    assert (tmp_path / "best/weights").read_text() == "first"
    keep(30, {"name": "third"})
    assert (tmp_path / "best/weights").read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize("moment", range(5))
def test_a_kill_loses_no_best_parameters(tmp_path, monkeypatch, moment):
    """Killed before the n-th change of a folder, the next run has the old ones or the new ones."""

    def write(name, weights):
        (tmp_path / name).mkdir()
        for file in ("weights", "constants.json"):
            (tmp_path / name / file).write_text(weights)

    def best():
        return (tmp_path / "best/weights").read_text()

    write("best", "old")
    write("best.part", "new")
    with monkeypatch.context() as patch:
        changes = itertools.count()
        changed = (disk.shutil, "rmtree"), (disk.shutil, "copytree"), (type(tmp_path), "unlink")
        for owner, name in changed:
            change = getattr(owner, name)

            def killed(*arguments, change=change, **how):
                if next(changes) == moment:
                    raise KeyboardInterrupt
                return change(*arguments, **how)

            patch.setattr(owner, name, killed)
        with contextlib.suppress(KeyboardInterrupt):
            training._replace_best(tmp_path)
    training._replace_best(tmp_path)
    assert best() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    (tmp_path / "best.part").mkdir()  # killed while it was written
    training._replace_best(tmp_path)
    assert best() == "new"


def test_an_output_of_too_long_a_name_is_refused(tmp_path, monkeypatch):
    check = own_videos.check
    monkeypatch.setattr(own_videos, "decoder", lambda *_, **__: None)
    system = registry.build(demo.get_config())
    check(system, str(tmp_path / "a.json"))
    for name in (tmp_path / ("a" * 256), tmp_path / ("a" * 254), tmp_path / ("b" * 300) / "a.json"):
        with pytest.raises(UserError, match=r"File name too long|its folder does not exist"):
            check(system, str(name))


def test_kept_videos_report_a_broken_one_at_once_and_once(monkeypatch):
    decoded = []

    def read(self, path, rng=None):
        decoded.append(path)
        if path == "1":
            raise UserError("1: cannot be decoded")
        return np.full((1, 2, 2, 3), int(path), np.uint8)

    monkeypatch.setattr(Decoder, "__call__", read)
    gallery = Gallery(("0", "1", "2"), ("", "", ""), ((0,), (1,), (2,)))
    plain = data.Source(gallery, (), ("0", "1", "2"), Decoder("", 1, 0), 0)
    kept = CachedSource
    with pytest.raises(UserError, match="1: cannot be decoded"):
        list(kept(**vars(plain), transform=np.copy).clips(np.copy, [0, 1, 2], stop))
    assert decoded == ["0", "1"]
    source = kept(**vars(plain), transform=np.copy)
    for rows in ([0, 1, 2], [1, 2]):
        faults = []
        clips = source.clips(np.copy, rows, lambda row, fault, to=faults: to.append((row, fault)))
        assert [(row, int(clip[0, 0, 0, 0])) for row, clip in clips] == [
            (row, row) for row in rows if row != 1
        ]
        assert faults == [(1, "1: cannot be decoded")]
    assert decoded == ["0", "1", "0", "1", "2"]
    with pytest.raises(UserError, match="were resized in another way; open them again"):
        list(source.clips(np.flip, [0], stop))


def test_kept_videos_hold_no_shared_memory_of_workers(monkeypatch):
    """An array of a worker holds two open files, and a process may open about 1000."""

    class Shared(np.ndarray):
        """Stands for grain's array, which frees its memory when it is no longer used."""

    shared = np.full((1, 2, 2, 3), 7, np.uint8).view(Shared)
    monkeypatch.setattr(data.Source, "clips", lambda *_: iter([(0, shared)]))
    gallery = Gallery(("0",), ("",), ((0,),))
    plain = data.Source(gallery, (), ("0",), Decoder("", 1, 0), 0)
    ((_, clip),) = CachedSource(**vars(plain), transform=np.copy).clips(np.copy, [0], stop)
    assert type(clip) is np.ndarray
    assert not np.shares_memory(clip, shared)
    assert (clip == 7).all()


def test_a_search_notes_which_videos_a_schedule_was_not_evaluated_on(tmp_path, monkeypatch):
    evaluated = {"headline": {"name": "R@1", "value": 50.0}, "protocol": {"left_out": ["a.mp4"]}}
    monkeypatch.setattr(schedules, "_gmac", lambda *_: 1.0)
    monkeypatch.setattr(schedules.Evaluator, "_progress", lambda _: "1 of 1")
    monkeypatch.setattr(schedules.Evaluator, "_evaluate", lambda *_: evaluated)
    log = schedules.TrialLog(tmp_path / "trials.jsonl", "facts")
    system = registry.build(demo.get_config())
    source = data.Source(Gallery((), (), ()), (), (), Decoder("", 1, 0), 0)
    assert schedules.Evaluator(system, {}, source, tmp_path, log, 1)((3, 0)) == 50.0
    kept = schedules.TrialLog(tmp_path / "trials.jsonl", "facts")[3, 0]
    assert (kept["value"], kept["left_out"]) == (50.0, ["a.mp4"])


def test_a_pipe_that_nobody_reads_ends_a_script_quietly():
    program = (
        "from tokmerge_jax import command_line\n"
        "command_line.run_commands(lambda _: [print(i) for i in range(99999)])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
