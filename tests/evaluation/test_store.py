"""What is on disk after any kind of end, and that other facts have another place."""

import errno
import os
import subprocess
import sys
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax.config import tds_clip, testa
from tokmerge_jax.configs import demo
from tokmerge_jax.evaluation.store import Store, model_facts
from tokmerge_jax.system import System


def test_rows_are_kept_and_known(tmp_path):
    rows = Store(tmp_path, {"a": 1}).make("x", (4, 3), np.float32)
    rows.write(np.array([2, 0]), np.arange(6, dtype=np.float32).reshape(2, 3))
    again = Store(tmp_path, {"a": 1}).open("x")
    assert again is not None
    assert again.todo.tolist() == [1, 3]
    np.testing.assert_array_equal(again.values, [[3, 4, 5], [0, 0, 0], [0, 1, 2], [0, 0, 0]])


def test_making_again_keeps_what_is_there(tmp_path):
    store = Store(tmp_path, {})
    store.make("x", (2,), np.float32).write(np.array([1]), np.array([7.0]))
    assert store.make("x", (2,), np.float32).values.tolist() == [0, 7]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_file_systems_that_cannot_allocate_will_do(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "")

    assert Store(tmp_path, {}).make("none", (0, 3), np.float32).values.shape == (0, 3)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert Store(tmp_path, {}).make("x", (2, 2), np.float32).values.tolist() == [[0, 0]] * 2


def test_bfloat16_comes_back_as_it_was(tmp_path):
    values = jnp.asarray([[1.5, -2.25], [3e38, 1e-30]], jnp.bfloat16)
    Store(tmp_path, {}).make("x", (2, 2), values.dtype).write(np.arange(2), np.asarray(values))
    again = Store(tmp_path, {}).open("x")
    assert again is not None
    assert again.values.dtype == jnp.bfloat16
    np.testing.assert_array_equal(again.values, values)


@pytest.mark.parametrize("other", [{"a": 2}, {"a": 1, "b": None}, {}])
def test_other_facts_have_another_place(tmp_path, other):
    ours = Store(tmp_path, {"a": 1})
    ours.make("x", (1,), np.float32).write(np.array([0]), np.array([1.0]))
    ours.note("speed", 3.5)
    theirs = Store(tmp_path, other)
    assert theirs.fingerprint != ours.fingerprint
    assert theirs.open("x") is None
    assert theirs.noted("speed", float) is None
    assert Store(tmp_path, {"a": 1}).noted("speed", float) == 3.5


def test_an_array_half_made_is_made_anew(tmp_path):
    store = Store(tmp_path, {})
    store.make("x", (3, 2), np.float32)
    for note in tmp_path.rglob("x.array.json"):  # comes last
        note.unlink()
    for rows in tmp_path.rglob("x.rows"):
        rows.write_bytes(b"cut")
    assert store.open("x") is None
    assert store.make("x", (3, 2), np.float32).values.tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("x.rows", b"cut"),
        ("x.done", b""),
        ("x.array.json", b"no JSON"),
        ("x.array.json", b"\xff"),
        ("x.array.json", b"[" * 60_000),
        ("x.array.json", b"[3, 2]"),
        ("x.array.json", b'{"shape": [3, 2]}'),
        ("x.array.json", b'{"shape": 6, "dtype": "float32"}'),
        ("x.array.json", b'{"shape": [3, 2000000000000000], "dtype": "float32"}'),
        ("x.array.json", b'{"shape": [3, "2"], "dtype": "float32"}'),
        ("x.array.json", b'{"shape": [3, 2], "dtype": "float23"}'),
    ],
)
def test_a_damaged_array_is_reported_and_made_anew(tmp_path, file, content, capsys):
    store = Store(tmp_path, {})
    store.make("x", (3, 2), np.float32).write(np.arange(3), np.ones((3, 2)))
    next(tmp_path.rglob(file)).write_bytes(content)
    assert store.open("x") is None
    assert store.open("x") is None  # and is reported once
    (line,) = capsys.readouterr().err.splitlines()
    assert "x.array.json is damaged; its numbers are computed again" in line
    again = store.make("x", (3, 2), np.float32)
    assert again.values.tolist() == [[0, 0]] * 3
    assert again.todo.tolist() == [0, 1, 2]


def test_a_damaged_part_of_another_process_stays(tmp_path, capsys):
    """It may be half written when it is read."""
    store = Store(tmp_path, {})
    store.make("x", (3, 2), np.float32).write(np.arange(2), np.ones((2, 2)))
    other = next(tmp_path.rglob("x.array.json")).with_name("x.array.1.json")
    other.write_text("[3,")
    rows = store.open("x")
    assert rows is not None
    assert rows.todo.tolist() == [2]
    assert f"{other} is damaged" in capsys.readouterr().err
    assert other.exists()


def test_an_array_of_another_shape_is_made_anew(tmp_path):
    store = Store(tmp_path, {})
    store.make("x", (3, 2), np.float32).write(np.arange(3), np.ones((3, 2)))
    assert store.make("x", (2, 3), np.float32).todo.tolist() == [0, 1]
    assert store.make("x", (2, 3), np.int32).todo.tolist() == [0, 1]


def test_a_damaged_note_is_reported_and_forgotten(tmp_path, capsys):
    store = Store(tmp_path, {})
    store.note("speed", "fast")
    assert store.noted("speed", float) is None
    assert "speed.json is damaged" in capsys.readouterr().err
    store.note("speed", 2.5)
    assert store.noted("speed", float) == 2.5


_FULL = """
import pathlib, resource, sys
import numpy as np
from tokmerge_jax.evaluation.store import Store
from tokmerge_jax.types import UserError
store = Store(pathlib.Path(sys.argv[1]), {})
store.make("x", (2, 500), np.float32).write(np.array([0]), np.ones((1, 500)))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    store.make("x", (2, 500), np.float32).write(np.array([1]), np.ones((1, 500)))
    store.make("y", (2, 1000), np.float32)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(("limit", "file"), [(4000, "y.rows"), (3000, "x.rows")])
def test_no_room_is_one_sentence_and_rows_stay(tmp_path, limit, file):
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith(str(tmp_path))
    assert f"{file}: File too large; allow larger files" in line
    rows = Store(tmp_path, {}).open("x")
    assert rows is not None
    assert rows.todo.tolist() == ([1] if limit < 4000 else [])
    assert rows.values[0].tolist() == [1] * 500


def test_scaling_while_decoding_is_a_fact():
    def frames(config):
        pixels = mock.Mock(transform="resize")
        system = mock.Mock(spec=System, config=config, pixels=pixels)
        system.name = "demo"
        return model_facts(system, {})["frames"]

    assert frames(demo.get_config()) == ["intervals", 0, 0, "resize"]
    scaling = testa.Retrieval()
    assert frames(scaling.override({"data.decode_size": 0})) == ["strides", 0, 0, "resize"]
    assert frames(scaling.override({"data.decode_size": 32})) == ["strides", 0, 32, "resize"]


def test_views_are_facts_only_where_there_are_some():
    config = tds_clip.Recognition().override({"data.wrap": False}).resolved()
    pixels = mock.Mock(transform="resize")
    system = mock.Mock(spec=System, config=config, pixels=pixels)
    system.name = "demo"
    views = ["clips=2", "crops=3", "neighbours=5", "wrap=False"]
    assert model_facts(system, {})["frames"] == ["segments", 0, 0, *views, "resize"]


def test_rows_about_files_that_have_changed_are_to_be_written_again(tmp_path):
    def opened(stamps, videos=(0, 0, 1, 2)):
        store = Store(tmp_path, {}, np.array(stamps, np.uint64))
        return store.make("x", (4, 2), np.float32, videos)

    rows = opened([5, 6, 7])
    assert rows.todo.tolist() == [0, 1, 2, 3]
    rows.write(np.arange(4), np.ones((4, 2)))
    assert opened([5, 6, 7]).todo.tolist() == []
    assert opened([8, 6, 7]).todo.tolist() == [0, 1]
    rows = opened([8, 6, 2**64 - 1])
    assert rows.todo.tolist() == [0, 1, 3]
    rows.write(np.array([1, 3]), np.full((2, 2), 9))
    rows = opened([8, 6, 2**64 - 1])
    assert rows.todo.tolist() == [0]
    assert rows.values[1:, 0].tolist() == [9, 1, 9]
    assert opened([5, 6, 2**64 - 1]).todo.tolist() == [1]  # row 0 is still that of this file


def test_rows_about_no_video_stay(tmp_path):
    for stamps in ([1, 2], [3, 4]):
        rows = Store(tmp_path, {}, np.array(stamps, np.uint64)).make("x", (1,), np.float32)
        assert rows.todo.tolist() == ([0] if stamps == [1, 2] else [])
        rows.write(np.array([0]), np.ones(1))
