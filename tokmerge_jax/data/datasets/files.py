"""Reads annotation files (texts, tables, JSON, pickles) and reports each fault in one sentence.

Every error is a UserError that names the file, and the line, record or field where there is one.
"""

import csv
import io
import itertools
import json
import pathlib
import pickle
import pickletools
import re
import reprlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tokmerge_jax.types import Json, UserError

_NO_CHARACTER = re.compile(r"[\0\ud800-\udfff]")  # NUL and the surrogates of UTF-16
_MARK = "\ufeff"  # byte order mark, which spreadsheets write first
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring = 1, 2, 2, 60
_READABLE = (
    "MARK STOP PROTO FRAME EMPTY_DICT DICT EMPTY_LIST LIST APPEND APPENDS SETITEM SETITEMS PUT"
    " BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET UNICODE SHORT_BINUNICODE BINUNICODE"
    " BINUNICODE8 STRING SHORT_BINSTRING BINSTRING INT BININT BININT1 BININT2 LONG LONG1"
    " FLOAT BINFLOAT NONE NEWTRUE NEWFALSE"
)
"""The opcodes of pickles of dicts, lists, texts and numbers. Tuples are excluded, since hashing
nested shared ones may take forever, and so are numbers of more than 255 bytes."""
_PARTS = 5_000_000  # most opcodes in a pickle; MSVD's captions have 1.5 million
_NUMBER = 2**60  # largest number in a pickle; larger ones can be made to share one hash
_CHARACTERS = 20_000_000  # most characters of a pickle's captions; MSVD's have 3 million


def named(folder: pathlib.Path, names: Sequence[str]) -> tuple[pathlib.Path, ...]:
    """Files of a folder by name or pattern (`*.json`, sorted); a pattern without match stays.

    The metadata files that macOS writes on other systems' disks (._train.json) match no pattern.
    """
    fitting = ([f for f in sorted(folder.glob(name)) if f.name[:2] != "._"] for name in names)
    files = (those or [folder / name] for those, name in zip(fitting, names, strict=True))
    return tuple(itertools.chain.from_iterable(files))


def text(path: pathlib.Path) -> str:
    """Reads a file of UTF-8 text, which must not be blank."""
    try:
        content = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    content = content.removeprefix(_MARK).replace(f"\n{_MARK}", "\n")  # files were joined
    if not content.strip():
        raise UserError(f"{path}: is empty")
    if "\0" in content:
        line = content.count("\n", 0, content.index("\0")) + 1
        raise UserError(f"{path}, line {line}: holds a NUL character; save the file as UTF-8 text")
    return content


def lines(path: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Yields (place, stripped line) for each line that is not blank."""
    for number, line in enumerate(text(path).split("\n"), 1):  # texts may hold other line breaks
        if stripped := line.strip():
            yield f"{path}, line {number}", stripped


def rows(path: pathlib.Path, **form: Json) -> Iterator[tuple[str, list[str]]]:
    """Yields (place, row) for each row of a table that is not blank; `form` is for `csv.reader`."""
    reader = csv.reader(io.StringIO(text(path), newline=""), strict=True, **form)
    try:
        yield from ((f"{path}, line {reader.line_num}", row) for row in reader if row)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: cannot be read ({error})") from error


def cells(path: pathlib.Path, *columns: str) -> Iterator[tuple[str, ...]]:
    """Yields the cells of the named columns, row by row; the first row of the table is its header.

    None of these cells may be empty.
    """
    header, body = table(path)
    for column in columns:
        if header.count(column) != 1:
            fault = "is named twice" if column in header else "is missing"
            raise UserError(f"{path}: column {column!r} {fault}")
    for where, row in body:
        if missing := [column for column in columns if not row[column]]:
            raise UserError(f"{where}: column {missing[0]!r} is empty")
        yield tuple(row[column] for column in columns)


def table(path: pathlib.Path) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    """Reads a table: its header, and (place, column -> cell) of each row; missing cells are ""."""
    table = rows(path)
    _, header = next(table)
    return header, _by_column(header, table)


def _by_column(
    header: Sequence[str], table: Iterator[tuple[str, list[str]]]
) -> Iterator[tuple[str, dict[str, str]]]:
    for where, row in table:
        if len(row) > len(header):
            raise UserError(
                f"{where}: expected {len(header)} fields, as in the first line, got {len(row)}; put"
                " texts that contain commas into double quotes"
            )
        yield where, dict(itertools.zip_longest(header, row, fillvalue=""))


def json_of(path: pathlib.Path, kind: type) -> Json:
    """Reads a file of one JSON value, of type `kind` (dict, list or str)."""
    return _parsed(text(path), kind, str(path))


def first_line(path: pathlib.Path, kind: type) -> Json:
    """Reads the JSON value, of type `kind`, in a file's first line; the rest is ignored."""
    where, line = next(lines(path))
    return _parsed(line, kind, where)


def records(path: pathlib.Path) -> Iterator[tuple[str, Json]]:
    """Yields (place, member) for each member of a JSON list."""
    yield from ((f"{path}, record {i}", row) for i, row in enumerate(json_of(path, list)))


def json_lines(path: pathlib.Path) -> Iterator[tuple[str, Json]]:
    """Yields (place, object) from a file with one JSON object per line."""
    for where, line in lines(path):
        yield where, _parsed(line, dict, where)


def _parsed(content: str, kind: type, where: str) -> Json:
    try:
        value = json.loads(content, object_pairs_hook=_object)
    except RecursionError:
        raise UserError(f"{where}: cannot be read as JSON (brackets nest too deeply)") from None
    except ValueError as error:
        fault = "a number has thousands of digits" if "digits" in str(error) else error
        raise UserError(f"{where}: cannot be read as JSON ({fault})") from error
    return typed(value, kind, where)


def _object(fields: list[tuple[str, Json]]) -> dict[str, Json]:
    distinct = dict(fields)
    return distinct if len(distinct) == len(fields) else _Repeating(fields)


class _Repeating(dict[str, Json]):
    """A JSON object with several fields of the same name; a dict would keep the last."""

    def __init__(self, fields: list[tuple[str, Json]]):
        super().__init__(fields)
        ((self.name, _),) = Counter(name for name, _ in fields).most_common(1)


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that runs no code of the file."""

    def find_class(self, module_name: str, global_name: str, /) -> Json:
        raise pickle.UnpicklingError("it asks for code")


def unpickled(path: pathlib.Path) -> Json:
    """Reads a pickle of dicts, lists, texts and numbers, also one written by Python 2.

    Code is never run, and checking the opcodes first bounds time and memory.
    """
    try:
        data = path.read_bytes()
        _check_parts(data)
        try:
            return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
        except UnicodeDecodeError:  # Python 2 stored bytes without their encoding
            return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # damaged bytes raise nearly anything
        fault = f"{error}"[:100]
        raise UserError(f"{path}: cannot be read as a pickle of texts ({fault})") from error


def _check_parts(data: bytes) -> None:
    """Raises ValueError if a pickle has other opcodes than `_READABLE`, or needs much memory."""
    readable = frozenset(_READABLE.split())
    for count, (part, argument, _) in enumerate(pickletools.genops(data)):
        if part.name not in readable:
            raise ValueError(f"it holds {part.name}, which is no dict, list, text or number")
        if count > _PARTS:
            raise ValueError(f"it has more than {_PARTS} parts")
        if isinstance(argument, int) and abs(argument) > _NUMBER:
            raise ValueError(f"it holds a number above {_NUMBER}")
        if part.name.endswith("PUT") and (argument or 0) > len(data):  # memory for as many places
            raise ValueError(f"it has no place {argument}")


_NAMES: Mapping[type, str] = {dict: "an object", list: "a list", str: "a text"}


def shown(value: object) -> str:
    """A short form of any value, for messages."""
    return _SHORT.repr(value)


def typed(value: Json, kind: type, where: str) -> Json:
    """Returns `value` after checking that it is a dict, list or str, as `kind` asks.

    Texts must consist of whole characters (JSON and pickles may hold lone surrogates); the field
    names of an object must differ.
    """
    if not isinstance(value, kind):
        raise UserError(f"{where}: must be {_NAMES[kind]}, not {shown(value)}")
    if isinstance(value, str) and (fault := _NO_CHARACTER.search(value)):
        raise UserError(f"{where}: {shown(value)} holds {fault[0]!a}, which is not a character")
    if isinstance(value, _Repeating):
        raise UserError(f"{where}: has the field {shown(value.name)} twice")
    return value


def field(row: Json, name: str, kind: type, where: str) -> Json:
    """Returns the field `name` of the dict `row` after checking that it is a `kind`."""
    if name not in typed(row, dict, where):
        raise UserError(f"{where}: field {name!r} is missing")
    return typed(row[name], kind, f"{where}, field {name!r}")


def texts(values: Json, where: str) -> list[str]:
    """Returns `values` after checking that it is a list of str."""
    return [
        typed(value, str, f"{where}, place {i}")
        for i, value in enumerate(typed(values, list, where))
    ]


def field_of_texts(row: Json, name: str, where: str) -> list[str]:
    """Returns the field `name` of the dict `row` after checking that it is a list of str."""
    return texts(field(row, name, list, where), f"{where}, field {name!r}")


def described_in_words(
    names: Sequence[str], names_file: pathlib.Path, captions_file: pathlib.Path
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Returns `described` for a pickle of video -> captions, each a list of words."""
    said = typed(unpickled(captions_file), dict, str(captions_file))
    captions: dict[str, list[str]] = {}
    length = 0
    for name in dict.fromkeys(names):
        where = f"{captions_file}, video {shown(name)}"
        for i, words in enumerate(typed(said.get(name, []), list, where)):
            place = f"{where}, caption {i}"
            length += sum(
                len(word) + 1 for word in typed(words, list, place) if isinstance(word, str)
            )
            if length > _CHARACTERS:
                raise UserError(
                    f"{place}: the captions up to here have {length} characters, too many"
                )
            captions.setdefault(name, []).append(" ".join(texts(words, place)))
    return described(names, names_file, captions, captions_file)


def described(
    names: Sequence[str],
    names_file: pathlib.Path,
    captions: Mapping[str, Sequence[str]],
    captions_file: pathlib.Path,
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields (video, captions) for each named video, once.

    Videos without a caption are left out and reported.
    """
    described_names = [name for name in dict.fromkeys(names) if captions.get(name)]
    without = [name for name in dict.fromkeys(names) if not captions.get(name)]
    if without:
        fault = f"{captions_file}: has no caption for {shown(without[0])}"
        fault += f" and {len(without) - 1} more" * (len(without) > 1) + f" of {names_file.name}"
        if not described_names:
            raise UserError(f"{fault}; is it the right file?")
        print(f"{fault}: left out", file=sys.stderr)
    for name in described_names:
        yield name, tuple(captions[name])
