"""Rows and locks on an object store, and what it refuses in one sentence."""

import io
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
from unittest import mock

import fsspec
import jax.numpy as jnp
import numpy as np
import object_store
import pytest

from tokmerge_jax import disk, objects
from tokmerge_jax.checkpoints import hub
from tokmerge_jax.evaluation import report
from tokmerge_jax.evaluation.object_rows import ObjectPart
from tokmerge_jax.evaluation.store import Store
from tokmerge_jax.evaluation.trial_log import TrialLog
from tokmerge_jax.tasks import training
from tokmerge_jax.training import logs
from tokmerge_jax.types import UserError


@pytest.fixture(scope="module", autouse=True)
def store():
    with object_store.running():
        yield


@pytest.fixture
def place(request, monkeypatch):
    monkeypatch.setattr(objects, "PERIOD", 0.0)
    return objects.place(f"s3://bucket/{request.node.name.partition('[')[0]}")


def test_rows_are_kept_and_known(place):
    rows = Store(place, {"a": 1}).make("x", (4, 3), np.float32)
    rows.write(np.array([2, 0]), np.arange(6).reshape(2, 3))
    rows.write(np.array([0]), np.array([[7, 8, 9]]))
    assert rows[np.array([0, 2])].tolist() == [[7, 8, 9], [0, 1, 2]]
    again = Store(place, {"a": 1}).open("x")
    assert again is not None
    assert again.todo.tolist() == [1, 3]
    assert again[0].tolist() == [7, 8, 9]
    assert again.values.tolist() == [[7, 8, 9], [0, 0, 0], [0, 1, 2], [0, 0, 0]]
    assert Store(place, {"a": 2}).open("x") is None


def test_bfloat16_and_rows_of_files_that_have_changed(place):
    values = jnp.asarray([[1.5, -2.25], [3e38, 1e-30]], jnp.bfloat16)

    def opened(stamps):
        store = Store(place, {}, np.array(stamps, np.uint64))
        return store.make("x", (2, 2), values.dtype, (0, 1))

    opened([5, 2**64 - 1]).write(np.arange(2), np.asarray(values))
    assert opened([6, 2**64 - 1]).todo.tolist() == [0]
    assert opened([5, 2**64 - 1]).values.dtype == jnp.bfloat16
    np.testing.assert_array_equal(opened([5, 2**64 - 1]).values, values)


def test_what_another_process_adds_is_seen(place):
    store = Store(place, {})
    rows = store.make("x", (3,), np.float32)
    Store(place, {}).make("x", (3,), np.float32).write(np.array([1]), np.array([7.0]))
    seen = store.open("x")
    assert seen is not None
    assert seen.values.tolist() == [0, 7, 0]
    rows.write(np.array([2]), np.array([8.0]))  # in an object of another name
    assert Store(place, {}).make("x", (3,), np.float32).values.tolist() == [0, 7, 8]


def test_small_writes_wait_for_each_other(place, monkeypatch):
    store = Store(place, {})
    rows = store.make("x", (4, 2), np.float32)
    rows.write(np.array([1]), np.array([[1, 2]]))
    monkeypatch.setattr(objects, "PERIOD", 60.0)
    store.note_often("seconds", 1)
    for row in (2, 1):
        rows.write(np.array([row]), np.array([[row, 3]]))
        store.note_often("seconds", 2)
    assert rows.todo.tolist() == [0, 3]
    assert rows.values.tolist() == [[0, 0], [1, 3], [2, 3], [0, 0]]
    other = Store(place, {})
    seen = other.make("x", (4, 2), np.float32)
    assert other.noted("seconds", int) == 1
    assert seen.values[:, 0].tolist() == [0, 1, 0, 0]
    assert store.whole("x").tolist() == rows.values.tolist()  # which sends what waits
    assert other.whole("x").tolist() == rows.values.tolist()
    monkeypatch.setattr(ObjectPart, "_fetch", None)  # its own rows need not be read back
    assert store.whole("x")[:, 0].tolist() == [0, 1, 2, 0]
    objects_of_x = [*(place / store.fingerprint / "x.rows").iterdir()]
    assert sorted(file.name for file in objects_of_x) == ["00000000", "00000001"]


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        (b"", (3, 2)),
        (b"cut", (3, 2)),
        (np.array([3, 1]).tobytes() + bytes(8), (3, 2)),  # there is no row 3
        (bytes(24), (3, 3)),
    ],
)
def test_a_damaged_array_is_reported_and_made_anew(place, content, shape, capsys):
    store = Store(place, {})
    store.make("x", (3, 2), np.float32).write(np.arange(3), np.ones((3, 2)))
    (place / store.fingerprint / "x.rows" / "00000001").write_bytes(content)
    note = place / store.fingerprint / "x.array.json"
    note.write_text(json.dumps({"shape": shape, "dtype": "float32"}))
    assert Store(place, {}).open("x") is None
    assert f"{note} is damaged; its numbers are computed again" in capsys.readouterr().err
    assert store.make("x", (3, 2), np.float32).todo.tolist() == [0, 1, 2]


def test_one_run_a_folder(place, monkeypatch, capsys):
    monkeypatch.setattr(objects, "BEAT", 0.1)
    monkeypatch.setattr(objects, "STALE", 2.0)
    with disk.held(place):
        said = rf"{place} is being written by process {os.getpid()} on .*; wait until that has"
        with pytest.raises(UserError, match=said), disk.held(place):
            pass
        assert disk.holder(place).startswith(f"process {os.getpid()} on ")
    assert disk.holder(place) == ""
    (place / "lock.4").write_text("process 1 on elsewhere")  # which was killed
    with disk.held(place):
        assert (place / "lock.5").exists()
        assert disk.holder(place).startswith(f"process {os.getpid()} on ")
    assert [*place.glob("lock*")] == []
    assert (
        f"{place}: waiting for a sign of life of process 1 on elsewhere" in capsys.readouterr().err
    )


def test_a_holder_ends_if_another_run_took_the_lock(place, monkeypatch, capsys):
    ended = threading.Event()
    monkeypatch.setattr(objects, "BEAT", 0.05)
    monkeypatch.setattr(os, "kill", lambda process, number: ended.set())
    with disk.held(place):
        assert not ended.wait(0.3)
        (place / "lock.7").write_text("process 1 on elsewhere")
        assert ended.wait(10)
    assert f"{place}: another run took the lock" in capsys.readouterr().err
    assert [*place.glob("lock*")] == [place / "lock.7"]


def test_of_two_runs_that_find_no_lock_one_gets_it(place, monkeypatch):
    with disk.held(place):
        monkeypatch.setattr(objects, "_locks", lambda folder, name: {})  # both looked before
        with pytest.raises(UserError, match="is being written by process"), disk.held(place):
            pass


def test_results_and_a_log_of_schedules(place):
    results = {"headline": {}, "scores": {}, "gmac": 1.5, "protocol": {}}
    report.write(place, results, {"similarity": np.arange(3)})
    with np.load(io.BytesIO((place / "scores.npz").read_bytes())) as arrays:
        assert arrays["similarity"].tolist() == [0, 1, 2]
    report.write(place, results, {})
    assert report.read(place) == report.read(place / "results.json") == results
    assert not (place / "scores.npz").exists()
    for r in ((2,), (3,)):
        log = TrialLog(place / "trials.jsonl", "facts")
        log.add(r, gmac=1.0, metric="R@1", value=float(r[0]), left_out=[])
    log = TrialLog(place / "trials.jsonl", "facts")
    assert [log[r]["value"] for r in ((2,), (3,))] == [2.0, 3.0]
    disk.remove(place)
    assert [*place.glob("*")] == []
    disk.remove(place)  # there are no empty folders


def test_what_needs_a_file_system_says_so(place, monkeypatch):
    monkeypatch.setattr(logs.importlib, "import_module", mock.Mock())  # tensorboardX
    with pytest.raises(UserError, match=f"{place}: the files of config.train.log=tensorboard need"):
        logs.copy_for("tensorboard", place, {}, 0)


def test_weights_on_a_store_are_copied_once(place):
    with disk.filled(place / "best") as folder:
        (folder / "params").mkdir()
        (folder / "params" / "a").write_text("a")
        (folder / "constants.json").write_text("{}")
    local = pathlib.Path(hub.local(f"{place}/best"))
    assert (local / "params" / "a").read_text() == "a"
    assert (local / "constants.json").read_text() == "{}"
    assert hub.local(f"{place}/best") == local
    with pytest.raises(
        UserError, match=f"{place}/nothing: No such file or directory; name another"
    ):
        hub.local(f"{place}/nothing")


def test_the_best_parameters_are_replaced(place):
    def write(name, weights):
        with disk.filled(place / name) as folder:
            (folder / "params").mkdir()
            (folder / "params" / weights).write_text(weights)
            (folder / "constants.json").touch()

    def kept():
        return [name.rpartition("/")[2] for name in objects.store(place).find(str(place))]

    for weights in ("first", "second"):
        write("best.part", weights)
        training._replace_best(place)
        assert sorted(kept()) == ["constants.json", weights]
    disk.copy(place / "best", place / "best.part")  # killed while it was copied
    (place / "best" / "constants.json").unlink()
    training._replace_best(place)
    assert sorted(kept()) == ["constants.json", "second"]
    (place / "best.part" / "params").write_text("killed while it was written")
    training._replace_best(place)
    assert sorted(kept()) == ["constants.json", "second"]


@pytest.mark.parametrize(
    "name", ["s3:/bucket/run", "s3://bucket", "s3://bucket/", "gs://b/r*", "s3:///run"]
)
def test_addresses_that_name_no_folder(name):
    with pytest.raises(UserError, match=re.escape(f"{name} is not the address of a folder in a")):
        objects.place(name)


def test_no_such_bucket():
    place = objects.place("s3://nosuch/run")
    with pytest.raises(UserError) as caught, disk.held(place):
        pass
    assert str(caught.value) == (
        "s3://nosuch/run: The specified bucket does not exist; create the bucket, or name another"
        " folder"
    )


def test_a_client_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(fsspec, "filesystem", mock.Mock(side_effect=ImportError))
    with pytest.raises(UserError, match="gs:// needs gcsfs; install it: pip install gcsfs"):
        objects._client.__wrapped__("gs")


_HELD = """
import sys
from tokmerge_jax import disk, objects
from tokmerge_jax.evaluation import report
from tokmerge_jax.types import UserError
try:
    with disk.held(objects.place(sys.argv[1])):
        pass
except UserError as error:
    print(error)
"""


def refusal(place, **environment):
    """What a run of its own says about a folder."""
    done = subprocess.run(
        [sys.executable, "-c", _HELD, place],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
def test_no_credentials(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    said = refusal("s3://bucket/run", AWS_EC2_METADATA_DISABLED="true")
    assert said.startswith("s3://bucket/run: Unable to locate credentials; give credentials that")


@pytest.mark.slow
def test_no_store():
    said = refusal("s3://bucket/run", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert said.startswith("s3://bucket/run: Could not connect to the endpoint URL")
    assert "; check the network and the store's address (AWS_ENDPOINT_URL" in said


def test_no_permission():
    error = PermissionError("Access Denied")
    error.__cause__ = type("ClientError", (Exception,), {"__module__": "botocore.exceptions"})()
    with pytest.raises(UserError) as caught, disk.explained("s3://bucket/run/a"):
        raise error
    assert str(caught.value) == (
        "s3://bucket/run/a: Access Denied; give credentials that may read, write and list there"
    )
