"""Finds and reads tables of any columns: CSV, JSON lines, Parquet, splits of TFDS."""

import pathlib
from collections.abc import Callable, Iterator, Mapping

from tokmerge_jax.data.datasets import files, tfds_tables
from tokmerge_jax.types import Json, UserError

_PACKED = ("struct<", "binary", "large_binary")  # pyarrow's types of files inside a table
_ROWS = 10_000  # number of rows that are read at a time, unless they hold videos

Fields = tuple[str, dict[str, Json]]
"""The place of a row, for messages; its cells by column."""


def find(source: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """The tables of a folder: those called metadata, or else all; or the one that is given.

    For a folder of TFDS, they are its splits.

    Raises:
      UserError: if there is none, or the given one has another suffix than those of `READERS`.
    """
    if source.is_file():
        if source.suffix not in READERS:
            raise UserError(f"{source}: must be one of {', '.join(READERS)}")
        return (source,)
    if tfds_tables.is_folder(source):
        return tfds_tables.splits(source)
    there = [path for path in sorted(source.rglob("[!.]*")) if path.suffix in READERS]
    named = [path for path in there if path.stem == "metadata"]
    if not there:
        raise UserError(f"{source}: no such table or folder of tables ({', '.join(READERS)}, TFDS)")
    return tuple(named or there)


def columns(path: pathlib.Path) -> list[str]:
    """The columns of a table's first row; errors as `first`."""
    return list(first(path)[1])


def first(path: pathlib.Path) -> Fields:
    """The first row of a table.

    Raises:
      UserError: if it holds no row or cannot be read.
    """
    return next(read(path))


def read(path: pathlib.Path) -> Iterator[Fields]:
    """Yields the rows of a table that `find` gives: by its suffix, or a split of TFDS.

    Raises:
      UserError: if it holds no row or cannot be read.
    """
    empty = True
    for row in READERS.get(path.suffix, tfds_tables.read)(path):
        empty = False
        yield row
    if empty:
        raise UserError(f"{path}: holds no row")


def _csv(path: pathlib.Path) -> Iterator[Fields]:
    header, body = files.table(path)
    if len({*header}) < len(header):
        raise UserError(f"{path}: two columns have the same name ({', '.join(header)})")
    return body


def _parquet(path: pathlib.Path) -> Iterator[Fields]:
    """The rows, one row group in memory at a time; of files inside the table, only videos."""
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError(f"{path}: needs pyarrow; run pip install pyarrow") from None
    try:
        with parquet.ParquetFile(path) as file:
            types = {field.name: str(field.type) for field in file.schema_arrow}
            packed = {name for name, kind in types.items() if kind.startswith(_PACKED)}
            columns = [name for name in types if name == "video" or name not in packed]
            size = 1 if "video" in packed else _ROWS
            groups = range(file.num_row_groups)
            parts = (file.iter_batches(size, row_groups=[i], columns=columns) for i in groups)
            rows = (row for part in parts for batch in part for row in batch.to_pylist())
            for number, row in enumerate(rows):
                yield f"{path}, row {number}", dict.fromkeys(types) | row
    except (OSError, ValueError, LookupError) as error:  # pyarrow's errors are among these
        raise UserError(f"{path}: cannot be read as Parquet ({error!s:.100})") from error


READERS: Mapping[str, Callable[[pathlib.Path], Iterator[Fields]]] = {
    ".csv": _csv,
    ".jsonl": files.json_lines,
    ".parquet": _parquet,
}
"""Suffix of a table -> its reader."""
