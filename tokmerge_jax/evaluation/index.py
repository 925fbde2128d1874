"""An index of videos on disk for search by text: features are computed once.

The folder holds `index.json` (the facts that features depend on), `videos.jsonl` (one line per
indexed file; the last line of a file counts; other processes than the first write `videos.N.jsonl`
until they end), `broken.txt` (unusable files, if any) and
`features/`, one .safetensors file per video with its embedding and its tokens: 4 bytes per number,
4.5 MB for the 1452 tokens of UMT-B/16 on MSRVTT. A search reads the embeddings of all videos, but
only the tokens of its candidates.
"""

import dataclasses
import hashlib
import json
import operator
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tokmerge_jax import disk, hosts, parallel, runtime
from tokmerge_jax.evaluation import metrics
from tokmerge_jax.evaluation.context import Model, ahead
from tokmerge_jax.evaluation.retrieval import match, text_batches
from tokmerge_jax.evaluation.rows import Places
from tokmerge_jax.signatures import EncodeText
from tokmerge_jax.system import Retrieval
from tokmerge_jax.types import Json, UserError

Stamp = tuple[int, ...]
"""A file's size and its modification time in nanoseconds: unchanged as long as the file is."""

_NAMED = 10  # number of changed facts that an error names
_TEXTS = 16  # texts per batch, fixed so that one compiled program serves all queries


@dataclasses.dataclass(frozen=True)
class Hit:
    """A video in the result of a search.

    Attributes:
      path: the video's path, relative to the indexed folder.
      cosine: cosine similarity of the embeddings.
      score: score of the matching head, by which hits are ranked; None without a matching head.
    """

    path: str
    cosine: float
    score: float | None


class Index:
    """The features of videos, by path."""

    def __init__(self, folder: pathlib.Path, facts: Mapping[str, Json], about: Json = None) -> None:
        """Opens or creates the index in `folder`.

        Args:
          folder: the index's folder.
          facts: everything that the features depend on (JSON values).
          about: JSON value stored beside the facts for later readers; None keeps the stored one.

        Raises:
          UserError: if the index was made with other facts (the message names them), or cannot be
            created.
        """
        self._folder, self._log = folder, folder / _log(hosts.number())
        with disk.explained(folder):
            (folder / "features").mkdir(parents=True, exist_ok=True)
        facts = json.loads(json.dumps(facts))
        known = describe(folder) if (folder / "index.json").exists() else None
        if known is not None:
            _check(folder, known["facts"], facts)
        if known is None or about is not None:
            content = json.dumps({"facts": facts, "about": about}, indent=1)
            runtime.write_text(folder / "index.json", content)
        self._entries = entries(folder)

    @property
    def videos(self) -> tuple[str, ...]:
        """The paths that can be searched, ascending."""
        return tuple(sorted(path for path, (_, fault) in self._entries.items() if not fault))

    @property
    def faults(self) -> dict[str, str]:
        """Path -> reason of the videos that cannot be searched."""
        return {path: fault for path, (_, fault) in sorted(self._entries.items()) if fault}

    def update(self, files: Mapping[str, Stamp]) -> list[str]:
        """Removes entries of deleted, changed and broken files; returns the `missing` ones.

        Broken files are tried again, since a fault may pass without a change of the file.
        """
        stale = [
            path
            for path, (stamp, fault) in self._entries.items()
            if fault or files.get(path) != stamp or not self._feature(path).exists()
        ]
        for path in stale:
            del self._entries[path]
        self._unite()
        for path in stale:  # after the log, so that every logged feature file exists
            self._feature(path).unlink(missing_ok=True)
        return self.missing(files)

    def missing(self, files: Mapping[str, Stamp]) -> list[str]:
        """The files that are not indexed, ascending."""
        return sorted(files.keys() - self._entries.keys())

    def gather(self) -> None:
        """Waits for all processes, and adds the videos of the others."""
        counts = hosts.gather(len(_logged(self._log)))
        logs = [self._folder / _log(number) for number in range(hosts.count())]
        hosts.wait_until_visible(
            self._folder, lambda: [len(_logged(log)) for log in logs] == counts
        )
        self._entries = entries(self._folder)
        hosts.gather(None)
        if not hosts.number():
            self._unite()
            self.report()

    def _unite(self) -> None:
        """Writes all entries to the log of process 0, which replaces the logs of the others."""
        lines = [self._line(path, *entry) for path, entry in sorted(self._entries.items())]
        runtime.write_text(self._folder / _log(0), "".join(lines))
        for log in self._folder.glob("videos.*.jsonl"):
            log.unlink()

    def add(
        self,
        path: str,
        stamp: Stamp,
        features: Mapping[str, Float[np.ndarray, "..."]],
    ) -> None:
        """Stores a video's features, then its line in the log.

        Args:
          path: the video.
          stamp: the stamp of its file.
          features: "embedding" [F,E] and, for models that re-rank, "tokens" [N,C].

        Raises:
          UserError: if features are not finite or cannot be written.
        """
        part = self._feature(path).with_suffix(".part")
        for name, array in features.items():
            runtime.finite(array[None], name, video=[path])
        content = save({k: np.ascontiguousarray(x, np.float32) for k, x in features.items()})
        with disk.explained(self._folder):
            part.write_bytes(content)
            os.replace(part, self._feature(path))
            self._note(path, stamp, "")

    def refuse(self, path: str, stamp: Stamp, fault: str) -> None:
        """Records the fault of an unusable file."""
        with disk.explained(self._folder):
            self._note(path, stamp, fault)

    def report(self) -> pathlib.Path | None:
        """Writes `broken.txt`, one line per unusable file; returns None if there is none."""
        file = self._folder / "broken.txt"
        if not self.faults:
            file.unlink(missing_ok=True)
            return None
        lines = "".join(f"{fault}\n" for fault in self.faults.values())
        runtime.write_text(file, lines.encode("utf-8", "backslashreplace").decode())
        return file

    def query(
        self,
        model: Model,
        retrieval: Retrieval,
        texts: tuple[Int[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]],
        *,
        top_k: int,
        memory_gib: float,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> list[list[Hit]]:
        """Returns the best `top_k` videos for each text, best first.

        Args:
          model: the model that the index was made with.
          retrieval: its functions; a matching head, if any, ranks the videos.
          texts: ids, and their mask (False on padding).
          top_k: number of videos per text, fewer if the index holds fewer.
          memory_gib: memory limit of matching, in GiB.
          shapes: feature name -> expected shape for one video.

        Raises:
          UserError: if a score is not finite, or features are missing or damaged.
        """
        videos = self.videos
        if not videos:
            return [[] for _ in texts[0]]
        matching = retrieval.matching
        names = ("embedding", "states") if matching else ("embedding",)
        text_features = _encode(model, retrieval.encode_text, texts, names)
        embedding = np.stack([self.load(path, "embedding", shapes["embedding"]) for path in videos])
        cosine = text_features["embedding"] @ embedding.mean(axis=1).T
        runtime.finite(cosine, "similarity", text=None, video=videos)
        wanted = np.zeros(cosine.shape, bool)
        np.put_along_axis(wanted, metrics.highest(cosine, top_k), True, axis=1)
        wanted_videos = np.flatnonzero(wanted.any(axis=0))
        paths, cosine, wanted = (
            [videos[v] for v in wanted_videos],
            cosine[:, wanted_videos],
            wanted[:, wanted_videos],
        )
        if matching is None:
            return [_hits(paths, *row, None) for row in zip(wanted, cosine, strict=True)]
        scores = np.zeros(wanted.shape, np.float32)

        def write(videos: np.ndarray, of_videos: Sequence[np.ndarray]) -> None:
            for video, of_video in zip(videos, of_videos, strict=True):
                scores[wanted[:, video], video] = of_video

        match(
            model,
            matching,
            _Tokens(self, paths, shapes["tokens"]),
            (text_features["states"], texts[1]),
            wanted=[np.flatnonzero(of_video) for of_video in wanted.T],
            todo=np.arange(len(paths)),
            write=write,
            memory_gib=memory_gib,
            names=paths,
        )
        rows = zip(wanted, cosine, scores, strict=True)
        return [_hits(paths, *row) for row in rows]

    def load(self, path: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Reads a video's "embedding" [F,E] or "tokens" [N,C] and checks its shape.

        Raises:
          UserError: if the features are missing, damaged or of another shape or type, or if the
            machine refuses to read them.
        """
        file = self._feature(path)
        with disk.explained(file):
            try:
                file.open("rb").close()  # safetensors reports every failure as "no such file"
                with safe_open(file, "np") as arrays:
                    array = runtime.finite(arrays.get_tensor(name), name)
            except (FileNotFoundError, SafetensorError, TypeError, UserError) as error:
                raise UserError(
                    f"{file}, the features of {path}, cannot be read; remove it and index again"
                ) from error
        if array.dtype != np.float32 or array.shape != shape:
            raise UserError(
                f"{file}, the features of {path}: {name} is {array.dtype} {array.shape}, but the"
                f" model makes float32 {shape}; remove it and index again"
            )
        return array

    def _feature(self, path: str) -> pathlib.Path:
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
        return self._folder / "features" / f"{name}.safetensors"

    def _note(self, path: str, stamp: Stamp, fault: str) -> None:
        self._entries[path] = stamp, fault
        with self._log.open("a", encoding="utf-8") as log:
            log.write(self._line(path, stamp, fault))

    @staticmethod
    def _line(path: str, stamp: Stamp, fault: str) -> str:
        return json.dumps([path, stamp, fault]) + "\n"


def entries(folder: pathlib.Path) -> dict[str, tuple[Stamp, str]]:
    """Reads the logs of the index in `folder`: path -> (stamp, fault).

    Raises:
      UserError: if a line is damaged.
    """
    known = {}
    for log in sorted(folder.glob("videos*.jsonl"), reverse=True):  # each process adds to its own
        known |= _logged(log)
    return known


def _log(number: int) -> str:
    """The log of a process."""
    return f"videos.{number}.jsonl" if number else "videos.jsonl"


def _logged(log: pathlib.Path) -> dict[str, tuple[Stamp, str]]:
    known = {}
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else ()  # the last one may be cut
    for number, line in enumerate(lines, 1):
        try:
            path, stamp, fault = json.loads(line)
            os.fsencode(path)  # fails here if no feature file can have that name
            known[path] = tuple(map(operator.index, stamp)), fault
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(
                f"{log}: line {number} is damaged; remove that line and index again"
            ) from error
    return known


def describe(folder: pathlib.Path) -> dict[str, Json]:
    """Reads the index.json of `folder`: "facts" (what features depend on) and "about".

    Raises:
      UserError: if there is no index.
    """
    file = folder / "index.json"
    if not file.is_file():
        raise UserError(
            f"{folder} holds no index; make one by tokmerge_jax.index or tokmerge search index"
        )
    try:
        known = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        known = None
    if (
        not isinstance(known, dict)
        or "about" not in known
        or not isinstance(known.get("facts"), dict)
    ):
        raise UserError(f"{file} is damaged, or not written by tokmerge search; use another folder")
    return known


@dataclasses.dataclass(frozen=True)
class _Tokens:
    """The tokens of an index's videos, read on demand."""

    index: Index
    videos: Sequence[str]
    shape: tuple[int, ...]

    def __getitem__(self, places: Places, /) -> np.ndarray:
        paths = [self.videos[int(place)] for place in np.ravel(places)]
        return np.stack([self.index.load(path, "tokens", self.shape) for path in paths])


def _encode(
    model: Model, encode: EncodeText, texts: tuple[np.ndarray, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Computes the named features of all texts: "embedding" [Q,E], "states" [Q,L,C]."""
    size = parallel.batch_size(model.mesh, _TEXTS)
    parts = [
        [np.asarray(read[name], np.float32)[: len(rows)] for name in names]
        for rows, read in ahead(model.compiled(encode), text_batches(texts, size))
    ]
    return dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))


def _hits(
    paths: Sequence[str], wanted: np.ndarray, cosine: np.ndarray, scores: np.ndarray | None
) -> list[Hit]:
    """The hits of one text among `paths`, best first, by the scores or else the cosines."""
    ranked = cosine if scores is None else scores
    best = sorted(np.flatnonzero(wanted).tolist(), key=lambda v: -ranked[v])
    return [
        Hit(paths[v], float(cosine[v]), None if scores is None else float(scores[v])) for v in best
    ]


def _check(folder: pathlib.Path, known: Mapping[str, Json], facts: Mapping[str, Json]) -> None:
    """Raises UserError if an index was made with other facts than `facts`."""
    old, new = (flatten_dict(dict(tree), sep=".") for tree in (known, facts))
    changed = [
        f"{key}={old.get(key)!s:.40} (now {new.get(key)!s:.40})"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    if changed:
        named = ", ".join(changed[:_NAMED])
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        raise UserError(
            f"the index in {folder} was made with {named}{more}; use those settings, or make a new"
            " index in another folder"
        )
