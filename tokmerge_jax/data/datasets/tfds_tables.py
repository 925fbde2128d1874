"""Reads data sets that TFDS prepared elsewhere as tables: a split's examples are rows.

The folder is that of a version, with `features.json`; its files are array_record, which are read
without TensorFlow. Only the constructor of TFDS's feature Video needs that package.
"""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tokmerge_jax.types import Json, UserError


def is_folder(source: pathlib.Path) -> bool:
    """Whether a folder is that of a data set's version."""
    return (source / "features.json").is_file()


def splits(source: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """The splits that have examples, each as a path: the folder, and in it the split's name.

    Raises:
      UserError: if TFDS cannot open the folder.
    """
    with _named(source):
        infos = tfds.builder_from_directory(source).info.splits
        return tuple(source / name for name, info in infos.items() if info.num_examples)


def read(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yields (place, fields) of each example of a split, one after another.

    Texts are str, numbers int, frames an array, the bytes of a file bytes.

    Raises:
      UserError: if TFDS cannot read the split.
    """
    with _named(path.parent):
        builder = tfds.builder_from_directory(path.parent)
        source = builder.as_data_source(path.name)  # pyright: ignore[reportCallIssue]
        features = builder.info.features
        for number in range(len(source)):
            fields = {name: _plain(value, features[name]) for name, value in source[number].items()}
            yield f"{path}, example {number}", fields


def _plain(value: Any, feature: Any) -> Json:  # TFDS names no types
    if isinstance(feature, tfds.features.Text):
        return value.decode()
    if isinstance(feature, tfds.features.Sequence):
        parts = [_plain(part, feature.feature) for part in value]
        return np.stack(parts) if parts and np.ndim(parts[0]) else parts
    return value.item() if isinstance(value, np.generic) else value


@contextlib.contextmanager
def _named(folder: pathlib.Path) -> Iterator[None]:
    """Turns errors of TFDS into one sentence that names the folder."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except ImportError as error:
        raise UserError(
            f"{folder}: TFDS cannot open its features ({error!s:.120}); for Video, run pip install"
            " tensorflow"
        ) from error
    except Exception as error:  # TFDS, protobuf and array_record raise errors of their own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{folder}: cannot be read as a data set of TFDS in array_record files"
            f" ({reason[0]:.120})"
        ) from error
