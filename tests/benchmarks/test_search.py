"""benchmarks/search.py: the exact neighbours, and the figures of our own index."""

import numpy as np
import pytest

from benchmarks import indexes, search
from tokmerge_jax.own_videos.table import Table

ROWS = 1500
SAVED = "rows", "queries", "nearest"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_BLOCK", 400)
        patch.setattr(search, "_QUERIES", 20)
        search.fabricate(folder, ROWS)
    return folder


def test_the_nearest_rows_are_exact_over_all_blocks(folder):
    rows, queries, nearest = (np.load(folder / f"{name}.npy") for name in SAVED)
    assert rows.shape == (ROWS + 1000, 512)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    expected = np.argsort(-(queries @ rows[:ROWS].T), axis=1)[:, : indexes.NEAREST]
    np.testing.assert_array_equal(nearest, expected)


def test_our_index_finds_them_and_takes_more_rows(folder, monkeypatch):
    monkeypatch.setattr(indexes, "_BLOCK", 400)
    assert set(search.build("ours", folder)) == {"build_s"}
    figures = search.ask("ours", folder)
    assert figures["recall"] == 1
    assert 0 < figures["open_s"] < figures["first_answer_s"]
    assert 0 < figures["median_ms"] <= figures["p95_ms"]
    assert figures["disk_bytes_per_row"] > 512
    added = np.load(folder / "rows.npy")[-1]
    assert indexes.INDEXES["ours"].open(folder / "ours")(added)[0] == ROWS + 999
    assert Table.exists(folder / "ours")


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--rows=999", "--rows=999 must be at least 1000"),
        ("--peers=annoy", "invalid choice: 'annoy'"),
    ],
)
def test_bad_arguments_are_one_sentence(argument, says, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["search.py", argument])
    with pytest.raises(SystemExit, match="2"):
        search.main()
    assert says in capsys.readouterr().err
