"""A retrieval system as a model of MTEB, whose benchmark of videos is MVEB.

Example::

  model = tokmerge_jax.load("msrvtt_b16", checkpoint="ret_msrvtt.pth")
  mteb.evaluate(Encoder(model, "msrvtt_b16"), mteb.get_task("MSRVTTT2V"))

MTEB and PyTorch (extra `mteb`) are imported when an `Encoder` is made, not before. Protocol: MTEB
2.26, `EncoderProtocol`; MVEB (arXiv 2606.14958).
"""

import dataclasses
import importlib
import itertools
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import ArrayLike

from tokmerge_jax import runtime
from tokmerge_jax.data.datasets import packed
from tokmerge_jax.data.video.clips import ClipReader, decoder
from tokmerge_jax.data.video.workers import Fault, in_order
from tokmerge_jax.evaluation import report, store
from tokmerge_jax.inference import Model
from tokmerge_jax.progress import tracked
from tokmerge_jax.system import Retrieval
from tokmerge_jax.tasks.synthetic import frames_shape
from tokmerge_jax.types import Json, UserError

T = TypeVar("T")


@runtime_checkable
class Rows(Protocol):
    """What is used of `datasets.Dataset`."""

    @property
    def features(self) -> Mapping[str, Any]:  # classes of `datasets`
        """The types of the columns."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def __getitem__(self, key: Any) -> Any:  # as there: a row by its number, a column by its name
        """A row, or a column."""
        ...

    def select_columns(self, column_names: str) -> "Rows":
        """The same rows with one column only."""
        ...

    def cast_column(self, column: str, feature: Any) -> "Rows":
        """The same rows with another type of a column."""
        ...


@runtime_checkable
class Loader(Protocol):
    """What is used of `torch.utils.data.DataLoader`."""

    @property
    def dataset(self) -> Rows:
        """The rows."""
        ...

    @property
    def batch_size(self) -> int:
        """The number of rows of a batch."""
        ...


class Encoder:
    """A model that `mteb.evaluate` takes: texts and videos become embeddings [R,E].

    Texts go without MTEB's prompts, which no system here was trained with. Videos are decoded and
    sampled as in the system's own evaluation, not by MTEB; sound is not read. A batch that is
    short is padded, so one program serves all. Nothing is re-ranked.

    Attributes:
      mteb_model_meta: MTEB's `ModelMeta`. Its `revision` is a digest of the weights; its
        `experiment_kwargs` are the merging, the GMAC of a clip and a fingerprint of all settings,
        which MTEB stores beside every result, and without which it would reuse those of others.
    """

    def __init__(self, model: Model, name: str) -> None:
        """Makes a loaded model one of MTEB.

        Args:
          model: the model, as `tokmerge_jax.load` gives it.
          name: its name in the results, "NAME" (of the organisation tokmerge_jax) or "ORG/NAME".

        Raises:
          UserError: if the system does not support retrieval, or MTEB is not installed.
        """
        model.system.task(Retrieval, "mteb")  # or it cannot do it
        self._model = model
        about = description(model, name)
        self._width: int = about["embed_dim"]
        self.mteb_model_meta = _models().ModelMeta(**about)

    def encode(self, inputs: Loader, **about: object) -> Float32[np.ndarray, "R E"]:
        """Encodes the column "text", "video", or both to the unit vector of their sum.

        Args:
          inputs: MTEB's loader of a task's R rows, which may be none; videos are of the feature
            `datasets.Video`.
          about: the task, the split and options of PyTorch models, which change nothing here.

        Raises:
          UserError: if there is neither column, a text or video cannot be read, or an embedding is
            not finite.
        """
        del about
        rows, size = inputs.dataset, inputs.batch_size
        known = {"text": self._texts, "video": self._videos}
        parts = [encode(rows, size) for name, encode in known.items() if name in rows.features]
        if not parts:
            named = ", ".join(rows.features)
            raise UserError(f"a task's rows hold {named}; choose a task of videos or texts")
        if len(parts) == 1:
            return parts[0]
        both = np.sum(parts, axis=0)
        return both / np.linalg.norm(both, axis=1, keepdims=True)

    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> np.ndarray:
        """Dot products [n,m] of embeddings [n,E] and [m,E]: the similarity of `evaluate`.

        They are cosines unless a system averages unit vectors of frames.
        """
        return np.asarray(embeddings1) @ np.asarray(embeddings2).T

    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> np.ndarray:
        """Dot products [n] of embeddings [n,E] and [n,E], row by row."""
        return (np.asarray(embeddings1) * np.asarray(embeddings2)).sum(axis=-1)

    def _texts(self, rows: Rows, size: int) -> Float32[np.ndarray, "R E"]:
        texts = tracked(rows["text"], "encoding texts", len(rows), "text")
        encode = self._model.encode_text
        return _encoded(lambda batch: encode(batch)["embedding"], texts, size, self._width)

    def _videos(self, rows: Rows, size: int) -> Float32[np.ndarray, "R E"]:
        clips = tracked(self._clips(rows), "encoding videos", len(rows), "video")
        encode = self._model.encode_video
        return _encoded(
            lambda batch: encode(np.stack(batch))["embedding"].mean(1), clips, size, self._width
        )

    def _clips(self, rows: Rows) -> Iterator[UInt8[np.ndarray, "T S S 3"]]:
        """The frames of each row's video, decoded ahead of time by worker processes."""
        system = self._model.system
        decode = decoder(system.config.data, system.pixels.frames, folder="")
        read = _Reader(_undecoded(rows), ClipReader(decode, system.pixels.transform))
        places = range(len(rows))
        clips = in_order(read, places, system.config.data.workers, _named)
        for place, clip in zip(places, clips, strict=True):
            if isinstance(clip, Fault):
                where = f"{_named(place)} cannot be encoded ({clip.text})"
                raise UserError(f"{where}; take the row out of the task, since MTEB skips none")
            yield clip


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads the clip of a row, whose video is a file's bytes or path.

    Attributes:
      rows: the rows, whose video is not decoded.
      read: path -> clip.
    """

    rows: Rows
    read: ClipReader

    def __call__(self, number: int) -> np.ndarray:
        """Returns the clip of a row; its video is a file only meanwhile."""
        with tempfile.TemporaryDirectory() as folder:
            cell = self.rows[number]["video"] or {}
            name = packed.Files(pathlib.Path(folder)).name(cell, number, "column 'video'")
            if not name:
                raise UserError("the row has no video")
            held = cell.get("bytes") is not None
            return self.read(os.path.join(folder, name) if held else name)


def _named(number: int) -> str:
    """The name of a row's video, for messages."""
    return f"row {number} of the task's videos"


def _undecoded(rows: Rows) -> Rows:
    """The videos of rows as bytes or paths, for which MTEB needs no decoder."""
    kind = rows.features["video"]
    if not hasattr(kind, "decode"):
        raise UserError(
            f"the task's videos are of the type {kind!r:.60}; cast the column to datasets.Video()"
        )
    plain = dataclasses.replace(kind, decode=False)
    return rows.select_columns("video").cast_column("video", plain)


def _encoded(
    encode: Callable[[list[T]], Float32[np.ndarray, "B E"]],
    items: Iterable[T],
    size: int,
    width: int,
) -> Float32[np.ndarray, "R E"]:
    """Encodes items in batches of `size`; the last one is filled with its first item.

    Args:
      encode: items -> their embeddings.
      items: the texts or clips; there may be none.
      size: number of items of a batch.
      width: E.

    Raises:
      UserError: if an embedding is not finite.
    """
    parts, items = [np.empty((0, width), np.float32)], iter(items)
    while batch := list(itertools.islice(items, size)):
        filled = [*batch, *itertools.repeat(batch[0], size - len(batch))]
        parts.append(encode(filled)[: len(batch)])
    return runtime.finite(np.concatenate(parts), "embedding")


def _models() -> ModuleType:
    """MTEB's module of models, which not every user has.

    Raises:
      UserError: if it is not installed.
    """
    try:
        return importlib.import_module("mteb.models")
    except ModuleNotFoundError as error:
        raise UserError(
            f"an encoder for MTEB needs the package {error.name}, which is not installed: pip"
            " install mteb (or tokmerge_jax with its extra, -e '.[mteb]')"
        ) from error


def description(model: Model, name: str) -> dict[str, Json]:
    """The fields of MTEB's `ModelMeta`; what is not known of the weights is None.

    Args:
      model: the model.
      name: as in `Encoder`.
    """
    system, leaves = model.system, jax.tree.leaves(model.params)
    data = report.settings(system.config)["data"]
    texts = {key: data[key] for key in ("max_text_length", "vocabulary")}
    facts = {**store.model_facts(system, model.params), "texts": texts}
    video = jax.ShapeDtypeStruct((1, *frames_shape(system)), np.uint8)
    encoded = jax.eval_shape(system.task(Retrieval).encode_video, model.params, video)
    return {
        "name": name if "/" in name else f"tokmerge_jax/{name}",
        "revision": facts["checkpoint"][:16],
        "loader": None,
        "release_date": None,
        "languages": ["eng-Latn"],
        "n_parameters": sum(leaf.size for leaf in leaves),
        "memory_usage_mb": sum(leaf.nbytes for leaf in leaves) / 2**20,
        "max_tokens": data["max_text_length"],
        "embed_dim": encoded["embedding"].shape[-1],
        "license": None,
        "open_weights": None,
        "public_training_code": None,
        "public_training_data": None,
        "framework": ["JAX"],
        "similarity_fn_name": "dot",
        "use_instructions": False,
        "training_datasets": None,
        "modalities": ["text", "video"],
        "experiment_kwargs": {
            "gmac": round(system.merging.gmac, 3),
            "merging": system.config.model.merger.name,
            "r": list(system.merging.schedule.r),
            "settings": runtime.fingerprint(facts),
        },
    }
