"""An index that grows: nothing is computed twice, and broken files are named."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from small_gallery import IDS, PARAMS, RETRIEVAL, VIDEO, VIDEOS, WIDTH
from small_index import FACTS, FILES, PATHS, ask, fill, model, opened, whole
from small_system import system_of

from tokmerge_jax.commands import search as command
from tokmerge_jax.own_videos import search
from tokmerge_jax.own_videos.index import Index, describe
from tokmerge_jax.own_videos.table import Table
from tokmerge_jax.system import Weights
from tokmerge_jax.types import UserError

_FILL = """
import pathlib, sys
import numpy as np
from tokmerge_jax.own_videos.index import Index
from tokmerge_jax.own_videos.windows import Window
files = {f"{i:04}": (i, i) for i in range(3000)}
index = Index(pathlib.Path(sys.argv[1]), {}, {"embedding": (1, 64)})
for path in index.update(files):
    numbers = np.full((1, 300, 64), float(path), np.float32)
    window = Window(path, 0.0, 1.0, 1.0, 8, True)
    arrays = {"embedding": numbers[:, :1], "tokens": numbers, "sizes": numbers[..., 0] * 0 + 1}
    index.add([window], files, arrays)
    print(path, flush=True)
"""


def test_only_what_is_new_is_to_be_encoded(tmp_path):
    index = opened(tmp_path)
    few = {path: FILES[path] for path in PATHS[:3]}
    fill(index, index.update(few))
    again = opened(tmp_path)
    assert again.update(few) == []
    assert again.update({path: FILES[path] for path in PATHS[:5]}) == PATHS[3:5]


def test_what_is_gone_or_changed_is_forgotten(full, tmp_path):
    files = {path: FILES[path] for path in PATHS if path != PATHS[2]}
    files[PATHS[4]] = (5, 5)
    again = opened(tmp_path / "index")
    assert again.update(files) == [PATHS[4]]
    assert set(again.videos) == set(PATHS) - {PATHS[2], PATHS[4]}
    assert len(Table(tmp_path / "index")) == VIDEOS - 2
    ranked = {hit.path for hits in ask(again, top_k=VIDEOS) for hit in hits}
    assert ranked == set(again.videos)


def test_a_video_is_there_once_its_last_window_is(tmp_path):
    index, numbers = opened(tmp_path), {"embedding": np.ones((1, 1, WIDTH), np.float32)}
    index.add([whole("a.mp4", last=False)], {"a.mp4": (1, 1)}, numbers)
    index.add([whole("b.mp4", last=False)], {"b.mp4": (1, 1)}, numbers)
    index.add([whole("a.mp4")], {"a.mp4": (1, 1)}, numbers)
    assert index.videos == opened(tmp_path).videos == ("a.mp4",)
    assert opened(tmp_path).update({"a.mp4": (1, 1), "b.mp4": (1, 1)}) == ["b.mp4"]
    assert len(Table(tmp_path)) == 2


def test_a_video_with_a_broken_part_is_reported(tmp_path):
    """What could be read of it can be found."""
    index, numbers = opened(tmp_path), {"embedding": np.ones((1, 1, WIDTH), np.float32)}
    index.add([whole("a.mp4", last=False)], {"a.mp4": (1, 1)}, numbers)
    index.refuse("a.mp4", (1, 1), "damaged")
    index.refuse("b.mp4", (1, 1), "damaged")
    index.add([whole("a.mp4")], {"a.mp4": (1, 1)}, numbers)
    for each in (index, opened(tmp_path)):
        assert (each.videos, each.faults) == ((), {"a.mp4": "damaged", "b.mp4": "damaged"})
        assert (each.partial, each.windows) == (("a.mp4",), 2)
        assert [hit.path for hit in ask(each, rerank=False)[0]] == ["a.mp4"]


def test_a_video_with_several_broken_parts_counts_once(tmp_path, monkeypatch):
    def batches(reader, paths, workers, size, refuse):
        refuse("a.mp4", "the first part is damaged")
        refuse("a.mp4", "the second part is damaged")
        yield (whole("a.mp4"), whole("b.mp4")), VIDEO[:2]

    counted = []
    monkeypatch.setattr(search.windows, "batches", batches)
    monkeypatch.setattr(search.Running, "update", lambda _, number=1: counted.append(number))
    system = dataclasses.replace(system_of(Weights(lambda _: PARAMS, ())), retrieval=RETRIEVAL)
    reader = search.windows.Reader.__new__(search.windows.Reader)  # not used
    files, index = {"a.mp4": (1, 1), "b.mp4": (2, 2)}, opened(tmp_path)
    search._encode_missing(model(), system, reader, files, index, tmp_path, tokens=4)
    assert sum(counted) == len(files)
    assert index.faults == {"a.mp4": "the first part is damaged"}
    assert (len(Table(tmp_path)), index.windows) == (3, 2)


def test_the_command_searches_what_could_be_read(tmp_path, monkeypatch):
    index, numbers = opened(tmp_path), {"embedding": np.ones((1, 1, WIDTH), np.float32)}
    searcher = search.Searcher.__new__(search.Searcher)  # without weights
    searcher.index = index
    monkeypatch.setattr(command, "Searcher", lambda folder, build: searcher)
    index.refuse("a.mp4", (1, 1), "damaged")
    with pytest.raises(UserError, match="holds no video that can be searched"):
        command._opened("index")
    index.add([whole("a.mp4")], {"a.mp4": (1, 1)}, numbers)
    assert index.videos == ()
    assert command._opened("index") is searcher


def test_processes_can_be_joined_before_anything_is_read(tmp_path):
    index, other = opened(tmp_path), opened(tmp_path)
    fill(other, PATHS[:1])
    index.gather()
    assert index.videos == (PATHS[0],)


def test_broken_files_are_reported_and_tried_again(tmp_path):
    index = opened(tmp_path)
    index.update({"a.mp4": (1, 1)})
    index.refuse("a.mp4", (1, 1), "cut short")
    again = opened(tmp_path)
    assert (again.faults, again.videos) == ({"a.mp4": "cut short"}, ())
    again.report()
    assert (tmp_path / "broken.txt").read_text() == "cut short\n"
    assert again.update({"a.mp4": (1, 1)}) == ["a.mp4"]
    assert not again.faults
    again.report()
    assert not (tmp_path / "broken.txt").exists()


@pytest.mark.slow
def test_killed_at_any_time_it_goes_on(tmp_path):
    """Also while small files are joined (at 256); what it reported is there."""
    files, reported = {f"{i:04}": (i, i) for i in range(3000)}, 0
    for lines in (1, 270, 33):
        program = [sys.executable, "-c", _FILL, str(tmp_path)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(lines):
                assert process.stdout.readline() == f"{reported:04}\n"
                reported += 1
            process.kill()
        index = Index(tmp_path, {}, {"embedding": (1, 64)})
        reported = len(files) - len(index.update(files))
        assert index.videos == tuple(sorted(files)[:reported])
        table = Table(tmp_path)
        ids, embedding = table.embeddings()
        np.testing.assert_array_equal(embedding, np.tile(np.arange(reported)[:, None], 64))
        np.testing.assert_array_equal(
            table.tokens(ids[-9:], (300, 64))[:, 0, 0], np.arange(reported)[-9:]
        )
    assert 304 <= reported < len(files)


def test_names_need_not_be_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    index = opened(tmp_path)
    features = {
        "embedding": np.ones((1, 1, WIDTH), np.float32),
        "tokens": np.ones((1, 4, WIDTH), np.float32),
        "sizes": np.ones((1, 4)),
    }
    index.add([whole(name)], {name: (1, 1)}, features)
    index.refuse(f"_{name}", (1, 1), f"_{name} is cut short")
    again = opened(tmp_path)
    assert (again.videos, list(again.faults)) == ((name,), [f"_{name}"])
    assert [[hit.path for hit in hits] for hits in ask(again)] == [[name]] * len(IDS)
    again.report()
    assert (tmp_path / "broken.txt").read_text() == "_caf\\udce9.mp4 is cut short\n"
    assert again.update({name: (1, 1)}) == []
    assert opened(tmp_path).update({name: (2, 1)}) == [name]
    assert opened(tmp_path).videos == ()


def test_what_another_process_adds_is_found(full, tmp_path):
    other = opened(tmp_path / "index")
    other.update({path: FILES[path] for path in PATHS[1:]})
    assert {hit.path for hits in ask(full, top_k=VIDEOS) for hit in hits} == set(PATHS[1:])
    fill(other, PATHS[:1])
    assert {hit.path for hits in ask(full, top_k=VIDEOS) for hit in hits} == set(PATHS)


def test_what_is_kept_beside_the_facts_can_be_renewed(tmp_path):
    opened(tmp_path, FACTS, {"place": "here"})
    opened(tmp_path)
    assert describe(tmp_path) == {"facts": FACTS, "about": {"place": "here"}}
    opened(tmp_path, FACTS, {"place": "there"})
    assert describe(tmp_path) == {"facts": FACTS, "about": {"place": "there"}}
