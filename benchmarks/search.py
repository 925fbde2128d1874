"""Times search in a large index, beside faiss-cpu's HNSW and usearch, on the same vectors.

Example:
  python -m benchmarks.search --rows 100000 --folder results/search
  python -m benchmarks.search --rows 1000000 --folder results/search --peers ""

The vectors are fabricated: clusters of a hundred, of 512 numbers and unit norm, in 32-bit floats.
Each contestant runs in a process of its own, which builds, and in a second one, which opens and
answers queries one by one: their median and 95th percentile, recall@10 against the exact result,
and the memory that opening and answering took (pages of files, which the system may drop, count
too). `ours` then adds 1,000 rows and tidies up, as `tokmerge search index` does. The peers need
`pip install faiss-cpu usearch`. The output folder keeps vectors, indexes and `results.jsonl`.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags

from tokmerge_jax.own_videos import ranking
from tokmerge_jax.own_videos.table import Table
from tokmerge_jax.own_videos.windows import Window

_ROWS = flags.DEFINE_integer("rows", 100_000, "number of rows", lower_bound=1000)
_FOLDER = flags.DEFINE_string("folder", "results/search", "output folder")
_PEERS = flags.DEFINE_list("peers", ["faiss", "usearch"], "whom to time beside us")
_STAGE = flags.DEFINE_string("stage", "", "set by the command itself: build:NAME or ask:NAME")

_WIDTH, _CLUSTER, _NOISE, _QUERIES, _K = 512, 100, 0.5, 200, 10
_BLOCK = 10_000  # rows that are made, added or compared at a time
_ADDED = 1000

Ask = Callable[[np.ndarray], np.ndarray]
"""A query [E] -> the numbers [K] of its nearest rows."""


def main(_: list[str]) -> None:
    """Runs all contestants, or, in a process of its own, one of them."""
    folder = pathlib.Path(_FOLDER.value, str(_ROWS.value))
    if _STAGE.value:
        stage, name = _STAGE.value.split(":")
        print(json.dumps({"build": build, "ask": ask}[stage](name, folder)))
        return
    folder.mkdir(parents=True, exist_ok=True)
    fabricate(folder)
    for name in ("ours", *_PEERS.value):
        figures: dict[str, float | str] = {"name": name, "rows": _ROWS.value}
        for stage in ("build", "ask"):
            figures |= _alone(f"{stage}:{name}")
        figures["load"] = round(os.getloadavg()[0], 1)
        with (folder / "results.jsonl").open("a") as log:
            log.write(json.dumps(figures) + "\n")
        print(json.dumps(figures), flush=True)


def _alone(stage: str) -> dict[str, float]:
    """The figures of a stage, which runs in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.search", f"--rows={_ROWS.value}"]
    done = subprocess.run(
        [*command, f"--folder={_FOLDER.value}", f"--stage={stage}"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def fabricate(folder: pathlib.Path) -> None:
    """Writes the vectors, the queries and the rows nearest to these, unless they exist."""
    if (folder / "nearest.npy").exists():
        return
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(_ROWS.value // _CLUSTER, 1), _WIDTH), np.float32)

    def drawn(count: int) -> np.ndarray:
        noise = rng.standard_normal((count, _WIDTH), np.float32)
        rows = centres[rng.integers(0, len(centres), count)] + np.float32(_NOISE) * noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    queries, shape = drawn(_QUERIES), (_ROWS.value + _ADDED, _WIDTH)
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, shape)
    best, numbers = np.full((_QUERIES, _K), -np.inf), np.zeros((_QUERIES, _K), np.int64)
    for first in range(0, len(rows), _BLOCK):
        block = drawn(min(_BLOCK, len(rows) - first))
        rows[first : first + len(block)] = block
        compared = block[: max(_ROWS.value - first, 0)]  # the last rows are added later
        scores = np.concatenate([best, queries @ compared.T], axis=1)
        here = np.arange(first, first + len(compared))
        known = np.concatenate([numbers, np.tile(here, (_QUERIES, 1))], axis=1)
        order = np.argsort(-scores, axis=1)[:, :_K]
        best, numbers = (np.take_along_axis(each, order, axis=1) for each in (scores, known))
    rows.flush()
    np.save(folder / "queries.npy", queries)
    np.save(folder / "nearest.npy", numbers)


def build(name: str, folder: pathlib.Path) -> dict[str, float]:
    """Builds a contestant's index of all rows but the last ones."""
    rows = np.load(folder / "rows.npy", mmap_mode="r")[: _ROWS.value]
    file = folder / name
    shutil.rmtree(file, ignore_errors=True)
    begun = time.perf_counter()
    if name == "ours":
        file.mkdir()
        table = Table.create(file, {}, _WIDTH)
        for first in range(0, len(rows), _BLOCK):
            add(table, first, rows[first : first + _BLOCK])
        table.tidy()
    elif name == "faiss":
        import faiss  # pyright: ignore[reportMissingImports]  # a peer

        index = faiss.IndexHNSWFlat(_WIDTH, 32, faiss.METRIC_INNER_PRODUCT)
        for first in range(0, len(rows), _BLOCK):
            index.add(np.ascontiguousarray(rows[first : first + _BLOCK]))
        faiss.write_index(index, str(file))
    else:
        from usearch.index import Index  # pyright: ignore[reportMissingImports]  # a peer

        index = Index(ndim=_WIDTH, metric="ip", dtype="f32")
        for first in range(0, len(rows), _BLOCK):
            block = np.array(rows[first : first + _BLOCK])
            index.add(np.arange(first, first + len(block)), block)
        index.save(str(file))
    return {"build_s": round(time.perf_counter() - begun, 1)}


def add(table: Table, first: int, rows: np.ndarray) -> None:
    """Adds rows, which are numbered from `first` on, as whole videos."""
    names = [f"{number // 1000:04}/{number:07}.mp4" for number in range(first, first + len(rows))]
    windows = [Window(name, 0.0, 12.0, 12.0, 300, True) for name in names]
    table.append(windows, dict.fromkeys(names, (1, 1)), np.array(rows), None)


def ask(name: str, folder: pathlib.Path) -> dict[str, float]:
    """Opens a contestant's index and times queries."""
    queries, nearest = np.load(folder / "queries.npy"), np.load(folder / "nearest.npy")
    file, before, begun = folder / name, _memory(), time.perf_counter()
    answer = {"ours": ours, "faiss": faiss_hnsw, "usearch": usearch_hnsw}[name](file)
    opened = time.perf_counter() - begun
    answer(queries[0])
    first = time.perf_counter() - begun
    times, same = [], 0
    for query, right in zip(queries, nearest, strict=True):
        begun = time.perf_counter()
        rows = answer(query)
        times.append(time.perf_counter() - begun)
        same += len({*rows.tolist()} & {*right.tolist()})
    figures = {
        "open_s": opened,
        "first_answer_s": first,
        "median_ms": 1000 * np.median(times),
        "p95_ms": 1000 * np.percentile(times, 95),
        "recall": same / nearest.size,
        "memory_mib": (_memory() - before) / 2**20,
        "disk_bytes_per_row": _size(file) / _ROWS.value,
    }
    if name == "ours":
        rows = np.load(folder / "rows.npy", mmap_mode="r")[_ROWS.value :]
        begun, table = time.perf_counter(), Table(file)
        add(table, _ROWS.value, rows)
        table.tidy()
        figures["add_s"] = time.perf_counter() - begun
    return {key: float(f"{value:.4g}") for key, value in figures.items()}


def ours(file: pathlib.Path) -> Ask:
    """Searches our table as `tokmerge search query` does, once the text is encoded."""
    table = Table(file)

    def answer(query: np.ndarray) -> np.ndarray:
        table.refresh()
        (hits,) = ranking.candidates(table, query[None], _K, "").hits(table)
        return np.array([int(hit.path[5:12]) for hit in hits])

    return answer


def faiss_hnsw(file: pathlib.Path) -> Ask:
    """Searches faiss-cpu's HNSW of 32 neighbours, with 64 candidates."""
    import faiss  # pyright: ignore[reportMissingImports]  # a peer

    index = faiss.read_index(str(file))
    index.hnsw.efSearch = 64
    return lambda query: index.search(query[None], _K)[1][0]


def usearch_hnsw(file: pathlib.Path) -> Ask:
    """Searches usearch's HNSW, by its defaults."""
    from usearch.index import Index  # pyright: ignore[reportMissingImports]  # a peer

    index = Index.restore(str(file))
    assert index is not None
    return lambda query: index.search(query, _K).keys


def _memory() -> int:
    """Bytes of memory that this process holds."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _size(file: pathlib.Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = file.rglob("*") if file.is_dir() else [file]
    return sum(each.stat().st_size for each in files if each.is_file())


if __name__ == "__main__":
    app.run(main)
