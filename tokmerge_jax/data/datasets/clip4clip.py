"""Reading the annotation files of CLIP4Clip's family, each data set's in the form it came in.

A record is a video with all its captions (the sentences of a paragraph among them); where a row
of the file is what is searched for (MSRVTT's test, LSMDC), it is a row. The annotations name
videos, not files; those are found in the videos' folder and the folders in it.
"""

import csv
import io
import json
import os
import pathlib
import pickle
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.data.folder import SUFFIXES
from tokmerge_jax.types import UserError

FORMATS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "msrvtt": {
        "train": ("MSRVTT_train.9k.csv", "MSRVTT_data.json"),
        "train_7k": ("MSRVTT_train.7k.csv", "MSRVTT_data.json"),
        "test": ("MSRVTT_JSFUSION_test.csv",),
    },
    "anet": {
        "train": ("train_ids.json", "train.json"),
        "test": ("val_ids.json", "val_1.json"),
    },
    "didemo": {s: (f"{s}_list.txt", f"{s}_data.json") for s in ("train", "val", "test")},
    "lsmdc": {
        "train": ("LSMDC16_annos_training.csv",),
        "val": ("LSMDC16_annos_val.csv",),
        "test": ("LSMDC16_challenge_1000_publictect.csv",),
    },
    "msvd": {s: (f"{s}_list.txt", "raw-captions.pkl") for s in ("train", "val", "test")},
}
"""Data set -> split -> names of its files: that of the videos first, then that of captions."""

_COLUMNS = 6  # of LSMDC: the clip, four times, the sentence
_SUFFIX = re.compile(f"({'|'.join(map(re.escape, (*SUFFIXES, '.asf', '.vob')))})$", re.IGNORECASE)
_Captions = tuple[str, tuple[str, ...]]  # a video's name, what is said of it


def read(
    dataset: str, split: str, folder: pathlib.Path, videos: pathlib.Path
) -> tuple[Record, ...]:
    """The records of a split, in the order of its first file.

    A video without a file gets the path that it should have; the check of the videos reports it.

    Args:
      dataset: a key of `FORMATS`.
      split: a key of `FORMATS[dataset]`.
      folder: of the annotation files.
      videos: the folder that holds the videos, in folders or not.

    Raises:
      UserError: naming the file, and what in it is missing or of another type.
    """
    paths = [folder / name for name in FORMATS[dataset][split]]
    found = list(_READERS[dataset](*paths))
    if not found:
        raise UserError(f"{paths[0]}: names no video")
    files = _files(videos)
    spellings = _SPELLINGS.get(dataset, _as_is)
    clips = (Clip(name, _path(name, spellings(name), files, videos)) for name, _ in found)
    return tuple(Record((clip,), texts) for clip, (_, texts) in zip(clips, found, strict=True))


def _msrvtt(table: pathlib.Path, data: pathlib.Path | None = None) -> Iterator[_Captions]:
    if data is None:
        return ((video, (text,)) for video, text in _cells(table, "video_id", "sentence"))
    names = [name for (name,) in _cells(table, "video_id")]
    sentences = _field(_json(data, dict), "sentences", list, str(data))
    return _of_videos(names, table, _grouped(sentences, "video_id", "caption", data), data)


def _anet(ids: pathlib.Path, data: pathlib.Path) -> Iterator[_Captions]:
    names, said = _texts(_json(ids, list), str(ids)), _json(data, dict)
    found = {
        name: _sentences(said[name], f"{data}, video {name!r}") for name in names if name in said
    }
    return _of_videos(names, ids, found, data)


def _sentences(paragraph: Any, where: str) -> list[str]:
    return _texts(_field(paragraph, "sentences", list, where), f"{where}, field 'sentences'")


def _didemo(names: pathlib.Path, data: pathlib.Path) -> Iterator[_Captions]:
    found = _grouped(_json(data, list), "video", "description", data)
    return _of_videos(_lines(names), names, found, data)


def _lsmdc(table: pathlib.Path) -> Iterator[_Captions]:
    for where, row in _rows(table, delimiter="\t", quoting=csv.QUOTE_NONE):
        if len(row) != _COLUMNS:
            raise UserError(f"{where}: has {len(row)} columns, not {_COLUMNS} between tabs")
        if not row[0] or not row[-1]:
            raise UserError(f"{where}: the clip (column 1) or its sentence (column 6) is empty")
        yield row[0], (row[-1],)


def _msvd(names: pathlib.Path, data: pathlib.Path) -> Iterator[_Captions]:
    wanted, said = _lines(names), _typed(_unpickled(data), dict, str(data))
    found = {
        name: _joined(said[name], f"{data}, video {name!r}") for name in wanted if name in said
    }
    return _of_videos(wanted, names, found, data)


def _joined(sentences: Any, where: str) -> list[str]:
    sentences = enumerate(_typed(sentences, list, where))
    return [" ".join(_texts(words, f"{where}, caption {i}")) for i, words in sentences]


_READERS: Mapping[str, Callable[..., Iterator[_Captions]]] = {
    "msrvtt": _msrvtt,
    "anet": _anet,
    "didemo": _didemo,
    "lsmdc": _lsmdc,
    "msvd": _msvd,
}


def _of_videos(
    names: Sequence[str],
    names_file: pathlib.Path,
    captions: Mapping[str, Sequence[str]],
    captions_file: pathlib.Path,
) -> Iterator[_Captions]:
    """Each video that is named, once, with its captions.

    ActivityNet's lists name videos that nobody described; those are left out, and told.
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


def _grouped(
    rows: Sequence[Any], video: str, caption: str, path: pathlib.Path
) -> dict[str, list[str]]:
    """Captions by video, from objects with a field of either."""
    found: dict[str, list[str]] = {}
    for i, row in enumerate(rows):
        where = f"{path}, record {i}"
        name, text = _field(row, video, str, where), _field(row, caption, str, where)
        found.setdefault(name, []).append(text)
    return found


def _as_is(name: str) -> tuple[str, ...]:
    return (name,)


def _without_v(name: str) -> tuple[str, ...]:
    bare = name.removeprefix("v_")
    return bare, f"v_{bare}"


_SPELLINGS: Mapping[str, Callable[[str], tuple[str, ...]]] = {"anet": _without_v}
"""How the file of a video may be named, where that is not as the annotations name it."""


def _files(videos: pathlib.Path) -> dict[str, str]:
    """Paths by the files' names and by their stems; the first in order has the name."""
    paths = sorted(pathlib.Path(at, name) for at, _, names in os.walk(videos) for name in names)
    paths.reverse()  # of equal keys the last stays
    stems = {_stem(path.name): str(path) for path in paths}
    return stems | {path.name: str(path) for path in paths}


def _path(
    name: str, spellings: Iterable[str], files: Mapping[str, str], folder: pathlib.Path
) -> str:
    keys = [key for spelling in spellings for key in (spelling, _stem(spelling))]
    expected = folder / (f"{name}.mp4" if _stem(name) == name else name)
    return next((files[key] for key in keys if key in files), str(expected))


def _stem(name: str) -> str:
    """A name less the suffix of a video; what follows another dot is part of it.

    Names of LSMDC have dots, and subtitles or pictures that lie beside a video are not meant.
    """
    return _SUFFIX.sub("", name)


def _lines(path: pathlib.Path) -> list[str]:
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _cells(path: pathlib.Path, *columns: str) -> Iterator[tuple[str, ...]]:
    """The named columns of a table whose first row names them."""
    rows = _rows(path)
    _, header = next(rows)
    if missing := [column for column in columns if column not in header]:
        raise UserError(f"{path}: column {missing[0]!r} is missing")
    for where, row in rows:
        cells = dict(zip(header, row, strict=False))
        if missing := [column for column in columns if not cells.get(column)]:
            raise UserError(f"{where}: column {missing[0]!r} is empty")
        yield tuple(cells[column] for column in columns)


def _rows(path: pathlib.Path, **form: Any) -> Iterator[tuple[str, list[str]]]:
    """The rows of a table that are not blank, and where each is."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True, **form)
    try:
        yield from ((f"{path}, line {reader.line_num}", row) for row in reader if row)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: cannot be read ({error})") from error


def _text(path: pathlib.Path) -> str:
    try:
        text = path.read_text("utf-8-sig")  # spreadsheets put a mark first
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if not text.strip():
        raise UserError(f"{path}: is empty")
    return text


def _json(path: pathlib.Path, kind: type) -> Any:
    text = _text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from error
    return _typed(value, kind, str(path))


class _PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists and texts, and runs nothing that the file names."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def _unpickled(path: pathlib.Path) -> Any:
    try:
        data = path.read_bytes()
        try:
            return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
        except UnicodeDecodeError:  # Python 2 stored bytes, and not in which encoding
            return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # damaged bytes raise nearly anything
        raise UserError(f"{path}: cannot be read as a pickle of texts ({error})") from error


_NAMES: Mapping[type, str] = {dict: "an object", list: "a list", str: "a text"}


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise UserError(f"{where}: must be {_NAMES[kind]}, not {value!r:.40}")
    return value


def _field(row: Any, field: str, kind: type, where: str) -> Any:
    if field not in _typed(row, dict, where):
        raise UserError(f"{where}: field {field!r} is missing")
    return _typed(row[field], kind, f"{where}, field {field!r}")


def _texts(values: Any, where: str) -> list[str]:
    return [
        _typed(value, str, f"{where}, place {i}")
        for i, value in enumerate(_typed(values, list, where))
    ]
