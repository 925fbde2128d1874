"""What records become: galleries, paragraphs, training rows."""

from tokmerge_jax.data import pairs
from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.types import Gallery


def record(videos, captions, broken=""):
    clips = (Clip(v, f"/{v}", "cut" if v in broken else "") for v in videos.split())
    return Record(tuple(clips), tuple(captions))


def test_one_caption_a_video():
    gallery, paths = pairs.gallery([record("b", ["x"]), record("a", ["y"])])
    assert gallery == Gallery(("b", "a"), ("x", "y"), ((0,), (1,)))
    assert paths == ("/b", "/a")


def test_each_caption_is_a_text_of_its_own():
    gallery, _ = pairs.gallery([record("a", ["x", "y"]), record("b", ["x"])])
    assert gallery == Gallery(("a", "b"), ("x", "y", "x"), ((0,), (0,), (1,)))


def test_several_videos_of_a_caption():
    gallery, _ = pairs.gallery([record("a b", ["x"]), record("c b", ["y"])])
    assert gallery == Gallery(("a", "b", "c"), ("x", "y"), ((0, 1), (2, 1)))


def test_paragraphs_are_joined_by_single_spaces():
    assert pairs.paragraphs([record("a", ["One.", "two"])]) == [record("a", ["One. two"])]


def test_broken_videos_go_and_with_them_texts_that_have_no_other():
    records = [record("a b", ["x"], "a"), record("c", ["y"], "c"), record("d", ["z"])]
    usable, broken = pairs.without_broken(records)
    assert usable == [record("b", ["x"]), record("d", ["z"])]
    assert [clip.name for clip in broken] == ["a", "c"]


def test_rows_match_by_video():
    rows = pairs.rows([record("a", ["x", "y"]), record("b", ["x"])], match_by_caption=False)
    assert [(r.path, r.caption, r.match_id) for r in rows] == [
        ("/a", "x", 0),
        ("/a", "y", 0),
        ("/b", "x", 1),
    ]


def test_rows_match_by_caption():
    records = [record("a", ["x"]), record("b", ["y"]), record("c", ["x"])]
    assert [row.match_id for row in pairs.rows(records, match_by_caption=True)] == [0, 1, 0]
