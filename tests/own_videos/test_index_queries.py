"""What an index finds is what the definition says, whatever a table of it looks like."""

import datetime
import os

import jax.numpy as jnp
import numpy as np
import pytest
import small_gallery
from small_gallery import IDS, MASK, PARAMS, RETRIEVAL, VIDEO, VIDEOS, WIDTH
from small_index import FILES, PATHS, ask, change, model, opened, whole
from umt_case import close

from tokmerge_jax.own_videos import options, packing, ranking
from tokmerge_jax.own_videos.filters import EVERYTHING, Filter
from tokmerge_jax.own_videos.packing import pack, unpack
from tokmerge_jax.own_videos.table import Table, lance
from tokmerge_jax.own_videos.windows import Window
from tokmerge_jax.types import UserError


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


def test_an_empty_index_finds_nothing(tmp_path):
    assert ask(opened(tmp_path)) == [[] for _ in IDS]
