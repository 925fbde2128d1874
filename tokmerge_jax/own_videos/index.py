"""An index of videos for search by text: features are computed once, and kept in a table.

The folder holds `videos.lance` (`own_videos.table`: the features, and the facts that they depend
on) and `broken.txt` (unusable files, if any). Embeddings have 4 bytes per number, and tokens have
one: 1.1 MB for the 1452 of UMT-B/16 on MSRVTT. A search reads the tokens of its candidates alone.
"""

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Bool, Float, Int

from tokmerge_jax import disk, hosts, runtime
from tokmerge_jax.data.video.folder import Stamp
from tokmerge_jax.evaluation.context import Model
from tokmerge_jax.own_videos import ranking
from tokmerge_jax.own_videos.damage import damaged
from tokmerge_jax.own_videos.filters import EVERYTHING, Filter
from tokmerge_jax.own_videos.ranking import Hit
from tokmerge_jax.own_videos.windows import Entry, Window
from tokmerge_jax.system import Retrieval
from tokmerge_jax.types import Json, UserError

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a feature -> its shape for one video.

"embedding" (F, E), and "tokens" (N, C) for models that re-rank.
"""

_NAMED = 10  # number of changed facts that an error names
WINDOWS = "fault IS NULL"
"""The condition of rows that are windows."""


class Index:
    """The features of videos, by path."""

    def __init__(
        self, folder: pathlib.Path, facts: Mapping[str, Json], shapes: Shapes, about: Json = None
    ) -> None:
        """Opens or creates the index in `folder`.

        Args:
          folder: the index's folder.
          facts: everything that the features depend on (JSON values).
          shapes: shapes of the features.
          about: JSON value stored beside the facts for later readers; None keeps the stored one.

        Raises:
          UserError: if the index was made with other facts (the message names them) or by an
            earlier version, or cannot be created or read.
        """
        self._folder, self._shapes = folder, shapes
        table = _tables().Table
        facts = json.loads(json.dumps(facts))
        if not exists(folder):
            with disk.explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
            width = shapes["embedding"][-1]
            self._table = table.create(folder, {"facts": facts, "about": about}, width)
            return
        _check(folder, describe(folder)["facts"], facts)
        self._table = table(folder)
        if about is not None:
            self._table.about = {"facts": facts, "about": about}

    @functools.cached_property
    def _entries(self) -> dict[str, Entry]:
        return self._table.known()

    @property
    def videos(self) -> tuple[str, ...]:
        """The paths that are completely indexed, ascending."""
        return tuple(sorted(path for path, each in self._entries.items() if not each.fault))

    @property
    def faults(self) -> dict[str, str]:
        """Path -> reason of the videos with an unreadable part.

        Windows that could be read are still found.
        """
        return {path: each.fault for path, each in sorted(self._entries.items()) if each.fault}

    @property
    def windows(self) -> int:
        """The number of windows that can be found, also those of videos with a fault."""
        return self._table.count(WINDOWS)

    @property
    def partial(self) -> tuple[str, ...]:
        """The paths among `faults` that have windows which can be found, ascending."""
        return tuple(sorted(self._table.paths(WINDOWS) & self.faults.keys()))

    def update(self, files: Mapping[str, Stamp]) -> list[str]:
        """Removes entries of deleted, changed and broken files; returns the `missing` ones.

        Broken files are tried again, since a fault may pass without a change of the file.
        """
        stale = [
            path
            for path, each in self._entries.items()
            if each.fault or files.get(path) != each.stamp
        ]
        self._table.remove(stale)
        for path in stale:
            del self._entries[path]
        return self.missing(files)

    def missing(self, files: Mapping[str, Stamp]) -> list[str]:
        """The files that are not indexed, ascending."""
        return sorted(files.keys() - self._entries.keys())

    def gather(self) -> None:
        """Waits for all processes, and adds the videos of the others."""
        last = max(hosts.gather(self._table.version))
        hosts.wait_until_visible(self._folder, lambda: self._table.refresh() >= last)
        self.__dict__.pop("_entries", None)  # to be read again
        if not hosts.number():
            self._table.tidy()
            self.report()

    def add(
        self,
        windows: Sequence[Window],
        stamps: Mapping[str, Stamp],
        features: Mapping[str, Float[np.ndarray, "B ..."]],
    ) -> None:
        """Stores the features of windows, all or none.

        Args:
          windows: the windows, at most B; those of a video are added in order.
          stamps: video -> the stamp of its file.
          features: "embedding" [B,F,E] and, for models that re-rank, "tokens" [B,N,C] and their
            "sizes" [B,N]; further rows are padding.

        Raises:
          UserError: if features are not finite or cannot be written.
        """
        used = {
            name: runtime.finite(array[: len(windows)], name, video=[w.path for w in windows])
            for name, array in features.items()
        }
        embedding = used["embedding"].astype(np.float32).mean(axis=1)
        tokens = (used["tokens"], used["sizes"].astype(int)) if "tokens" in used else None
        self._table.append(windows, stamps, embedding, tokens)
        for window in windows:
            if window.last and window.path not in self._entries:  # a part may have had a fault
                self._entries[window.path] = Entry(stamps[window.path])

    def refuse(self, path: str, stamp: Stamp, fault: str) -> None:
        """Records the fault of an unusable file."""
        self._table.refuse(path, stamp, fault)
        self._entries[path] = Entry(stamp, fault)

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
        where: Filter = EVERYTHING,
    ) -> list[list[Hit]]:
        """Returns the moments that fit each text best, best first.

        Args:
          model: the model that the index was made with.
          retrieval: its functions; a matching head, if any, ranks the windows.
          texts: ids, and their mask (False on padding).
          top_k: number of windows per text, fewer if the index holds fewer; neighbours among them
            are one moment.
          memory_gib: memory limit of matching, in GiB.
          where: condition that the videos must meet.

        Raises:
          UserError: if a score is not finite, or features are missing or damaged.
        """
        self._table.refresh()
        names = ("embedding", "states") if retrieval.matching else ("embedding",)
        encoded = ranking.encode_texts(model, retrieval.encode_text, texts, names)
        chosen = ranking.candidates(self._table, encoded["embedding"], top_k, where.sql())
        if retrieval.matching is None or not len(chosen.ids):
            return chosen.hits(self._table)
        scores = ranking.rematched(
            self._table,
            chosen,
            model,
            retrieval,
            (encoded["states"], texts[1]),
            shape=self._shapes["tokens"],
            memory_gib=memory_gib,
        )
        return chosen.hits(self._table, scores)

    def similar(
        self,
        query: Float[np.ndarray, " E"],
        top_k: int,
        where: Filter = EVERYTHING,
        without: Hit | None = None,
    ) -> list[Hit]:
        """Returns the moments most similar to an embedding, best first.

        Args:
          query: the embedding.
          top_k: number of windows, as in `query`.
          where: condition that the videos must meet.
          without: a hit whose windows, and those that overlap them, are left out.

        Raises:
          UserError: if a similarity is not finite, or the table is damaged.
        """
        self._table.refresh()
        others = [f"NOT ({self._during(without)})"] if without else []
        condition = " AND ".join(filter(None, [where.sql(), *others]))
        return ranking.candidates(self._table, query[None], top_k, condition).hits(self._table)[0]

    def embedding(self, hit: Hit) -> Float[np.ndarray, " E"]:
        """Returns the mean embedding of a hit's windows.

        Raises:
          UserError: if the index does not hold them.
        """
        self._table.refresh()
        inside = f"start >= {hit.start} AND stop <= {hit.stop}"
        ids = self._table.where(f"{self._during(hit)} AND {inside}")
        if not len(ids):
            raise UserError(f"the index in {self._folder} does not hold {hit.path}; search again")
        rows = self._table.rows(ids, "embedding")
        return np.asarray([embedding for (embedding,) in rows], np.float32).mean(axis=0)

    def _during(self, hit: Hit) -> str:
        """The condition that a window overlaps a hit."""
        path = self._table.literal(hit.path)
        return f"path = {path} AND start < {hit.stop} AND stop > {hit.start}"


def exists(folder: pathlib.Path) -> bool:
    """Whether there is an index in `folder`."""
    return _tables().Table.exists(folder)


def entries(folder: pathlib.Path) -> dict[str, Entry]:
    """Reads the files of the index in `folder`: path -> entry.

    Raises:
      UserError: if it is damaged.
    """
    return _tables().Table(folder).known()


def describe(folder: pathlib.Path) -> dict[str, Json]:
    """Reads what the index in `folder` is of: "facts" (what features depend on) and "about".

    Raises:
      UserError: if there is no index, or it is damaged.
    """
    tables = _tables()
    if not tables.Table.exists(folder):
        raise UserError(
            f"{folder} holds no index; make one by tokmerge_jax.index or tokmerge search index"
        )
    match tables.Table(folder).about:
        case {"facts": dict(), "about": _} as known:
            return known
    raise damaged(folder, "no description of its videos")


def _tables() -> ModuleType:
    """The module of the database, which not every user has.

    Raises:
      UserError: if it is not installed.
    """
    try:
        from tokmerge_jax.own_videos import table
    except ModuleNotFoundError as error:
        raise UserError(
            f"search needs the package {error.name}, which is not installed: pip install pylance"
            " (or tokmerge_jax with its extra, -e '.[search]')"
        ) from error
    return table


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
