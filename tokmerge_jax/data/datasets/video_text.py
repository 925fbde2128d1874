"""Stores checked video-text data sets with TFDS: one builder, whose config is the data set.

Records hold only texts and paths; they are stored as array_record and read without TensorFlow.
"""

import contextlib
import dataclasses
import errno
import functools
import io
import pathlib
import shutil
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32

from tokmerge_jax.types import UserError

_AT_ONCE = 1000  # number of records that are read at a time


@dataclasses.dataclass(frozen=True)
class Clip:
    """One video of a record.

    Attributes:
      name: its name in the annotations; equal names mean the same video.
      path: the file, absolute or relative to the folder of the data sets.
      fault: why it cannot be used; "" if it can be.
    """

    name: str
    path: str
    fault: str = ""


@dataclasses.dataclass(frozen=True)
class Record:
    """One or more videos and captions; every video matches every caption."""

    clips: tuple[Clip, ...]
    captions: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Choice:
    """A video (the only one in `clips`) and its options; `options[answer]` is right."""

    clips: tuple[Clip, ...]
    options: tuple[str, ...]
    answer: int


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about a video (the only one in `clips`) and the answers of one or more people."""

    clips: tuple[Clip, ...]
    id: str
    question: str
    answers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Action:
    """A video (the only one in `clips`) and its action.

    Attributes:
      label: the action's number, from 0.
      frames: number of frames that the list states; 0 if it states none.
    """

    clips: tuple[Clip, ...]
    label: int
    frames: int


AnyRecord = Record | Choice | Question | Action
"""A record of any kind; all records of a data set are of the same kind."""

KINDS: Mapping[str, type[AnyRecord]] = {
    "captions": Record,
    "choices": Choice,
    "questions": Question,
    "actions": Action,
}


@dataclasses.dataclass
class VideoTextConfig(tfds.core.BuilderConfig):
    """A data set's name, the kind of its records and, for writing, the records of its splits."""

    kind: type[AnyRecord] = Record
    splits: Mapping[str, Sequence[AnyRecord]] = dataclasses.field(default_factory=dict, repr=False)


class VideoText(tfds.core.GeneratorBasedBuilder):
    """The builder of every video-text data set; it writes `config.splits`."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        assert isinstance(self.builder_config, VideoTextConfig)
        features = tfds.features.FeaturesDict(_features(self.builder_config.kind))
        return self.dataset_info_from_configs(features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        assert isinstance(self.builder_config, VideoTextConfig)
        return {name: self._generate_examples(s) for name, s in self.builder_config.splits.items()}

    def _generate_examples(self, records: Sequence[AnyRecord]) -> Iterator[tuple[int, dict]]:
        for key, record in enumerate(records):
            columns = {
                field.name: [getattr(clip, field.name) for clip in record.clips]
                for field in dataclasses.fields(Clip)
            }
            others = dataclasses.fields(record)[1:]
            yield key, {**columns, **{field.name: getattr(record, field.name) for field in others}}


def location(folder: str, dataset: str) -> pathlib.Path:
    """The folder of a data set inside the data sets' folder."""
    return pathlib.Path(folder, VideoText.name, dataset, str(VideoText.VERSION))


def report_path(folder: str, dataset: str) -> pathlib.Path:
    """The file in which `tokmerge prepare` reports on the videos of a data set."""
    return pathlib.Path(folder, f"{dataset}_report.json")


def answers_path(folder: str, dataset: str) -> pathlib.Path:
    """The file to which `tokmerge prepare` writes a data set's answer list."""
    return pathlib.Path(folder, f"{dataset}_answers.json")


def labels_path(folder: str, dataset: str) -> pathlib.Path:
    """The file of a data set's action names, a JSON list, if the data set has any."""
    return pathlib.Path(folder, f"{dataset}_labels.json")


def write(folder: str, dataset: str, splits: Mapping[str, Sequence[AnyRecord]]) -> None:
    """Stores `splits` under `folder`; once complete, they replace the data set `dataset`."""
    aside = str(pathlib.Path(folder, f".writing_{dataset}"))
    shutil.rmtree(aside, ignore_errors=True)
    kind = next((type(record) for records in splits.values() for record in records), Record)
    config = VideoTextConfig(name=dataset, kind=kind, splits=splits)
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces downloads; there are none
        VideoText(data_dir=aside, config=config, file_format="array_record").download_and_prepare()
    for split, records in splits.items():
        usable = [i for i, r in enumerate(records) if not all(clip.fault for clip in r.clips)]
        np.save(_usable_path(aside, dataset, split), np.array(usable, np.int32))
    target = location(folder, dataset)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    location(aside, dataset).rename(target)
    shutil.rmtree(aside)


def splits(folder: str, dataset: str) -> tuple[str, ...]:
    """The stored splits of a data set; none if it is not stored."""
    if not location(folder, dataset).is_dir():
        return ()
    with _undamaged(folder, dataset):
        return tuple(_builder(folder, dataset).info.splits)


def kind(folder: str, dataset: str) -> str:
    """The kind of a stored data set's records, a key of `KINDS`."""
    with _undamaged(folder, dataset):
        return _kind(_builder(folder, dataset))


def read(folder: str, dataset: str, split: str) -> tuple[AnyRecord, ...]:
    """Reads the records of a stored split, in the order of the annotations."""
    stored = Stored(folder, dataset, split)
    parts = (range(i, min(i + _AT_ONCE, len(stored))) for i in range(0, len(stored), _AT_ONCE))
    return tuple(record for part in parts for record in stored.__getitems__(part))


@dataclasses.dataclass(frozen=True)
class Stored:
    """The records of a stored split, in the order of the annotations, each read on demand.

    A pickle of it holds only the location: each process opens the files itself.
    """

    folder: str
    dataset: str
    split: str

    def __len__(self) -> int:
        return len(self._opened[1])

    def __getitem__(self, number: int) -> AnyRecord:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[AnyRecord]:
        """Reads several records, much faster than one by one."""
        kind, source = self._opened
        with _undamaged(self.folder, self.dataset):
            return [_record(kind, example) for example in source.__getitems__(numbers)]

    def __reduce__(self) -> tuple[object, ...]:
        return Stored, (self.folder, self.dataset, self.split)

    @functools.cached_property
    def usable(self) -> Int32[np.ndarray, "R"]:
        """The numbers of the records that have at least one usable video."""
        path = _usable_path(self.folder, self.dataset, self.split)
        path.stat()  # raises FileNotFoundError: missing is not damaged
        with _undamaged(self.folder, self.dataset):
            numbers = np.load(path, mmap_mode="r")
            there = (numbers >= 0) & (numbers < len(self))
            if (numbers.dtype, numbers.ndim) != (np.int32, 1) or not there.all():
                raise ValueError(f"{path.name} does not hold numbers of its records")
            return numbers

    @functools.cached_property
    def _opened(self) -> tuple[type[AnyRecord], Any]:  # TFDS names no type of a source
        """Returns (type of the records, TFDS's data source)."""
        with _undamaged(self.folder, self.dataset):
            builder = _builder(self.folder, self.dataset)
            source = builder.as_data_source(self.split)  # pyright: ignore[reportCallIssue]
            return KINDS[_kind(builder)], source


@contextlib.contextmanager
def _undamaged(folder: str, dataset: str) -> Iterator[None]:
    """Turns any error of reading a damaged data set into a UserError."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # TFDS, protobuf and array_record raise errors of their own
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise  # a fault of the machine, not of the data set
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{location(folder, dataset)} is damaged ({reason[0]:.120}); remove it and prepare the"
            " data set again"
        ) from error


def _usable_path(folder: str, dataset: str, split: str) -> pathlib.Path:
    return location(folder, dataset) / f"{split}_usable.npy"


def _builder(folder: str, dataset: str) -> tfds.core.DatasetBuilder:
    return tfds.builder_from_directory(location(folder, dataset))


def _kind(builder: tfds.core.DatasetBuilder) -> str:
    kinds = {frozenset(_features(record)): kind for kind, record in KINDS.items()}
    return kinds[frozenset(builder.info.features.keys())]


def _features(kind: type[AnyRecord]) -> dict[str, Any]:  # what TFDS takes for a feature
    """The TFDS features of a record; its clips are stored as one column per field."""
    text = tfds.features.Text()
    features = {tuple: tfds.features.Sequence(text), str: text, int: np.int32}
    others = {name: hint for name, hint in typing.get_type_hints(kind).items() if name != "clips"}
    return {field.name: features[tuple] for field in dataclasses.fields(Clip)} | {
        name: features[typing.get_origin(hint) or hint] for name, hint in others.items()
    }


def _record(kind: type[AnyRecord], example: Mapping[str, Any]) -> AnyRecord:  # of `_features`
    values = {name: _plain(value) for name, value in example.items()}
    columns = [values.pop(field.name) for field in dataclasses.fields(Clip)]
    return kind(clips=tuple(Clip(*row) for row in zip(*columns, strict=True)), **values)


def _plain(value: Any) -> Any:  # of `_features`
    """Converts a stored field to a tuple of str, a str or an int."""
    if isinstance(value, bytes):
        return value.decode()
    return int(value) if np.ndim(value) == 0 else tuple(text.decode() for text in value)
