"""The table of an index, in a Lance data set (Apache Arrow on disk), which may have many writers.

One row per window of a video: `path` (bytes, since the name of a file need not be text), `size` and
`modified` (the stamp of the file), its `duration` in seconds and number of `frames`; `start` and
`stop` of the window in seconds, `last` (whether it is the video's last), `embedding` [E] and, for
models that re-rank, `tokens`. A video with an unreadable part also has a row with its stamp and
`fault`; windows that could be read are still found. Each change is one commit, so a killed process
leaves the table as before or after it.
"""

import contextlib
import datetime
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import lance  # pyright: ignore[reportMissingImports]  # an extra
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int, UInt64

from tokmerge_jax import disk
from tokmerge_jax.data.video.folder import Stamp
from tokmerge_jax.own_videos.damage import damaged
from tokmerge_jax.own_videos.packing import pack, unpack
from tokmerge_jax.own_videos.ranking import EXACT
from tokmerge_jax.own_videos.windows import Entry, Window
from tokmerge_jax.types import Json, UserError

_NAME = "videos.lance"
_KEY = "tokmerge_jax"  # of the JSON in the table's metadata
_FACTS = ("path", "size", "modified", "fault", "last")
UNFINISHED = "indexing was stopped; index again"
_SPAN = ("path", "start", "stop", "duration")
_NAMES_PER_CALL = 500  # names in one condition
_COMMITS = 256  # number of commits until small files are joined
_ROWS_PER_FILE = 4096  # more would write large files of tokens again and again
_OF_WINDOW = ("duration", "frames", "start", "stop", "last")  # its attributes that are columns
_KEPT = datetime.timedelta(minutes=10)  # files of earlier versions, which readers may still have

_ROWS_PER_PART = 1000  # of the vector index
_SEARCH = {  # parts that are read; exact products per hit; without an index Lance would take L2
    "nprobes": 40,
    "refine_factor": 10,
    "metric": "dot",
}


class _Loaded(NamedTuple):
    """What stays in memory of the windows of a version."""

    version: int
    ids: UInt64[np.ndarray, " V"]
    embedding: Float32[np.ndarray, "V E"]
    spans: Sequence[tuple]


class Table:
    """The rows, as of the last `refresh` or change by this object."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Opens the table in `folder`.

        Raises:
          UserError: if it is damaged, as all methods do.
        """
        self._folder, self._commits = folder, 0
        with _reported(folder):
            self._data = lance.dataset(str(folder / _NAME))
        self._loaded: _Loaded | None = None

    @staticmethod
    def exists(folder: pathlib.Path) -> bool:
        """Whether `folder` holds a table."""
        return (folder / _NAME / "_versions").is_dir()

    @classmethod
    def create(cls, folder: pathlib.Path, about: Json, width: int) -> "Table":
        """Creates an empty table in `folder`.

        Args:
          folder: an existing folder.
          about: stored with the table, see `about`.
          width: E, width of embeddings.
        """
        columns = {
            "path": pa.binary(), "size": pa.int64(), "modified": pa.int64(),
            "duration": pa.float64(), "frames": pa.int64(), "start": pa.float64(),
            "stop": pa.float64(), "last": pa.bool_(), "fault": pa.string(),
            "embedding": pa.list_(pa.float32(), width), "tokens": pa.large_binary(),
        }  # fmt: skip
        schema = pa.schema([*columns.items()], metadata={_KEY: json.dumps(about)})
        with _reported(folder):
            lance.write_dataset(
                schema.empty_table(), str(folder / _NAME), enable_stable_row_ids=True
            )
        return cls(folder)

    @property
    def about(self) -> Json:
        """The JSON value that is stored with the table; None if it is damaged."""
        try:
            return json.loads((self._data.schema.metadata or {})[_KEY.encode()])
        except (KeyError, ValueError, RecursionError):
            return None

    @about.setter
    def about(self, value: Json) -> None:
        with _reported(self._folder):
            self._data.update_schema_metadata({_KEY: json.dumps(value)})

    @property
    def version(self) -> int:
        """The number of the last commit."""
        return self._data.version

    @staticmethod
    def literal(path: str) -> str:
        """A path as a value in SQL."""
        return f"X'{os.fsencode(path).hex()}'"

    def refresh(self) -> int:
        """Moves on to the last commit of all processes and returns its number."""
        with _reported(self._folder):
            self._data.checkout_latest()
        return self.version

    def append(
        self,
        windows: Sequence[Window],
        stamps: Mapping[str, Stamp],
        embedding: Float32[np.ndarray, "B E"],
        tokens: tuple[Float32[np.ndarray, "B N C"], Int[np.ndarray, "B N"]] | None,
    ) -> None:
        """Adds windows in one commit, beside other processes that append.

        Args:
          windows: the windows; those of a video are added in order.
          stamps: path of the video -> size of the file and its modification time in nanoseconds.
          embedding: their embeddings.
          tokens: their tokens, and the sizes of these; None without a matching head.
        """
        values = pa.array(embedding.ravel())
        kept = [None] * len(windows) if tokens is None else [*map(pack, *tokens)]
        self._append(
            **{name: [getattr(each, name) for each in windows] for name in _OF_WINDOW},
            path=[os.fsencode(each.path) for each in windows],
            size=[stamps[each.path][0] for each in windows],
            modified=[stamps[each.path][1] for each in windows],
            embedding=pa.FixedSizeListArray.from_arrays(values, embedding.shape[1]),
            tokens=kept,
        )

    def refuse(self, path: str, stamp: Stamp, fault: str) -> None:
        """Adds a video that cannot be used, and the reason."""
        text = fault.encode("utf-8", "backslashreplace").decode()
        size, modified = stamp
        self._append(path=[os.fsencode(path)], size=[size], modified=[modified], fault=[text])

    def _append(self, **columns: Sequence[object] | pa.Array) -> None:
        """Adds rows in one commit; columns that are not given are null."""
        count = len(columns["path"])
        with _reported(self._folder):
            schema = self._data.schema
            rows = {name: columns.get(name, [None] * count) for name in schema.names}
            self._data.insert(pa.table(rows, schema))
            self._commits += 1
            if self._commits % _COMMITS == 0:
                self._join()

    def remove(self, paths: Sequence[str]) -> None:
        """Removes the rows of videos."""
        with _reported(self._folder):
            for first in range(0, len(paths), _NAMES_PER_CALL):
                names = ",".join(map(self.literal, paths[first : first + _NAMES_PER_CALL]))
                self._data.delete(f"path IN ({names})")

    def known(self) -> dict[str, Entry]:
        """Reads path -> entry of all videos."""
        known: dict[str, Entry] = {}
        with _reported(self._folder):
            read = self._data.to_table(columns=[*_FACTS])
            columns = [read[key].to_numpy().tolist() for key in _FACTS]  # faster than to_pylist
            for row in zip(*columns, strict=True):
                path, stamp, fault, last = os.fsdecode(row[0]), row[1:3], row[3], row[4]
                before = known[path].fault if path in known else UNFINISHED
                if before in ("", UNFINISHED):  # rows may be in any order; a fault stays
                    known[path] = Entry(stamp, fault or ("" if last else before))
        return known

    def videos(self) -> tuple[pa.ChunkedArray, int]:
        """Returns the paths of all videos, and how many are complete: without fault in `known`."""
        with _reported(self._folder):
            read = self._data.to_table(columns=["path", "fault", "last"])
            each = read.group_by("path").aggregate([("fault", "count"), ("last", "any")])
            complete = pc.and_(pc.equal(each["fault_count"], 0), each["last_any"])  # or null
            return each["path"], pc.sum(complete).as_py() or 0

    def __len__(self) -> int:
        """Number of rows."""
        return self.count()

    def count(self, condition: str = "") -> int:
        """Number of rows for which a condition in SQL is true; "" = all."""
        with _reported(self._folder):
            return self._data.count_rows(condition or None)

    def paths(self, condition: str) -> set[str]:
        """The videos with a row for which a condition in SQL is true."""
        with _reported(self._folder):
            read = self._data.to_table(columns=["path"], filter=condition)
            return {os.fsdecode(path) for path in read["path"].to_pylist()}

    def embeddings(self) -> tuple[UInt64[np.ndarray, " V"], Float32[np.ndarray, "V E"]]:
        """Returns ids and embeddings of all windows; they stay in memory until the next change."""
        loaded = self._current() or self._load()
        return loaded.ids, loaded.embedding

    def _current(self) -> "_Loaded | None":
        loaded = self._loaded
        return loaded if loaded is not None and loaded.version == self.version else None

    def _load(self) -> "_Loaded":
        width = self._data.schema.field("embedding").type.list_size
        ids, values = np.empty(len(self), np.uint64), np.empty((len(self), width), np.float32)
        count, spans = 0, list[tuple]()
        with _reported(self._folder):
            for batch in self._data.to_batches(
                columns=["embedding", *_SPAN], filter="embedding IS NOT NULL", with_row_id=True
            ):
                some = slice(count, count := count + len(batch))
                ids[some] = batch["_rowid"].to_numpy()
                values[some] = batch["embedding"].flatten().to_numpy().reshape(-1, width)
                spans += zip(*(batch[name].to_pylist() for name in _SPAN), strict=True)
            if not np.isfinite(values[:count]).all():
                raise damaged(self._folder, "embeddings are not finite")
        self._loaded = _Loaded(self.version, ids[:count], values[:count], spans)
        return self._loaded

    def spans(self, ids: UInt64[np.ndarray, " N"]) -> list[tuple]:
        """Returns path, start, stop and duration of windows, from memory where embeddings are."""
        loaded = self._current()
        if loaded is None or not len(ids):
            return self.rows(ids, *_SPAN)
        order = np.argsort(loaded.ids)
        places = order[np.searchsorted(loaded.ids, ids, sorter=order)]
        return [loaded.spans[int(place)] for place in places]

    def where(self, condition: str) -> UInt64[np.ndarray, " N"]:
        """Returns the ids of the rows for which a condition in SQL is true."""
        with _reported(self._folder):
            read = self._data.to_table(columns=[], filter=condition, with_row_id=True)
            return read["_rowid"].to_numpy()

    def nearest(
        self, query: Float32[np.ndarray, " E"], count: int, condition: str
    ) -> tuple[UInt64[np.ndarray, " N"], Float32[np.ndarray, " N"]]:
        """Returns ids and products of about the `count` rows nearest to a query, best first.

        The vector index that `tidy` makes proposes rows; their products are exact.

        Args:
          query: the query.
          count: number of rows, fewer if fewer meet the condition.
          condition: condition in SQL; "" = all rows.
        """
        with _reported(self._folder):
            read = self._data.scanner(
                columns=["_rowid", "_distance"],
                filter=condition or None,
                prefilter=True,
                nearest={"column": "embedding", "q": query, "k": count, **_SEARCH},
                disable_scoring_autoprojection=True,
            ).to_table()
        return read["_rowid"].to_numpy(), 1 - read["_distance"].to_numpy()

    def rows(self, ids: UInt64[np.ndarray, " N"], *names: str) -> list[tuple]:
        """Returns the named columns of the rows with these ids, in their order.

        Raises:
          UserError: if a row is missing.
        """
        if not len(ids):
            return []
        wanted = ids.tolist()
        with _reported(self._folder):
            condition = f"_rowid IN ({','.join(map(str, wanted))})"
            read = self._data.to_table(columns=[*names], filter=condition, with_row_id=True)
            columns = [read[name].to_pylist() for name in ("_rowid", *names)]
            values = {row: rest for row, *rest in zip(*columns, strict=True)}
            return [tuple(values[row]) for row in wanted]

    def tokens(
        self, ids: UInt64[np.ndarray, " B"], shape: tuple[int, ...]
    ) -> Float32[np.ndarray, "B N C"]:
        """Returns the tokens of the rows with these ids.

        Raises:
          UserError: if a row has no tokens of this shape [N,C], or they are not finite.
        """
        with _reported(self._folder):
            tokens = np.stack([unpack(x or b"", shape) for (x,) in self.rows(ids, "tokens")])
        if not np.isfinite(tokens).all():
            raise damaged(self._folder, "tokens are not finite")
        return tokens

    def tidy(self) -> None:
        """Joins small files and removes what is no longer used.

        The vector index of a large table is brought up to date. One process may do this while
        others read and append.
        """
        with _reported(self._folder):
            self._join()
            if self._data.count_rows() > EXACT:
                self._index()
            self._data.cleanup_old_versions(_KEPT)

    def _join(self) -> None:
        self._data.optimize.compact_files(target_rows_per_fragment=_ROWS_PER_FILE)
        self._data.cleanup_old_versions(_KEPT)

    def _index(self) -> None:
        if self._data.describe_indices():
            self._data.optimize.optimize_indices(num_indices_to_merge=0)  # add, not write anew
        else:
            partitions = len(self) // _ROWS_PER_PART
            self._data.create_index("embedding", "IVF_RQ", metric="dot", num_partitions=partitions)


@contextlib.contextmanager
def _reported(folder: pathlib.Path) -> Iterator[None]:
    """Raises UserError for what Lance raises: refusals of the machine, and damage."""
    try:
        with disk.explained(folder):
            yield
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, pa.ArrowException) as error:
        raise damaged(folder, " ".join(str(error).split())[:120]) from error
