"""Checked video-text data sets as TFDS: one builder for all, its configuration the data set.

Records hold texts and paths only; they are stored as array_record and read without TensorFlow.
"""

import contextlib
import dataclasses
import io
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

import tensorflow_datasets as tfds


@dataclasses.dataclass(frozen=True)
class Clip:
    """One video of a record.

    Attributes:
      name: as the annotations have it; equal names are one video.
      path: the file, absolute or relative to the folder of the data sets.
      fault: why it cannot be used; "" if it can.
    """

    name: str
    path: str
    fault: str = ""


@dataclasses.dataclass(frozen=True)
class Record:
    """Videos and captions, of which each video goes with each caption; one or more of both."""

    clips: tuple[Clip, ...]
    captions: tuple[str, ...]


@dataclasses.dataclass
class VideoTextConfig(tfds.core.BuilderConfig):
    """A data set's name, and the records of its splits where they are to be written."""

    splits: Mapping[str, Sequence[Record]] = dataclasses.field(default_factory=dict, repr=False)


class VideoText(tfds.core.GeneratorBasedBuilder):
    """Builder of every video-text data set; `config.splits` is what it writes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        fields = [field.name for field in dataclasses.fields(Clip)]
        features = {"captions": tfds.features.Sequence(text)} | {
            field: tfds.features.Sequence(text) for field in fields
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        assert isinstance(self.builder_config, VideoTextConfig)
        return {name: self._generate_examples(s) for name, s in self.builder_config.splits.items()}

    def _generate_examples(self, records: Sequence[Record]) -> Iterator[tuple[int, dict]]:
        for key, record in enumerate(records):
            columns = {
                field.name: [getattr(clip, field.name) for clip in record.clips]
                for field in dataclasses.fields(Clip)
            }
            yield key, {"captions": list(record.captions), **columns}


def location(folder: str, dataset: str) -> pathlib.Path:
    """Where the data set named `dataset` lies in the data sets' folder."""
    return pathlib.Path(folder, VideoText.name, dataset, str(VideoText.VERSION))


def report_path(folder: str, dataset: str) -> pathlib.Path:
    """Where `scripts/prepare_data.py` reports on the videos of a data set."""
    return pathlib.Path(folder, f"{dataset}_report.json")


def write(folder: str, dataset: str, splits: Mapping[str, Sequence[Record]]) -> None:
    """Stores `splits` under `folder`; whole, they replace the data set named `dataset`."""
    aside = str(pathlib.Path(folder, ".writing"))
    shutil.rmtree(aside, ignore_errors=True)
    config = VideoTextConfig(name=dataset, splits=splits)
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS tells of downloads; there are none
        VideoText(data_dir=aside, config=config, file_format="array_record").download_and_prepare()
    target = location(folder, dataset)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    location(aside, dataset).rename(target)
    shutil.rmtree(aside)


def splits(folder: str, dataset: str) -> tuple[str, ...]:
    """The splits that are stored, none if the data set is not."""
    if not location(folder, dataset).is_dir():
        return ()
    return tuple(_builder(folder, dataset).info.splits)


def read(folder: str, dataset: str, split: str) -> tuple[Record, ...]:
    """The records of a stored split, in the order of the annotations."""
    source = _builder(folder, dataset).as_data_source(split)  # pyright: ignore[reportCallIssue]
    return tuple(_record(source[i]) for i in range(len(source)))


def _builder(folder: str, dataset: str) -> tfds.core.DatasetBuilder:
    return tfds.builder_from_directory(location(folder, dataset))


def _record(example: Mapping) -> Record:
    def texts(key: str) -> list[str]:
        return [value.decode() for value in example[key]]

    columns = [texts(field.name) for field in dataclasses.fields(Clip)]
    return Record(tuple(Clip(*row) for row in zip(*columns, strict=True)), tuple(texts("captions")))
