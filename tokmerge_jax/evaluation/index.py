"""An index of videos on disk, to be searched by text: features that are computed once.

The folder holds `index.json` (what the features depend on), `videos.jsonl` (a line for each file
that was looked at, the last one counts) and `features/`, one .safetensors file a video with its
embedding and its tokens: 4 bytes a number, 4.5 MB for the 1452 tokens of UMT-B/16 on MSRVTT. A
search reads the embeddings of all videos and the tokens of its candidates alone.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from safetensors.numpy import save_file

from tokmerge_jax import parallel, runtime
from tokmerge_jax.evaluation.retrieval import Model, candidates, match
from tokmerge_jax.types import UserError

Stamp = tuple[int, int]
"""A file's size, and its time of change in nanoseconds: equal as long as the file is."""

_TEXTS = 16  # texts that are encoded at a time, so that one program serves all queries


@dataclasses.dataclass(frozen=True)
class Hit:
    """A video that a text found.

    Attributes:
      path: of the video, relative to the folder that was indexed.
      cosine: of the embeddings.
      score: of the matching head, by which hits are ranked; None without one.
    """

    path: str
    cosine: float
    score: float | None


class Index:
    """Features of videos by path."""

    def __init__(self, folder: pathlib.Path, facts: Mapping[str, Any], about: Any = None) -> None:
        """Opens or makes the index in `folder`.

        Args:
          folder: the index's.
          facts: what features depend on (anything that JSON holds).
          about: kept beside them for whoever opens the index again.

        Raises:
          UserError: if the index was made on other facts, naming them.
        """
        self._folder, self._log = folder, folder / "videos.jsonl"
        (folder / "features").mkdir(parents=True, exist_ok=True)
        facts = json.loads(json.dumps(facts))
        if (folder / "index.json").exists():
            known = describe(folder)["facts"]
            changed = [key for key in {**known, **facts} if known.get(key) != facts.get(key)]
            if changed:
                raise UserError(
                    f"the index in {folder} was made with another {', '.join(changed)}; search with"
                    " what it was made with, or index into another folder"
                )
        else:
            content = json.dumps({"facts": facts, "about": about}, indent=1)
            runtime.write_text(folder / "index.json", content)
        self._entries = self._read()

    @property
    def videos(self) -> tuple[str, ...]:
        """The paths that can be found, ascending."""
        return tuple(sorted(path for path, (_, fault) in self._entries.items() if not fault))

    @property
    def faults(self) -> dict[str, str]:
        """Why videos cannot be found."""
        return {path: fault for path, (_, fault) in sorted(self._entries.items()) if fault}

    def update(self, files: Mapping[str, Stamp]) -> list[str]:
        """Forgets the files that are gone or changed; returns those to be looked at, ascending."""
        for path, (stamp, _) in list(self._entries.items()):
            if files.get(path) != stamp:
                del self._entries[path]
                self._feature(path).unlink(missing_ok=True)
        lines = [self._line(path, *entry) for path, entry in sorted(self._entries.items())]
        runtime.write_text(self._log, "".join(lines))
        return sorted(files.keys() - self._entries.keys())

    def add(
        self,
        path: str,
        stamp: Stamp,
        embedding: Float[np.ndarray, "F E"],
        tokens: Float[np.ndarray, "N C"],
    ) -> None:
        """Stores a video's features, then the note that they are there."""
        arrays = {"embedding": embedding, "tokens": tokens}
        part = self._feature(path).with_suffix(".part")
        save_file({k: np.ascontiguousarray(x, np.float32) for k, x in arrays.items()}, part)
        os.replace(part, self._feature(path))
        self._note(path, stamp, "")

    def refuse(self, path: str, stamp: Stamp, fault: str) -> None:
        """Notes why a file cannot be found; it is looked at again when it has changed."""
        self._note(path, stamp, fault)

    def query(
        self,
        model: Model,
        texts: tuple[Int[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]],
        *,
        top_k: int,
        rerank: bool,
        memory_gib: float,
    ) -> list[list[Hit]]:
        """The best `top_k` videos of each text, best first.

        Args:
          model: what the index was made with; its `encode_text` and, to re-rank, its
            `video_memory` and `match` are used.
          texts: ids, and which of them are not padding.
          top_k: how many, fewer if there are fewer videos.
          rerank: rank them by the matching head.
          memory_gib: bound on what matching holds at once.
        """
        videos = self.videos
        if not videos:
            return [[] for _ in texts[0]]
        words, states = _encode(model, texts)
        embedding = np.stack([self.load(path, "embedding") for path in videos])
        cosine = words @ embedding.mean(axis=1).T
        wanted = candidates(cosine, top_k)
        scores = _Scores(wanted.T)
        if rerank:
            match(model, _Tokens(self, videos), (states, texts[1]), wanted.T, memory_gib, scores)
        ranked = scores.values.T if rerank else cosine
        hits = []
        for row, marked in enumerate(wanted):
            best = sorted(np.flatnonzero(marked), key=lambda v, row=row: -ranked[row, v])
            hits.append(
                [
                    Hit(videos[v], float(cosine[row, v]), float(ranked[row, v]) if rerank else None)
                    for v in best
                ]
            )
        return hits

    def load(self, path: str, name: str) -> np.ndarray:
        """A video's "embedding" [F,E] or "tokens" [N,C]."""
        with safe_open(self._feature(path), "np") as file:
            return file.get_tensor(name)

    def _feature(self, path: str) -> pathlib.Path:
        name = hashlib.sha256(path.encode()).hexdigest()[:24]
        return self._folder / "features" / f"{name}.safetensors"

    def _note(self, path: str, stamp: Stamp, fault: str) -> None:
        self._entries[path] = stamp, fault
        with self._log.open("a", encoding="utf-8") as log:
            log.write(self._line(path, stamp, fault))

    @staticmethod
    def _line(path: str, stamp: Stamp, fault: str) -> str:
        return json.dumps([path, stamp, fault]) + "\n"

    def _read(self) -> dict[str, tuple[Stamp, str]]:
        entries = {}
        lines = self._log.read_text("utf-8").splitlines(keepends=True) if self._log.exists() else ()
        for line in lines:
            if line.endswith("\n"):  # the last one may be cut, where the run was killed
                path, stamp, fault = json.loads(line)
                entries[path] = tuple(stamp), fault
        return entries


def describe(folder: pathlib.Path) -> dict[str, Any]:
    """What the index in `folder` depends on ("facts"), and what was kept beside it ("about").

    Raises:
      UserError: if there is none.
    """
    file = folder / "index.json"
    if not file.is_file():
        raise UserError(f"{folder} holds no index; make one with scripts/search.py index")
    return json.loads(file.read_text())


@dataclasses.dataclass(frozen=True)
class _Tokens:
    """The tokens of an index's videos, read when asked for."""

    index: Index
    videos: Sequence[str]

    def __getitem__(self, places: np.ndarray, /) -> np.ndarray:
        return np.stack([self.index.load(self.videos[place], "tokens") for place in places])


class _Scores:
    """Matching scores in memory."""

    def __init__(self, wanted: Bool[np.ndarray, "V Q"]) -> None:
        self.todo = np.flatnonzero(wanted.any(axis=1))
        self.values = np.zeros(wanted.shape, np.float32)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        self.values[rows] = values


def _encode(model: Model, texts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [Q,E] and states [Q,L,C]."""
    count, encode = len(texts[0]), model.compiled("encode_text")
    size = parallel.batch_size(model.mesh, _TEXTS)
    found = []
    for first in range(0, count, size):
        places = np.resize(np.arange(first, min(first + size, count)), size)
        read = encode(*(part[places] for part in texts))
        found.append([np.asarray(read[name], np.float32) for name in ("embedding", "states")])
    embedding, states = (np.concatenate(parts)[:count] for parts in zip(*found, strict=True))
    return embedding, states
