"""An index of videos: what it finds is what the definition says, and nothing is computed twice."""

import dataclasses
import datetime
import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
import small_gallery
from small_gallery import IDS, MASK, PARAMS, RETRIEVAL, VIDEO, VIDEOS, WIDTH
from small_system import system_of
from umt_case import close

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.commands import search as command
from tokmerge_jax.own_videos import options, packing, ranking, search
from tokmerge_jax.own_videos.filters import EVERYTHING, Filter
from tokmerge_jax.own_videos.index import Index, describe
from tokmerge_jax.own_videos.packing import pack, unpack
from tokmerge_jax.own_videos.table import Table, lance
from tokmerge_jax.own_videos.windows import Window
from tokmerge_jax.system import Weights
from tokmerge_jax.types import UserError

NAN = np.float32(np.nan).tobytes() + np.uint32(1).tobytes()  # scale and size of a token
DAMAGED = r"videos\.lance is damaged, or not written by .* \(.+\); index again into another"
FACTS = {"checkpoint": "a", "frames": [8, "resize"], "model": {"merger": {"name": "none"}}}
PATHS = [f"clips/{i:02}.mp4" for i in range(VIDEOS)]
SHAPES = {"embedding": (1, WIDTH), "tokens": (4, WIDTH)}
FILES = {path: (100 + i, 7) for i, path in enumerate(PATHS)}


def opened(folder, facts=FACTS, about=None):
    return Index(folder, facts, SHAPES, about)


def model(devices=1):
    return evaluation.Model(PARAMS, parallel.make_mesh(devices))


def whole(path, last=True):
    """A video of one window, or the first one of a longer video."""
    return Window(path, 0.0, 2.0, 2.0, 16, last)


def fill(index, paths, files=FILES):
    """Encodes videos as a script would, in batches of three."""
    for first in range(0, len(paths), 3):
        batch = paths[first : first + 3]
        seen = RETRIEVAL.encode_video(PARAMS, VIDEO[[PATHS.index(path) for path in batch]])
        arrays = {name: np.asarray(array) for name, array in seen.items()}
        arrays["sizes"] = np.ones((len(batch), 4))
        index.add([*map(whole, batch)], files, arrays)


@pytest.fixture
def full(tmp_path):
    index = opened(tmp_path / "index")
    fill(index, index.update(FILES))
    return index


def ask(index, devices=1, rerank=True, top_k=4, where=EVERYTHING):
    retrieval = RETRIEVAL if rerank else dataclasses.replace(RETRIEVAL, matching=None)
    return index.query(
        model(devices), retrieval, (IDS, MASK), top_k=top_k, memory_gib=1.0, where=where
    )


def change(folder, path, **columns):
    """Replaces values in the row of a video."""
    data = lance.dataset(str(folder / "videos.lance"))
    read = data.to_table()
    row = read["path"].to_pylist().index(os.fsencode(path))
    for name, value in columns.items():
        values = read[name].to_pylist()
        values[row] = value
        place = read.schema.get_field_index(name)
        read = read.set_column(place, name, pa.array(values, read.schema.field(name).type))
    lance.write_dataset(read, str(folder / "videos.lance"), mode="overwrite")


@pytest.mark.parametrize("devices", [1, 8])
def test_hits_are_those_of_the_definition(full, devices, monkeypatch):
    """With tokens as they are kept."""

    def of_kept(params, tokens, memory=small_gallery.video_memory):
        return memory(
            params,
            np.stack([unpack(pack(np.asarray(x), np.ones(4, int)), x.shape) for x in tokens]),
        )

    monkeypatch.setattr(small_gallery, "video_memory", of_kept)
    similarity, to_video, _ = small_gallery.by_hand(k=4)
    for row, hits in enumerate(ask(full, devices)):
        best = np.argsort(-to_video[row])[:4]
        assert [hit.path for hit in hits] == [PATHS[v] for v in best]
        close([hit.score for hit in hits], to_video[row, best])
        close([hit.cosine for hit in hits], similarity[best, row])


def test_what_is_no_number_has_no_rank(full, tmp_path):
    """Neither what is to be stored, nor what damage made of it, nor what a model returns."""
    numbers = {"embedding": np.full((2, 1, WIDTH), np.nan, np.float32)}
    with pytest.raises(UserError, match=r"embedding of video clips/00\.mp4 is nan"):
        full.add([whole(PATHS[0])], FILES, numbers)

    def match(params, memory, states, text_mask):
        return jnp.nan * small_gallery.match(params, memory, states, text_mask)

    broken = small_gallery.matching(match=match)
    with pytest.raises(UserError, match=r"matching score of video clips/\d\d\.mp4 and text \d+"):
        full.query(model(), broken, (IDS, MASK), top_k=4, memory_gib=1.0)
    change(tmp_path / "index", PATHS[3], embedding=[np.inf] * WIDTH)
    with pytest.raises(UserError, match=r"\(embeddings are not finite\); index again"):
        ask(full)


def test_without_the_matching_head_cosines_rank(full):
    similarity, _, _ = small_gallery.by_hand()
    for row, hits in enumerate(ask(full, rerank=False, top_k=VIDEOS + 5)):
        assert [hit.path for hit in hits] == [PATHS[v] for v in np.argsort(-similarity[:, row])]
        assert all(hit.score is None for hit in hits)


def test_hits_of_embeddings_in_memory_read_nothing(full, monkeypatch):
    before = ask(full, rerank=False)
    monkeypatch.setattr(Table, "rows", lambda *_: pytest.fail("rows are read"))
    assert ask(full, rerank=False) == before


def test_only_the_tokens_of_candidates_are_read(full, monkeypatch):
    read = []
    tokens = Table.tokens

    def noted(self, ids, shape):
        read.extend(os.fsdecode(path) for (path,) in self.rows(ids, "path"))
        return tokens(self, ids, shape)

    monkeypatch.setattr(Table, "tokens", noted)
    similarity, _, _ = small_gallery.by_hand()
    hits = full.query(model(), RETRIEVAL, (IDS[:2], MASK[:2]), top_k=3, memory_gib=1.0)
    wanted = {PATHS[v] for row in (0, 1) for v in np.argsort(-similarity[:, row])[:3]}
    assert sorted(read) == sorted(wanted) == sorted({hit.path for ranked in hits for hit in ranked})


def test_a_filter_ranks_what_meets_it_alone(tmp_path):
    """In its folder, and changed on one of its days: from their first to their last second."""
    names = ["a/1.mp4", "a/b/2.mp4", "a.mp4", "ab/3.mp4", "a0", "\udcff/4.mp4"]
    days = [datetime.datetime(2024, 2, day, 23, 59, 59) for day in range(1, 7)]
    stamps = {
        name: (1, int(day.timestamp()) * 10**9) for name, day in zip(names, days, strict=True)
    }
    index = opened(tmp_path)
    numbers = np.random.default_rng(0).standard_normal((6, 1, WIDTH), np.float32)
    lengths = [Window(name, 0.0, 9.0, 9.0 + i, 16, True) for i, name in enumerate(names)]
    index.add(lengths, stamps, {"embedding": numbers})
    cases = {
        Filter("a"): names[:2],
        Filter("a/"): names[:2],
        Filter("a/b"): names[1:2],
        Filter("\udcff"): names[5:],
        Filter(since=datetime.date(2024, 2, 3)): names[2:],
        Filter(since=datetime.date(1700, 1, 1), until=datetime.date(2261, 12, 31)): names,
        Filter(until=datetime.date(2024, 2, 3)): names[:3],
        Filter("a", since=datetime.date(2024, 2, 2)): names[1:2],
        Filter(shortest=10): names[1:],
        Filter(longest=10): names[:2],
        Filter("none"): [],
        Filter("."): names,
    }
    for where, wanted in cases.items():
        for hits in ask(index, rerank=False, top_k=9, where=where):
            assert sorted(hit.path for hit in hits) == sorted(wanted), where


def test_a_large_table_is_searched_by_its_vector_index(tmp_path, monkeypatch):
    """Its rows are nearly those of the definition; their cosines are exact, and filters hold."""
    monkeypatch.setattr(ranking, "EXACT", 500)
    monkeypatch.setattr("tokmerge_jax.own_videos.table.EXACT", 500)
    rng = np.random.default_rng(0)
    points = np.repeat(rng.standard_normal((41, 64)), 50, axis=0)
    points += 0.1 * rng.standard_normal((2050, 64))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    queries, points = points[::51], np.delete(points, np.s_[::51], axis=0)
    names = [f"{'even' if i % 2 == 0 else 'odd'}/{i:04}.mp4" for i in range(len(points))]
    table = Table.create(tmp_path, {}, width=64)
    for rows in (slice(0, 1900), slice(1900, None)):  # the last ones after the vector index
        batch = [*map(whole, names[rows])]
        table.append(batch, {name: (1, 1) for name in names}, points[rows], None)
        if not lance.dataset(str(tmp_path / "videos.lance")).describe_indices():
            table.tidy()
    for where, step in ((EVERYTHING, 1), (Filter("even"), 2)):
        cosine = queries @ points[::step].T
        same = 0
        asked = ranking.candidates(table, queries, 10, where.sql()).hits(table)
        for ranked, hits in zip(cosine, asked, strict=True):
            rows = [names.index(hit.path) // step for hit in hits]
            assert [names[row * step] for row in rows] == [hit.path for hit in hits]
            close([hit.cosine for hit in hits], ranked[rows])
            assert [hit.cosine for hit in hits] == sorted([h.cosine for h in hits], reverse=True)
            same += len({*rows} & {*np.argsort(-ranked)[:10].tolist()})
        assert same >= 0.95 * 10 * len(queries)


def test_a_large_table_without_a_vector_index_yet_ranks_by_products(tmp_path, monkeypatch):
    monkeypatch.setattr(ranking, "EXACT", 20)
    points = np.random.default_rng(0).standard_normal((50, 64), np.float32)  # not of unit norm
    table = Table.create(tmp_path, {}, width=64)
    names = [f"{i}.mp4" for i in range(len(points))]
    table.append([*map(whole, names)], {name: (1, 1) for name in names}, points, None)
    asked = ranking.candidates(table, points[:3], 5, EVERYTHING.sql()).hits(table)
    for products, hits in zip(points[:3] @ points.T, asked, strict=True):
        best = np.argsort(-products)[:5]
        assert [hit.path for hit in hits] == [names[row] for row in best]
        close([hit.cosine for hit in hits], products[best])


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


def test_tokens_that_merge_count_as_often(tmp_path):
    """Equal tokens may merge without changing a score."""
    still = np.repeat(VIDEO[:, :1], 4, axis=1)
    scores = []
    for tokens in (4, 2):
        encoded = model().compiled(packing.encoder(RETRIEVAL.encode_video, tokens))(still)
        index = opened(tmp_path / f"{tokens}")
        index.add([*map(whole, PATHS)], FILES, {k: np.asarray(v) for k, v in encoded.items()})
        assert encoded["tokens"].shape == (VIDEOS, tokens, WIDTH)
        hits = [sorted(ranked, key=lambda hit: hit.path) for ranked in ask(index, top_k=VIDEOS)]
        scores.append([[hit.score for hit in ranked] for ranked in hits])
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-4)
    assert [*packing.encoder(RETRIEVAL.encode_video, 0)(PARAMS, jnp.asarray(still))] == [
        "embedding"
    ]


@pytest.mark.parametrize(("tokens", "kept"), [(True, 9), (False, 0), (0, 0), (4, 4), (99, 9)])
def test_the_number_of_tokens_that_are_kept(tokens, kept):
    assert options.kept(tokens, 9) == kept
    assert options.kept(tokens, 0) == 0
    for wrong in (-1, 2.0, "all"):
        with pytest.raises(UserError, match=r"tokens=.* must be a whole number"):
            options.kept(wrong, 9)


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
    monkeypatch.setattr(command, "Searcher", lambda _: searcher)
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


@pytest.mark.parametrize(
    "tokens",
    [None, b"", bytes(4 * 8 + 4 * (WIDTH + 1)), b"odd", NAN * 4 + bytes(4 * WIDTH)],
    ids=["lost", "empty", "wide", "cut", "nan"],
)  # fmt: skip
def test_tokens_that_are_lost_or_damaged(full, tmp_path, tokens):
    change(tmp_path / "index", PATHS[3], tokens=tokens)
    with pytest.raises(UserError, match=DAMAGED):
        ask(full, top_k=VIDEOS)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("since", datetime.date.min, "since=0001-01-01 must be in the years 1700 to 2261"),
        ("until", datetime.date.max, "until=9999-12-31 must be in the years 1700 to 2261"),
        ("shortest", -1, "shortest=-1 must be a number of seconds"),
        ("longest", np.inf, "longest=inf must be a number of seconds"),
        ("longest", np.nan, "longest=nan must be a number of seconds"),
    ],
)
def test_a_filter_out_of_range_is_one_sentence(name, value, says):
    with pytest.raises(UserError, match=says):
        Filter(**{name: value})


@pytest.mark.parametrize("about", [b"[]", b"no JSON", b'{"facts": {}}', b"[" * 60_000, None])
def test_an_index_of_something_else(tmp_path, about):
    schema = pa.schema([("path", pa.binary())], metadata=about and {"tokmerge_jax": about})
    lance.write_dataset(schema.empty_table(), str(tmp_path / "videos.lance"))
    with pytest.raises(UserError, match=DAMAGED):
        describe(tmp_path)


@pytest.mark.parametrize("part", ["data", "_versions"])
@pytest.mark.parametrize("damage", ["gone", "cut", "zeros"])
def test_a_damaged_file_of_the_table_is_one_sentence(full, tmp_path, part, damage):
    for file in (tmp_path / "index/videos.lance" / part).iterdir():
        content = file.read_bytes()
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(content[:-9] if damage == "cut" else bytes(len(content)))
    with pytest.raises(UserError, match=DAMAGED):
        ask(opened(tmp_path / "index"))


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


def test_without_the_database_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "tokmerge_jax.own_videos.table")
    monkeypatch.delattr("tokmerge_jax.own_videos.table")
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(UserError, match=r"package lance, .*: pip install pylance"):
        opened(tmp_path)


def test_an_index_of_another_model_is_refused(full, tmp_path):
    said = r"index was made with checkpoint=a \(now b\); use those settings"
    with pytest.raises(UserError, match=said):
        opened(tmp_path / "index", {**FACTS, "checkpoint": "b"})
    with pytest.raises(UserError, match=r"with model\.merger\.name=none \(now tome\); use those"):
        opened(tmp_path / "index", {**FACTS, "model": {"merger": {"name": "tome"}}})
    with pytest.raises(UserError, match=r"made with frames=.* \(now None\), more=None \(now 1\);"):
        opened(
            tmp_path / "index",
            {"checkpoint": "a", "model": {"merger": {"name": "none"}}, "more": 1},
        )
    with pytest.raises(UserError, match="holds no index"):
        describe(tmp_path)
    assert json.loads(json.dumps(describe(tmp_path / "index")["facts"])) == FACTS


def test_what_is_kept_beside_the_facts_can_be_renewed(tmp_path):
    opened(tmp_path, FACTS, {"place": "here"})
    opened(tmp_path)
    assert describe(tmp_path) == {"facts": FACTS, "about": {"place": "here"}}
    opened(tmp_path, FACTS, {"place": "there"})
    assert describe(tmp_path) == {"facts": FACTS, "about": {"place": "there"}}


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: File exists; name another place"):
        opened(tmp_path / "file")


def test_an_empty_index_finds_nothing(tmp_path):
    assert ask(opened(tmp_path)) == [[] for _ in IDS]
