"""Times search in a large index, beside faiss-cpu's HNSW and usearch, on the same vectors.

Examples:
  python -m benchmarks.search --rows 100000 --folder results/search
  python -m benchmarks.search --rows 1000000 --folder results/search --peers

The vectors are fabricated: clusters of a hundred, of 512 numbers and unit norm, in 32-bit floats.
Each index is built in a process of its own; a second one opens it and answers queries one by one:
their median and 95th percentile, the CPU time of one, recall@10 against the exact result, and the
memory that opening and answering took: the process's own, and pages of mapped files, which the
system may drop. `ours` also answers sixteen queries at once and reads all entries, as `tokmerge
search index` does; it then adds 1,000 rows and tidies up. The peers need `pip install faiss-cpu
usearch`; --peers without names leaves them out. The folder keeps vectors, indexes and
`results.jsonl`.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

from benchmarks.indexes import INDEXES, NEAREST, PEERS, add
from tokmerge_jax import commands
from tokmerge_jax.own_videos import ranking
from tokmerge_jax.own_videos.table import Table

_LEAST = 1000  # rows
_WIDTH, _CLUSTER, _NOISE, _QUERIES = 512, 100, 0.5, 200
_BLOCK = 10_000  # rows that are drawn and compared at a time
_ADDED = 1000  # rows that are added in the end
_TOGETHER = 16  # queries at once


def main() -> None:
    """Times all indexes, or, in a process of its own, one stage of one of them."""
    args = _arguments()
    folder = args.folder / str(args.rows)
    if args.stage:
        stage, name = args.stage.split(":")
        print(json.dumps({"build": build, "ask": ask}[stage](name, folder)))
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "nearest.npy").exists():
        fabricate(folder, args.rows)
    for name in ("ours", *args.peers):
        figures: dict[str, float | str] = {"name": name, "rows": args.rows}
        for stage in ("build", "ask"):
            figures |= _alone(args, f"{stage}:{name}")
        figures["load"] = round(os.getloadavg()[0], 1)
        with (folder / "results.jsonl").open("a") as log:
            log.write(json.dumps(figures) + "\n")
        print(json.dumps(figures), flush=True)


def _arguments() -> argparse.Namespace:
    parser = commands.parser(__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help=f"number, {_LEAST} at least")
    parser.add_argument("--folder", type=pathlib.Path, default="results/search", help="the output")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--stage", default="", help=argparse.SUPPRESS)  # set by the command itself
    args = parser.parse_args()
    if args.rows < _LEAST:
        parser.error(f"--rows={args.rows} must be at least {_LEAST}")
    return args


def _alone(args: argparse.Namespace, stage: str) -> dict[str, float]:
    """The figures of a stage, which runs in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.search", f"--rows={args.rows}"]
    done = subprocess.run(
        [*command, f"--folder={args.folder}", f"--stage={stage}"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def fabricate(folder: pathlib.Path, count: int) -> None:
    """Writes queries, `count` rows and some to add, and which of the `count` are nearest."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((count // _CLUSTER, _WIDTH), np.float32)

    def drawn(length: int) -> np.ndarray:
        noise = rng.standard_normal((length, _WIDTH), np.float32)
        rows = centres[rng.integers(0, len(centres), length)] + np.float32(_NOISE) * noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    queries, shape = drawn(_QUERIES), (count + _ADDED, _WIDTH)
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, shape)
    best, numbers = np.full((_QUERIES, NEAREST), -np.inf), np.zeros((_QUERIES, NEAREST), np.int64)
    for first in range(0, len(rows), _BLOCK):
        block = drawn(min(_BLOCK, len(rows) - first))
        rows[first : first + len(block)] = block
        compared = block[: max(count - first, 0)]  # the last rows are added later
        scores = np.concatenate([best, queries @ compared.T], axis=1)
        here = np.arange(first, first + len(compared))
        known = np.concatenate([numbers, np.tile(here, (_QUERIES, 1))], axis=1)
        order = np.argsort(-scores, axis=1)[:, :NEAREST]
        best, numbers = (np.take_along_axis(each, order, axis=1) for each in (scores, known))
    rows.flush()
    np.save(folder / "queries.npy", queries)
    np.save(folder / "nearest.npy", numbers)


def build(name: str, folder: pathlib.Path) -> dict[str, float]:
    """Builds an index of all rows but the last ones."""
    rows, file = _rows(folder)[:-_ADDED], folder / name
    shutil.rmtree(file, ignore_errors=True)
    begun = time.perf_counter()
    INDEXES[name].build(file, rows)
    return {"build_s": round(time.perf_counter() - begun, 1)}


def ask(name: str, folder: pathlib.Path) -> dict[str, float]:
    """Opens an index, times queries, and for ours the adding of rows."""
    queries, nearest = np.load(folder / "queries.npy"), np.load(folder / "nearest.npy")
    file, before, begun = folder / name, _memory_mib(), time.perf_counter()
    answer = INDEXES[name].open(file)
    opened = time.perf_counter() - begun
    answer(queries[0])
    first = time.perf_counter() - begun
    times, same, worked = [], 0, time.process_time()
    for query, right in zip(queries, nearest, strict=True):
        begun = time.perf_counter()
        rows = answer(query)
        times.append(time.perf_counter() - begun)
        same += len({*rows.tolist()} & {*right.tolist()})
    cpu, memory = time.process_time() - worked, _memory_mib() - before
    figures = {
        "open_s": opened,
        "first_answer_s": first,
        "median_ms": 1000 * np.median(times),
        "p95_ms": 1000 * np.percentile(times, 95),
        "cpu_ms": 1000 * cpu / len(times),
        "recall": same / nearest.size,
        "own_mib": memory[0],
        "mapped_mib": memory[1],
        "disk_bytes_per_row": _size(file) / (len(_rows(folder)) - _ADDED),
    }
    if name == "ours":
        figures |= _ours(file, queries, _rows(folder))
    return {key: float(f"{value:.4g}") for key, value in figures.items()}


def _rows(folder: pathlib.Path) -> np.ndarray:
    """All rows, those to add at the end included, mapped from their file."""
    return np.load(folder / "rows.npy", mmap_mode="r")


def _ours(file: pathlib.Path, queries: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Seconds that our index takes for several queries at once, its entries, and more rows."""
    table, times = Table(file), [time.perf_counter()]
    table.known()
    times.append(time.perf_counter())
    ranking.candidates(table, queries[:1], NEAREST, "")  # reads what stays in memory
    times.append(time.perf_counter())
    ranking.candidates(table, queries[:_TOGETHER], NEAREST, "").hits(table)
    times.append(time.perf_counter())
    add(table, len(rows) - _ADDED, np.array(rows[-_ADDED:]))
    table.tidy()
    entries, _, together, added = np.diff([*times, time.perf_counter()])
    return {"entries_s": entries, "together_ms": 1000 * together, "add_s": added}


def _memory_mib() -> np.ndarray:
    """Memory that this process holds itself, and that of mapped files."""
    resident, mapped = map(int, pathlib.Path("/proc/self/statm").read_text().split()[1:3])
    return np.array([resident - mapped, mapped]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _size(file: pathlib.Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = file.rglob("*") if file.is_dir() else [file]
    return sum(each.stat().st_size for each in files if each.is_file())


if __name__ == "__main__":
    main()
