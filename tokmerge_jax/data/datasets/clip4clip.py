"""Reads the annotation files of CLIP4Clip and its successors, each data set in its original form.

A record is a video with all its captions (or the sentences of its paragraph). Where each row of the
file is one query (MSRVTT's test split, LSMDC), a record is a row. Annotations name videos, not
files; the files are searched for in the videos' folder and its subfolders.
"""

import csv
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from tokmerge_jax.data.datasets import files
from tokmerge_jax.data.datasets.locating import Videos, with_and_without_v
from tokmerge_jax.data.datasets.video_text import Record
from tokmerge_jax.types import Json, UserError

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
"""Data set -> split -> file names: first the list of videos, then the captions."""

_COLUMNS = 6  # of LSMDC: the clip, four time stamps, the sentence
_Captions = tuple[str, tuple[str, ...]]  # a video's name and its captions


def read(
    dataset: str, split: str, folder: pathlib.Path, videos: pathlib.Path
) -> tuple[Record, ...]:
    """Reads the records of a split, in the order of its first file.

    A video whose file is missing gets the path that it should have; the later check reports it.

    Args:
      dataset: a key of `FORMATS`.
      split: a key of `FORMATS[dataset]`.
      folder: the folder of the annotation files.
      videos: the folder that holds the videos, directly or in subfolders.

    Raises:
      UserError: if something in a file is missing or of another type; the message names both.
    """
    paths = [folder / name for name in FORMATS[dataset][split]]
    captions = list(_READERS[dataset](*paths))
    if not captions:
        raise UserError(f"{paths[0]}: names no video")
    there = Videos(videos)
    spell = with_and_without_v if dataset == "anet" else lambda name: (name,)
    return tuple(Record((there.clip(name, *spell(name)),), texts) for name, texts in captions)


def _msrvtt(table: pathlib.Path, data: pathlib.Path | None = None) -> Iterator[_Captions]:
    if data is None:
        return ((video, (text,)) for video, text in files.cells(table, "video_id", "sentence"))
    names = [name for (name,) in files.cells(table, "video_id")]
    sentences = files.field(files.json_of(data, dict), "sentences", list, str(data))
    return files.described(names, table, _grouped(sentences, "video_id", "caption", data), data)


def _anet(ids: pathlib.Path, data: pathlib.Path) -> Iterator[_Captions]:
    names, said = files.texts(files.json_of(ids, list), str(ids)), files.json_of(data, dict)
    captions = {
        name: files.field_of_texts(said[name], "sentences", f"{data}, video {files.shown(name)}")
        for name in names
        if name in said
    }
    return files.described(names, ids, captions, data)


def _didemo(names: pathlib.Path, data: pathlib.Path) -> Iterator[_Captions]:
    captions = _grouped(files.json_of(data, list), "video", "description", data)
    return files.described([name for _, name in files.lines(names)], names, captions, data)


def _lsmdc(table: pathlib.Path) -> Iterator[_Captions]:
    for where, row in files.rows(table, delimiter="\t", quoting=csv.QUOTE_NONE):
        if len(row) != _COLUMNS:
            raise UserError(f"{where}: expected {_COLUMNS} fields between tabs, saw {len(row)}")
        if not row[0] or not row[-1]:
            raise UserError(f"{where}: the clip (column 1) or its sentence (column 6) is empty")
        yield row[0], (row[-1],)


_READERS: Mapping[str, Callable[..., Iterator[_Captions]]] = {
    "msrvtt": _msrvtt,
    "anet": _anet,
    "didemo": _didemo,
    "lsmdc": _lsmdc,
    "msvd": lambda names, data: files.described_in_words(
        [name for _, name in files.lines(names)], names, data
    ),
}


def _grouped(
    rows: Sequence[Json], video: str, caption: str, path: pathlib.Path
) -> dict[str, list[str]]:
    """Groups captions by video, from JSON objects with a `video` and a `caption` field."""
    captions: dict[str, list[str]] = {}
    for i, row in enumerate(rows):
        where = f"{path}, record {i}"
        name, text = files.field(row, video, str, where), files.field(row, caption, str, where)
        captions.setdefault(name, []).append(text)
    return captions
