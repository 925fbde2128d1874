"""An index of videos: what it finds is what the definition says, and nothing is computed twice."""

import dataclasses
import errno
import json
import os
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import small_gallery
from safetensors.numpy import load_file, save_file
from small_gallery import IDS, MASK, PARAMS, RETRIEVAL, VIDEO, VIDEOS, WIDTH
from umt_case import close

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.evaluation.index import Index, describe
from tokmerge_jax.types import UserError

FACTS = {"checkpoint": "a", "frames": [8, "resize"], "model": {"merger": {"name": "none"}}}
PATHS = [f"clips/{i:02}.mp4" for i in range(VIDEOS)]
SHAPES = {"embedding": (1, WIDTH), "tokens": (4, WIDTH)}
FILES = {path: (100 + i, 7) for i, path in enumerate(PATHS)}


def model(devices=1):
    return evaluation.Model(PARAMS, parallel.make_mesh(devices))


def fill(index, paths):
    """Encodes videos as a script would."""
    for path in paths:
        seen = RETRIEVAL.encode_video(PARAMS, VIDEO[PATHS.index(path)][None])
        tokens = np.asarray(seen["tokens"][0])
        index.add(
            path, FILES[path], {"embedding": np.asarray(seen["embedding"][0]), "tokens": tokens}
        )


@pytest.fixture
def full(tmp_path):
    index = Index(tmp_path / "index", FACTS)
    fill(index, index.update(FILES))
    return index


def ask(index, devices=1, rerank=True, top_k=4):
    retrieval = RETRIEVAL if rerank else dataclasses.replace(RETRIEVAL, matching=None)
    return index.query(
        model(devices), retrieval, (IDS, MASK), top_k=top_k, memory_gib=1.0, shapes=SHAPES
    )


@pytest.mark.parametrize("devices", [1, 8])
def test_hits_are_those_of_the_definition(full, devices):
    similarity, to_video, _ = small_gallery.by_hand(k=4)
    for row, hits in enumerate(ask(full, devices)):
        best = np.argsort(-to_video[row])[:4]
        assert [hit.path for hit in hits] == [PATHS[v] for v in best]
        close([hit.score for hit in hits], to_video[row, best])
        close([hit.cosine for hit in hits], similarity[best, row])


def test_what_is_no_number_has_no_rank(full):
    """Neither what is to be stored, nor what damage made of a file, nor what a model tells."""
    with pytest.raises(UserError, match=r"embedding of video clips/00\.mp4 is nan"):
        full.add(PATHS[0], FILES[PATHS[0]], {"embedding": np.full((1, 6), np.nan, np.float32)})

    def match(params, memory, states, text_mask):
        return jnp.nan * small_gallery.match(params, memory, states, text_mask)

    broken = small_gallery.matching(match=match)
    with pytest.raises(UserError, match=r"matching score of video clips/\d\d\.mp4 and text \d+"):
        full.query(model(), broken, (IDS, MASK), top_k=4, memory_gib=1.0, shapes=SHAPES)
    file = full._feature(PATHS[3])
    arrays = load_file(file)
    arrays["embedding"][0, 2] = np.inf
    save_file(arrays, file)
    with pytest.raises(UserError, match=r"the features of clips/03\.mp4, cannot be read"):
        ask(full)


def test_without_the_matching_head_cosines_rank(full):
    similarity, _, _ = small_gallery.by_hand()
    for row, hits in enumerate(ask(full, rerank=False, top_k=VIDEOS + 5)):
        assert [hit.path for hit in hits] == [PATHS[v] for v in np.argsort(-similarity[:, row])]
        assert all(hit.score is None for hit in hits)


def test_only_the_tokens_of_candidates_are_read(full, monkeypatch):
    read = []
    load = Index.load

    def noted(self, path, name, shape):
        if name == "tokens":
            read.append(path)
        return load(self, path, name, shape)

    monkeypatch.setattr(Index, "load", noted)
    similarity, _, _ = small_gallery.by_hand()
    hits = full.query(
        model(), RETRIEVAL, (IDS[:2], MASK[:2]), top_k=3, memory_gib=1.0, shapes=SHAPES
    )
    wanted = {PATHS[v] for row in (0, 1) for v in np.argsort(-similarity[:, row])[:3]}
    assert sorted(read) == sorted(wanted) == sorted({hit.path for ranked in hits for hit in ranked})


def test_only_what_is_new_is_to_be_encoded(tmp_path):
    index = Index(tmp_path, FACTS)
    few = {path: FILES[path] for path in PATHS[:3]}
    fill(index, index.update(few))
    again = Index(tmp_path, FACTS)
    assert again.update(few) == []
    assert again.update({path: FILES[path] for path in PATHS[:5]}) == PATHS[3:5]


def test_what_is_gone_or_changed_is_forgotten(full, tmp_path):
    files = {path: FILES[path] for path in PATHS if path != PATHS[2]}
    files[PATHS[4]] = (5, 5)
    again = Index(tmp_path / "index", FACTS)
    assert again.update(files) == [PATHS[4]]
    assert set(again.videos) == set(PATHS) - {PATHS[2], PATHS[4]}
    assert len(list((tmp_path / "index/features").iterdir())) == VIDEOS - 2
    ranked = {hit.path for hits in ask(again, top_k=VIDEOS) for hit in hits}
    assert ranked == set(again.videos)


def test_broken_files_are_reported_and_tried_again(tmp_path):
    index = Index(tmp_path, FACTS)
    index.update({"a.mp4": (1, 1)})
    index.refuse("a.mp4", (1, 1), "cut short")
    again = Index(tmp_path, FACTS)
    assert (again.faults, again.videos) == ({"a.mp4": "cut short"}, ())
    again.report()
    assert (tmp_path / "broken.txt").read_text() == "cut short\n"
    assert again.update({"a.mp4": (1, 1)}) == ["a.mp4"]
    assert not again.faults
    again.report()
    assert not (tmp_path / "broken.txt").exists()


def test_features_that_are_lost_or_damaged(full, tmp_path):
    lost, cut = (full._feature(path) for path in PATHS[1:3])
    cut.write_bytes(cut.read_bytes()[:40])
    with pytest.raises(UserError, match=r"02\.mp4, cannot be read; remove it and index again"):
        ask(full)
    for file in (lost, cut):
        file.unlink()
    again = Index(tmp_path / "index", FACTS)
    assert again.update(FILES) == PATHS[1:3]
    fill(again, PATHS[1:3])
    assert [len(hits) for hits in ask(again, top_k=VIDEOS)] == [VIDEOS] * len(IDS)


def test_features_that_the_machine_refuses_are_not_damaged(full, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(UserError, match=r"^Too many open files; allow more open files"):
        full.load(PATHS[0], "tokens", SHAPES["tokens"])


@pytest.mark.parametrize(
    "content",
    ["[]", "no JSON", '{"facts": {}}', '{"facts": 1, "about": 2}', "[" * 60_000],
)
def test_an_index_of_something_else(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(UserError, match=r"index\.json is damaged, or not written by tokmerge"):
        describe(tmp_path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("tokens", np.zeros((4, WIDTH + 1), np.float32)),
        ("tokens", np.zeros((4, WIDTH), np.float16)),
        ("embedding", np.zeros(WIDTH, np.float32)),
        ("embedding", np.zeros((2, WIDTH), np.float32)),
        ("words", np.zeros((1, WIDTH), np.float32)),
    ],
)
def test_features_of_another_shape_or_type_are_damaged(full, name, array):
    file = full._feature(PATHS[3])
    save_file({**load_file(file), name: array}, file)
    if name == "words":
        save_file({name: array}, file)
    with pytest.raises(UserError, match=r"features of clips/03\.mp4.*remove it and index again"):
        ask(full)


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '["a"]', '["a", 5, ""]', '["a", ["5"], ""]', '["\\ud800", [5], ""]',
             "[[], [5], 0]", "[" * 60_000, "\xff"],
)  # fmt: skip
def test_a_damaged_line_of_the_log_is_named(full, tmp_path, line):
    log = tmp_path / "index" / "videos.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], line.encode("latin1"), b"\n", *lines[2:]]))
    with pytest.raises(UserError, match=r"videos\.jsonl: line 3 is damaged; remove that line"):
        Index(tmp_path / "index", FACTS)


_FILL = """
import pathlib, sys
import numpy as np
from tokmerge_jax.evaluation.index import Index
index, files = Index(pathlib.Path(sys.argv[1]), {}), {f"{i:04}": (i, i) for i in range(3000)}
for path in index.update(files):
    numbers = np.full((300, 64), float(path), np.float32)
    index.add(path, files[path], {"embedding": numbers[:1], "tokens": numbers})
    print(path, flush=True)
"""


def test_killed_at_any_time_it_goes_on(tmp_path):
    files, told = {f"{i:04}": (i, i) for i in range(3000)}, 0
    for lines in (1, 70, 33):
        program = [sys.executable, "-c", _FILL, str(tmp_path)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(lines):
                assert process.stdout.readline() == f"{told:04}\n"
                told += 1
            process.kill()
        index = Index(tmp_path, {})
        told = len(files) - len(index.update(files))
        assert index.videos == tuple(sorted(files)[:told])
        for path in index.videos:
            np.testing.assert_array_equal(
                index.load(path, "tokens", (300, 64)), np.full((300, 64), int(path))
            )
    assert 104 <= told < len(files)


def test_whatever_the_log_names_is_there(full, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            full.update({PATHS[0]: FILES[PATHS[0]]})
    again = Index(tmp_path / "index", FACTS)
    assert again.update(FILES) == PATHS[1:]
    fill(again, PATHS[1:])
    assert [len(hits) for hits in ask(again, top_k=VIDEOS)] == [VIDEOS] * len(IDS)


def test_names_need_not_be_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    index = Index(tmp_path, FACTS)
    features = {"embedding": np.ones((1, 2), np.float32), "tokens": np.ones((3, 2), np.float32)}
    index.add(name, (1, 1), features)
    index.refuse(f"_{name}", (1, 1), f"_{name} is cut short")
    again = Index(tmp_path, FACTS)
    assert (again.videos, list(again.faults)) == ((name,), [f"_{name}"])
    assert again.load(name, "tokens", (3, 2)).any()
    again.report()
    assert (tmp_path / "broken.txt").read_text() == "_caf\\udce9.mp4 is cut short\n"


@pytest.mark.parametrize("cut", [1, 20, 40])
def test_a_log_that_was_cut_loses_its_last_line_alone(full, tmp_path, cut):
    log = tmp_path / "index/videos.jsonl"
    log.write_bytes(log.read_bytes()[:-cut])
    again = Index(tmp_path / "index", FACTS)
    lost = again.update(FILES)
    assert lost == [PATHS[-1]] if cut < 40 else lost[-1] == PATHS[-1]
    fill(again, lost)
    assert Index(tmp_path / "index", FACTS).videos == tuple(PATHS)


def test_an_index_of_another_model_is_refused(full, tmp_path):
    said = r"index was made with checkpoint=a \(now b\); use those settings"
    with pytest.raises(UserError, match=said):
        Index(tmp_path / "index", {**FACTS, "checkpoint": "b"})
    with pytest.raises(UserError, match=r"with model\.merger\.name=none \(now tome\); use those"):
        Index(tmp_path / "index", {**FACTS, "model": {"merger": {"name": "tome"}}})
    with pytest.raises(UserError, match=r"made with frames=.* \(now None\), more=None \(now 1\);"):
        Index(
            tmp_path / "index",
            {"checkpoint": "a", "model": {"merger": {"name": "none"}}, "more": 1},
        )
    with pytest.raises(UserError, match="holds no index"):
        describe(tmp_path)
    assert json.loads(json.dumps(describe(tmp_path / "index")["facts"])) == FACTS


def test_what_is_kept_beside_the_facts_can_be_renewed(tmp_path):
    Index(tmp_path, FACTS, {"place": "here"})
    Index(tmp_path, FACTS)
    assert describe(tmp_path) == {"facts": FACTS, "about": {"place": "here"}}
    Index(tmp_path, FACTS, {"place": "there"})
    assert describe(tmp_path) == {"facts": FACTS, "about": {"place": "there"}}


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.*: Not a directory; name another place"):
        Index(tmp_path / "file", FACTS)


def test_an_empty_index_finds_nothing(tmp_path):
    assert ask(Index(tmp_path, FACTS)) == [[] for _ in IDS]
