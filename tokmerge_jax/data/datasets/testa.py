"""Reading TESTA's annotation files, each data set's in the form it came in.

A record is a video with the sentences of its paragraph (QuerYD, ActivityNet), a row of the file
(DiDeMo, Condensed Movies, pretraining), or a question. The annotations name videos, not files;
those are found in the videos' folder and the folders in it. Lists of pretraining (WebVid-2M, CC3M)
name files, of videos and of pictures.

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
"""Data set -> split -> names of its files: that of the videos first, then that of other texts."""


def read(
    dataset: str, split: str, folder: pathlib.Path, videos: pathlib.Path
) -> tuple[AnyRecord, ...]:
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
    paths = files.named(folder, FORMATS[dataset][split])
    found = tuple(_READERS[dataset](_Split(split, paths, Videos(videos))))
    if not found:
        raise UserError(f"{paths[0]}: names no video (split {split})")
    return found


@dataclasses.dataclass(frozen=True)
class _Split:
    """A split's name and files, and where its videos lie."""

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
            f"{path}: which caption goes with which video is not public; recalls mean nothing",
            file=sys.stderr,
        )
    for name, caption, which in files.cells(path, "videoid", "caption", "split"):
        if which == split.name:
            yield Record((split.videos.clip(name),), (caption,))


def _anet_qa(split: _Split) -> Iterator[Question]:
    asked, answered = split.files
    answers = {
        identity: files.field(row, "answer", str, where)
        for where, identity, row in _first_of_each_id(answered)
    }
    for where, identity, row in _first_of_each_id(asked):
        name = f"v_{files.field(row, 'video_name', str, where)}"
        if identity not in answers:
            raise UserError(f"{answered}: has no answer to {files.shown(identity)} of {asked.name}")
        clip = split.videos.clip(name, *with_and_without_v(name))
        question = files.field(row, "question", str, where)
        yield Question((clip,), identity, question, (answers[identity],))


def _first_of_each_id(path: pathlib.Path) -> Iterator[tuple[str, str, Json]]:
    """Where a row of questions or answers is, its id, the row; those whose id came before apart."""
    known, again = set[str](), 0
    for where, row in files.records(path):
        identity = files.field(row, "question_id", str, where)
        if identity not in known:
            known.add(identity)
            yield where, identity, row
        else:
            again += 1
    if again:
        print(f"{path}: left out {again} rows whose question_id came before", file=sys.stderr)


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
