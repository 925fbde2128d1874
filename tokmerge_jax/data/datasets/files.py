"""Reading annotation files: texts, tables, JSON, pickles; what is wrong is told in one sentence.

Every error is a UserError that names the file, and the line, record or field where there is one.
"""

import csv
import io
import itertools
import json
import pathlib
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokmerge_jax.types import UserError


def named(folder: pathlib.Path, names: Sequence[str]) -> tuple[pathlib.Path, ...]:
    """Files of a folder, of which a name as "*.json" means all that fit, sorted, or itself."""
    found = [sorted(folder.glob(name)) or [folder / name] for name in names]
    return tuple(itertools.chain.from_iterable(found))


def text(path: pathlib.Path) -> str:
    """A file of UTF-8 text that is not blank."""
    try:
        found = path.read_text("utf-8-sig")  # spreadsheets put a mark first
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if not found.strip():
        raise UserError(f"{path}: is empty")
    return found


def lines(path: pathlib.Path) -> list[str]:
    """The lines that are not blank, without the space around them."""
    return [line.strip() for line in text(path).splitlines() if line.strip()]


def rows(path: pathlib.Path, **form: Any) -> Iterator[tuple[str, list[str]]]:
    """The rows of a table that are not blank, and where each is; `form` is for `csv.reader`."""
    reader = csv.reader(io.StringIO(text(path), newline=""), strict=True, **form)
    try:
        yield from ((f"{path}, line {reader.line_num}", row) for row in reader if row)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: cannot be read ({error})") from error


def cells(path: pathlib.Path, *columns: str) -> Iterator[tuple[str, ...]]:
    """The named columns of a table whose first row names them; no cell of them may be empty."""
    table = rows(path)
    _, header = next(table)
    if missing := [column for column in columns if column not in header]:
        raise UserError(f"{path}: column {missing[0]!r} is missing")
    for where, row in table:
        found = dict(zip(header, row, strict=False))
        if missing := [column for column in columns if not found.get(column)]:
            raise UserError(f"{where}: column {missing[0]!r} is empty")
        yield tuple(found[column] for column in columns)


def json_of(path: pathlib.Path, kind: type) -> Any:
    """A file of one JSON value: a dict, list or str, as `kind` says."""
    return _parsed(text(path), kind, str(path))


def first_line(path: pathlib.Path, kind: type) -> Any:
    """The JSON value of a file's first line, of `kind`; what follows is not read."""
    return _parsed(text(path).split("\n", 1)[0], kind, f"{path}, line 1")


def records(path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    """The members of a JSON list, and where each is."""
    yield from ((f"{path}, record {i}", row) for i, row in enumerate(json_of(path, list)))


def json_lines(path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    """The JSON objects of a file that has one a line, and where each is."""
    for i, line in enumerate(text(path).split("\n"), 1):  # texts may hold other ends of lines
        if line.strip():
            yield f"{path}, line {i}", _parsed(line, dict, f"{path}, line {i}")


def _parsed(found: str, kind: type, where: str) -> Any:
    try:
        value = json.loads(found)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: cannot be read as JSON ({error})") from error
    return typed(value, kind, where)


class _PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists and texts, and runs nothing that the file names."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def unpickled(path: pathlib.Path) -> Any:
    """What a pickle of dicts, lists and texts holds, also one of Python 2; code is never run."""
    try:
        data = path.read_bytes()
        try:
            return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
        except UnicodeDecodeError:  # Python 2 stored bytes, and not in which encoding
            return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # damaged bytes raise nearly anything
        raise UserError(f"{path}: cannot be read as a pickle of texts ({error})") from error


_NAMES: Mapping[type, str] = {dict: "an object", list: "a list", str: "a text"}


def typed(value: Any, kind: type, where: str) -> Any:
    """`value`, which must be a dict, list or str, as `kind` says."""
    if not isinstance(value, kind):
        raise UserError(f"{where}: must be {_NAMES[kind]}, not {value!r:.40}")
    return value


def field(row: Any, name: str, kind: type, where: str) -> Any:
    """The field `name`, of `kind`, of `row`, which must be a dict."""
    if name not in typed(row, dict, where):
        raise UserError(f"{where}: field {name!r} is missing")
    return typed(row[name], kind, f"{where}, field {name!r}")


def texts(values: Any, where: str) -> list[str]:
    """`values`, which must be a list of str."""
    return [
        typed(value, str, f"{where}, place {i}")
        for i, value in enumerate(typed(values, list, where))
    ]


def field_of_texts(row: Any, name: str, where: str) -> list[str]:
    """The field `name`, a list of str, of `row`, which must be a dict."""
    return texts(field(row, name, list, where), f"{where}, field {name!r}")


def described_in_words(
    names: Sequence[str], names_file: pathlib.Path, captions_file: pathlib.Path
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """`described` by a pickle: video -> its captions, each a list of words."""
    said = typed(unpickled(captions_file), dict, str(captions_file))
    found = {
        name: _joined(said[name], f"{captions_file}, video {name!r}")
        for name in names
        if name in said
    }
    return described(names, names_file, found, captions_file)


def _joined(captions: Any, where: str) -> list[str]:
    captions = enumerate(typed(captions, list, where))
    return [" ".join(texts(words, f"{where}, caption {i}")) for i, words in captions]


def described(
    names: Sequence[str],
    names_file: pathlib.Path,
    captions: Mapping[str, Sequence[str]],
    captions_file: pathlib.Path,
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each video that is named, once, with its captions.

    Lists may name videos that nobody described; those are left out, and told.
    """
    told = [name for name in dict.fromkeys(names) if captions.get(name)]
    without = [name for name in dict.fromkeys(names) if not captions.get(name)]
    if without:
        fault = f"{captions_file}: has no caption of {without[0]!r}"
        fault += f" and {len(without) - 1} more" * (len(without) > 1) + f" of {names_file.name}"
        if not told:
            raise UserError(f"{fault}; is it the right file?")
        print(f"{fault}: left out", file=sys.stderr)
    for name in told:
        yield name, tuple(captions[name])
