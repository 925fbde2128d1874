"""The indexes that `search.py` times: ours, and the HNSW graphs of faiss-cpu and usearch.

Each is built from rows into a file or folder, and opened to answer queries one by one.
"""

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from tokmerge_jax.own_videos import ranking
from tokmerge_jax.own_videos.table import Table
from tokmerge_jax.own_videos.windows import Window

NEAREST = 10
"""K, the number of rows that a query asks for."""

_BLOCK = 10_000  # rows that are added at a time

Ask = Callable[[np.ndarray], np.ndarray]
"""A query [E] -> the numbers [K] of its nearest rows."""


class Index(NamedTuple):
    """One library's index.

    Attributes:
      build: `(file, rows [N,E])` -> nothing; writes the index.
      open: file -> a function that answers queries.
    """

    build: Callable[[pathlib.Path, np.ndarray], None]
    open: Callable[[pathlib.Path], Ask]


def _blocks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the number of the first row, and a copy, of each block of rows."""
    for first in range(0, len(rows), _BLOCK):
        yield first, np.array(rows[first : first + _BLOCK])


def _build_ours(folder: pathlib.Path, rows: np.ndarray) -> None:
    folder.mkdir()
    table = Table.create(folder, {}, rows.shape[1])
    for first, block in _blocks(rows):
        add(table, first, block)
    table.tidy()


def add(table: Table, first: int, rows: np.ndarray) -> None:
    """Adds rows to our index as whole videos, which are numbered from `first` on."""
    names = [f"{number // 1000:04}/{number:07}.mp4" for number in range(first, first + len(rows))]
    windows = [Window(name, 0.0, 12.0, 12.0, 300, True) for name in names]
    table.append(windows, dict.fromkeys(names, (1, 1)), rows, None)


def _open_ours(folder: pathlib.Path) -> Ask:
    """Searches as `tokmerge search query` does, once the text is encoded."""
    table = Table(folder)

    def ask(query: np.ndarray) -> np.ndarray:
        table.refresh()
        (hits,) = ranking.candidates(table, query[None], NEAREST, "").hits(table)
        return np.array([int(hit.path[5:12]) for hit in hits])

    return ask


def _build_faiss(file: pathlib.Path, rows: np.ndarray) -> None:
    """Builds a graph of 32 neighbours."""
    import faiss  # pyright: ignore[reportMissingImports]  # a peer

    index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    for _, block in _blocks(rows):
        index.add(block)
    faiss.write_index(index, str(file))


def _open_faiss(file: pathlib.Path) -> Ask:
    """Searches with 64 candidates."""
    import faiss  # pyright: ignore[reportMissingImports]  # a peer

    index = faiss.read_index(str(file))
    index.hnsw.efSearch = 64
    return lambda query: index.search(query[None], NEAREST)[1][0]


def _build_usearch(file: pathlib.Path, rows: np.ndarray) -> None:
    from usearch.index import Index  # pyright: ignore[reportMissingImports]  # a peer

    index = Index(ndim=rows.shape[1], metric="ip", dtype="f32")
    for first, block in _blocks(rows):
        index.add(np.arange(first, first + len(block)), block)
    index.save(str(file))


def _open_usearch(file: pathlib.Path) -> Ask:
    """Searches by the defaults."""
    from usearch.index import Index  # pyright: ignore[reportMissingImports]  # a peer

    index = Index.restore(str(file))
    assert index is not None
    return lambda query: index.search(query, NEAREST).keys


PEERS: Mapping[str, Index] = {
    "faiss": Index(_build_faiss, _open_faiss),
    "usearch": Index(_build_usearch, _open_usearch),
}
INDEXES: Mapping[str, Index] = {"ours": Index(_build_ours, _open_ours), **PEERS}
"""Name -> index; `PEERS` are those of other libraries."""
