"""Reads TESTA's annotation files, each data set in its original form.

A record is a video with the sentences of its paragraph (QuerYD, ActivityNet), a row of the file
(DiDeMo, Condensed Movies, pretraining), or a question. Annotations name videos, not files; the
files are searched for in the videos' folder and its subfolders. Pretraining lists (WebVid-2M, CC3M)
name files, videos as well as pictures.

Source: TESTA (Findings of EMNLP 2023), whose annotations are largely VindLU's.
"""

import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping

from tokmerge_jax.data.datasets import files
from tokmerge_jax.data.datasets.locating import Videos, with_and_without_v
from tokmerge_jax.data.datasets.video_text import AnyRecord, Question, Record
from tokmerge_jax.types import Json, UserError

_SPLITS = ("train", "val", "test")
FORMATS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "queryd": {
        split: (f"exists_{split}_list.txt", "raw_captions_combined_filtered.pkl")
        for split in _SPLITS
    },
    "didemo": {split: (f"{split}.jsonl",) for split in _SPLITS},
    "anet": {"train": ("train.json",), "test": ("val.json",)},
    "condmov": {
        "train": ("train_val_challf0.csv",),
        "val": ("train_val_challf0.csv",),
        "test": ("test_challf0.csv",),
    },
    "anet_qa": {split: (f"{split}_q.json", f"{split}_a.json") for split in _SPLITS},
    "pretraining": {"train": ("*.json",)},
}
"""Data set -> split -> file names: first the list of videos, then captions or answers."""


def read(
    dataset: str, split: str, folder: pathlib.Path, videos: pathlib.Path
) -> tuple[AnyRecord, ...]:
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
    paths = files.named(folder, FORMATS[dataset][split])
    records = tuple(_READERS[dataset](_Split(split, paths, Videos(videos))))
    if not records:
        raise UserError(f"{paths[0]}: names no video (split {split})")
    return records


@dataclasses.dataclass(frozen=True)
class _Split:
    """A split: its name, its annotation files and its videos."""

    name: str
    files: tuple[pathlib.Path, ...]
    videos: Videos


def _queryd(split: _Split) -> Iterator[Record]:
    names, data = split.files
    listed = [name for _, name in files.lines(names)]
    for name, sentences in files.described_in_words(listed, names, data):
        yield Record((split.videos.clip(name),), sentences)


def _didemo(split: _Split) -> Iterator[Record]:
    for where, row in files.json_lines(*split.files):
        name = files.field(row, "clip_name", str, where)
        clip = split.videos.clip(name, f"{name}.mp4", name)
        yield Record((clip,), (files.field(row, "caption", str, where),))


def _anet(split: _Split) -> Iterator[Record]:
    (path,) = split.files
    for i, row in enumerate(files.first_line(path, list)):
        where = f"{path}, record {i}"
        name = files.field(row, "video", str, where)
        sentences = files.field_of_texts(row, "caption", where)
        if not sentences:
            raise UserError(f"{where}: field 'caption' holds no sentence")
        yield Record((split.videos.clip(name, *with_and_without_v(name)),), tuple(sentences))


def _condensed_movies(split: _Split) -> Iterator[Record]:
    (path,) = split.files
    if split.name == "test":
        print(
            f"{path}: the true pairs of captions and videos are not public; recalls mean nothing",
            file=sys.stderr,
        )
    for name, caption, which in files.cells(path, "videoid", "caption", "split"):
        if which == split.name:
            yield Record((split.videos.clip(name),), (caption,))


def _anet_qa(split: _Split) -> Iterator[Question]:
    questions_file, answers_file = split.files
    answers = {
        identity: files.field(row, "answer", str, where)
        for where, identity, row in _first_of_each_id(answers_file)
    }
    for where, identity, row in _first_of_each_id(questions_file):
        name = f"v_{files.field(row, 'video_name', str, where)}"
        if identity not in answers:
            raise UserError(
                f"{answers_file}: has no answer to {files.shown(identity)} of {questions_file.name}"
            )
        clip = split.videos.clip(name, *with_and_without_v(name))
        question = files.field(row, "question", str, where)
        yield Question((clip,), identity, question, (answers[identity],))


def _first_of_each_id(path: pathlib.Path) -> Iterator[tuple[str, str, Json]]:
    """Yields (place, id, row) of questions or answers; rows with an earlier id are left out."""
    known, again = set[str](), 0
    for where, row in files.records(path):
        identity = files.field(row, "question_id", str, where)
        if identity not in known:
            known.add(identity)
            yield where, identity, row
        else:
            again += 1
    if again:
        print(f"{path}: left out {again} rows with a repeated question_id", file=sys.stderr)


def _pretraining(split: _Split) -> Iterator[Record]:
    for where, row in itertools.chain.from_iterable(map(files.records, split.files)):
        name = files.field(row, "path", str, where)
        yield Record((split.videos.clip(name),), (files.field(row, "caption", str, where),))


_READERS: Mapping[str, Callable[[_Split], Iterator[AnyRecord]]] = {
    "queryd": _queryd,
    "didemo": _didemo,
    "anet": _anet,
    "condmov": _condensed_movies,
    "anet_qa": _anet_qa,
    "pretraining": _pretraining,
}
