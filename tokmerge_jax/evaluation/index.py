"""An index of videos on disk, to be searched by text: features that are computed once.

The folder holds `index.json` (what the features depend on), `videos.jsonl` (a line for each file
that was looked at, the last one counts), `broken.txt` (files that cannot be used, if there are any)
and `features/`, one .safetensors file a video with its embedding and its tokens: 4 bytes a number,
4.5 MB for the 1452 tokens of UMT-B/16 on MSRVTT. A search reads the embeddings of all videos and
the tokens of its candidates alone.
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

from tokmerge_jax import disk, parallel, runtime
from tokmerge_jax.evaluation.context import Model, ahead
from tokmerge_jax.evaluation.retrieval import Places, candidates, match, text_batches
from tokmerge_jax.signatures import EncodeText
from tokmerge_jax.system import Retrieval
from tokmerge_jax.types import Json, UserError

Stamp = tuple[int, ...]
"""A file's size, and its time of change in nanoseconds: equal as long as the file is."""

_NAMED = 10  # changed facts that an error names
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

    def __init__(self, folder: pathlib.Path, facts: Mapping[str, Json], about: Json = None) -> None:
        """Opens or makes the index in `folder`.

        Args:
          folder: the index's.
          facts: what features depend on (anything that JSON holds).
          about: kept beside them for whoever opens the index again; None leaves what is there.

        Raises:
          UserError: if the index was made on other facts, naming them, or cannot be made.
        """
        self._folder, self._log = folder, folder / "videos.jsonl"
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
        """The paths that can be found, ascending."""
        return tuple(sorted(path for path, (_, fault) in self._entries.items() if not fault))

    @property
    def faults(self) -> dict[str, str]:
        """Why videos cannot be found."""
        return {path: fault for path, (_, fault) in sorted(self._entries.items()) if fault}

    def update(self, files: Mapping[str, Stamp]) -> list[str]:
        """Forgets what is gone, changed or broken; returns the files to be looked at, ascending.

        Broken ones are tried again: a fault may have passed without a change of the file.
        """
        stale = [
            path
            for path, (stamp, fault) in self._entries.items()
            if fault or files.get(path) != stamp or not self._feature(path).exists()
        ]
        for path in stale:
            del self._entries[path]
        lines = [self._line(path, *entry) for path, entry in sorted(self._entries.items())]
        runtime.write_text(self._log, "".join(lines))
        for path in stale:  # only now: whatever the log names is there
            self._feature(path).unlink(missing_ok=True)
        return sorted(files.keys() - self._entries.keys())

    def add(
        self,
        path: str,
        stamp: Stamp,
        features: Mapping[str, Float[np.ndarray, "..."]],
    ) -> None:
        """Stores a video's features, then the note that they are there.

        Args:
          path: the video.
          stamp: of its file.
          features: "embedding" [F,E] and, of models that re-rank, "tokens" [N,C].

        Raises:
          UserError: if they are not finite, or cannot be written.
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
        """Notes why a file cannot be found, naming it."""
        with disk.explained(self._folder):
            self._note(path, stamp, fault)

    def report(self) -> pathlib.Path | None:
        """Writes `broken.txt`, a line for each file that cannot be used; None if all can."""
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
        """The best `top_k` videos of each text, best first.

        Args:
          model: what the index was made with.
          retrieval: its functions; where they have a matching head, it ranks the videos.
          texts: ids, and which of them are not padding.
          top_k: how many, fewer if there are fewer videos.
          memory_gib: bound on what matching holds at once.
          shapes: of the features of one video by name, as the model makes them.

        Raises:
          UserError: if a score is not finite, or features are gone or damaged.
        """
        videos = self.videos
        if not videos:
            return [[] for _ in texts[0]]
        matching = retrieval.matching
        names = ("embedding", "states") if matching else ("embedding",)
        words = _encode(model, retrieval.encode_text, texts, names)
        embedding = np.stack([self.load(path, "embedding", shapes["embedding"]) for path in videos])
        cosine = words["embedding"] @ embedding.mean(axis=1).T
        runtime.finite(cosine, "similarity", text=None, video=videos)
        wanted = candidates(cosine, top_k)
        seen = np.flatnonzero(wanted.any(axis=0))
        found, cosine, wanted = [videos[v] for v in seen], cosine[:, seen], wanted[:, seen]
        if matching is None:
            return [_hits(found, *row, None) for row in zip(wanted, cosine, strict=True)]
        scores = _Scores(wanted.T.shape)
        match(
            model,
            matching,
            _Tokens(self, found, shapes["tokens"]),
            (words["states"], texts[1]),
            wanted.T,
            scores,
            memory_gib=memory_gib,
            names=found,
        )
        rows = zip(wanted, cosine, scores.values.T, strict=True)
        return [_hits(found, *row) for row in rows]

    def load(self, path: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A video's "embedding" [F,E] or "tokens" [N,C], of that shape.

        Raises:
          UserError: if its features are gone or damaged, or are of another shape or type; or if
            the machine refuses to read them.
        """
        file = self._feature(path)
        with disk.explained(file):
            try:
                file.open("rb").close()  # whatever the reason, safetensors says "no such file"
                with safe_open(file, "np") as arrays:
                    array = runtime.finite(arrays.get_tensor(name), name)
            except (FileNotFoundError, SafetensorError, TypeError, UserError) as error:
                raise UserError(
                    f"{file}, the features of {path}, cannot be read; remove it and index again"
                ) from error
        if array.dtype != np.float32 or array.shape != shape:
            raise UserError(
                f"{file}, the features of {path}: {name} is {array.dtype} {array.shape} where the"
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
    """The files that the index in `folder` has looked at: what they were, and their faults.

    Raises:
      UserError: if a line is none of ours.
    """
    log = folder / "videos.jsonl"
    known = {}
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else ()  # the last one may be cut
    for number, line in enumerate(lines, 1):
        try:
            path, stamp, fault = json.loads(line)
            os.fsencode(path)  # as the name of its features is made
            known[path] = tuple(map(operator.index, stamp)), fault
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(
                f"{log}: line {number} is damaged; remove that line and index again"
            ) from error
    return known


def describe(folder: pathlib.Path) -> dict[str, Json]:
    """What the index in `folder` depends on ("facts"), and what was kept beside it ("about").

    Raises:
      UserError: if there is none.
    """
    file = folder / "index.json"
    if not file.is_file():
        raise UserError(f"{folder} holds no index; make one with scripts/search.py index")
    try:
        known = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        known = None
    if (
        not isinstance(known, dict)
        or "about" not in known
        or not isinstance(known.get("facts"), dict)
    ):
        raise UserError(
            f"{file} is damaged, or not of scripts/search.py; index into another folder (--index)"
        )
    return known


@dataclasses.dataclass(frozen=True)
class _Tokens:
    """The tokens of an index's videos, read when asked for."""

    index: Index
    videos: Sequence[str]
    shape: tuple[int, ...]

    def __getitem__(self, places: Places, /) -> np.ndarray:
        paths = [self.videos[int(place)] for place in np.ravel(places)]
        return np.stack([self.index.load(path, "tokens", self.shape) for path in paths])


class _Scores:
    """Matching scores [V,Q] in memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.todo, self.values = np.arange(shape[0]), np.zeros(shape, np.float32)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        self.values[rows] = values


def _encode(
    model: Model, encode: EncodeText, texts: tuple[np.ndarray, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The named features of all texts: "embedding" [Q,E], "states" [Q,L,C]."""
    size = parallel.batch_size(model.mesh, _TEXTS)
    found = [
        [np.asarray(read[name], np.float32)[: len(rows)] for name in names]
        for rows, read in ahead(model.compiled(encode), text_batches(texts, size))
    ]
    return dict(zip(names, map(np.concatenate, zip(*found, strict=True)), strict=True))


def _hits(
    paths: Sequence[str], wanted: np.ndarray, cosine: np.ndarray, scores: np.ndarray | None
) -> list[Hit]:
    """What one text found among `paths`, best first, by the scores if there are any."""
    ranked = cosine if scores is None else scores
    best = sorted(np.flatnonzero(wanted).tolist(), key=lambda v: -ranked[v])
    return [
        Hit(paths[v], float(cosine[v]), None if scores is None else float(scores[v])) for v in best
    ]


def _check(folder: pathlib.Path, known: Mapping[str, Json], facts: Mapping[str, Json]) -> None:
    """Refuses an index that was made on other facts than `facts`."""
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
            f"the index in {folder} was made with {named}{more}; go back to that, or make"
            " another index in a folder of its own"
        )
