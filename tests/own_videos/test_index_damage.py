"""An index that is damaged, of another model, or cannot be written: one sentence each."""

import json
import sys

import numpy as np
import pyarrow as pa
import pytest
from small_gallery import VIDEOS, WIDTH
from small_index import FACTS, PATHS, ask, change, opened

from tokmerge_jax.own_videos.index import describe
from tokmerge_jax.own_videos.table import lance
from tokmerge_jax.types import UserError

NAN = np.float32(np.nan).tobytes() + np.uint32(1).tobytes()  # scale and size of a token
DAMAGED = r"videos\.lance is damaged, or not written by .* \(.+\); index again into another"


@pytest.mark.parametrize(
    "tokens",
    [None, b"", bytes(4 * 8 + 4 * (WIDTH + 1)), b"odd", NAN * 4 + bytes(4 * WIDTH)],
    ids=["lost", "empty", "wide", "cut", "nan"],
)  # fmt: skip
def test_tokens_that_are_lost_or_damaged(full, tmp_path, tokens):
    change(tmp_path / "index", PATHS[3], tokens=tokens)
    with pytest.raises(UserError, match=DAMAGED):
        ask(full, top_k=VIDEOS)


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


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: File exists; name another place"):
        opened(tmp_path / "file")
