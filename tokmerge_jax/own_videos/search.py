"""Text search in the user's own videos: a folder is encoded once, then searched at will.

Example::

  config = ...  # of a retrieval system, with its checkpoint
  if __name__ == "__main__":  # worker processes read the script again
      index_videos(config, "holiday", "holiday_index")
      for hit in Searcher("holiday_index")(["a dog catches a red ball"])[0]:
          print(hit.path, hit.score)
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from tokmerge_jax import checkpoints, hosts, objects, parallel, registry
from tokmerge_jax.config import Config, expect
from tokmerge_jax.config.evaluation import RerankingOptions
from tokmerge_jax.data.video import folder as folders
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.data.video.folder import Stamp
from tokmerge_jax.data.video.workers import Fault, attempt
from tokmerge_jax.errors import check_list, path
from tokmerge_jax.evaluation import Model, model_facts
from tokmerge_jax.evaluation.context import ahead
from tokmerge_jax.own_videos import index, options, packing, settings, windows
from tokmerge_jax.own_videos.filters import EVERYTHING, Filter
from tokmerge_jax.own_videos.index import Index, Shapes
from tokmerge_jax.own_videos.ranking import Hit
from tokmerge_jax.own_videos.running import Running
from tokmerge_jax.signatures import Tokenize
from tokmerge_jax.system import Retrieval, System
from tokmerge_jax.types import Json, Params, UserError

Path = str | os.PathLike[str]
Build = Callable[[Config], System]

_CHOSEN = ("window", "stride", "shots", "tokens")  # facts that are not of the model
_PER_HIT = 4  # windows ranked for each hit, since neighbours are joined


def index_videos(
    config: Config,
    videos: Path,
    target: Path,
    *,
    window: int | float | None = None,
    stride: int | float | None = None,
    shots: bool = False,
    tokens: bool | int = True,
    build: Build = registry.build,
) -> Index:
    """Encodes the videos in a folder and its subfolders into the index `target`.

    Videos are cut into overlapping windows, which are encoded one by one; videos that are hardly
    longer than a window, and all videos if `window` is 0, are encoded whole.

    Only new and changed files are encoded; deleted ones are removed from the index. After a stop or
    kill, the same call resumes. Unusable files are listed in `Index.faults` and in the index's
    `broken.txt`.

    Args:
      config: the configuration of a retrieval system; its `checkpoint` holds the weights.
      videos: the folder of the videos.
      target: the folder of the index.
      window: length of a window in seconds; None = a second for each frame that the model reads.
      stride: time in seconds from one window's start to the next's; None = half of `window`.
      shots: whether each shot is cut into windows by itself, instead of the whole video; takes a
        second pass over its frames.
      tokens: the number of tokens of a window that are kept for the matching head, if there is
        one; others merge into them (`packing.merged`). True keeps all, False or 0 none.
      build: builds the system.

    Raises:
      UserError: if something is missing, the system does not support retrieval, a window or stride
        cannot be, the index has another model, folder, windows or tokens, another process writes
        it, a file cannot be written, or `target` is on an object store.
    """
    base = pathlib.Path(path(videos, "videos")).resolve()
    place = objects.local(objects.place(path(target, "target")), "indexes")
    system, files = build(config), folders.find(base)
    retrieval, system = system.task(Retrieval), settings.portable(system)
    params = checkpoints.load_checkpoint(config.checkpoint, system)
    decode = decoder(config.data, system.pixels.frames, str(base))
    length, step = options.seconds(window, stride, system.pixels.frames)
    shapes = _shapes(system, params)
    kept = options.kept(tokens, shapes["tokens"][0] if retrieval.matching else 0)
    reader = windows.Reader(decode, system.pixels.transform, length, step, shots)
    model = Model(params, parallel.make_mesh(**config.mesh.to_dict(), local=True))
    with hosts.held(place):
        _check_folder(place, base, files)
        about = {"config": system.config.to_dict(), "videos": str(base)}
        chosen = dict(zip(_CHOSEN, (length, step, shots, kept), strict=True))
        facts = {**model_facts(system, params), **chosen}
        stored = _updated(place, facts, shapes, about, files)
        _encode_missing(model, system, reader, files, stored, place, tokens=kept)
    return stored


def _updated(
    place: pathlib.Path,
    facts: Mapping[str, Json],
    shapes: Shapes,
    about: Mapping[str, Json],
    files: Mapping[str, Stamp],
) -> Index:
    """The index in all processes, after process 0 has created it or removed what is gone."""
    if not hosts.number():
        Index(place, facts, shapes, about).update(files)
    hosts.wait()
    return Index(place, facts, shapes)


def _encode_missing(
    model: Model,
    system: System,
    reader: windows.Reader,
    files: Mapping[str, Stamp],
    stored: Index,
    place: pathlib.Path,
    *,
    tokens: int,
) -> None:
    """Encodes the videos that the index lacks, a share in each process, and stores each batch."""
    config = system.config
    encode = model.compiled(packing.encoder(system.task(Retrieval).encode_video, tokens))
    size = parallel.batch_size(model.mesh, config.eval.batch_size)
    missing = stored.missing(files)
    todo = [missing[row] for row in hosts.share(np.arange(len(missing)))]
    done = len(files) - len(todo)
    with Running(place, len(files), done=done) as bar:
        refused = set[str]()

        def refuse(video: str, fault: str) -> None:
            if video not in refused:  # several parts may be broken
                refused.add(video)
                stored.refuse(video, files[video], fault)
                bar.update()

        clips = windows.batches(reader, todo, config.data.workers, size, refuse)
        for batch, seen in ahead(encode, ((batch, (video,)) for batch, video in clips)):
            stored.add(batch, files, {key: np.asarray(seen[key], np.float32) for key in seen})
            bar.update(sum(window.last and window.path not in refused for window in batch))
    stored.gather()


def _check_folder(place: pathlib.Path, videos: pathlib.Path, files: Mapping[str, Stamp]) -> None:
    """Raises UserError for an index of another folder, unless that folder has moved.

    Otherwise all its videos would be removed from the index.
    """
    if not index.exists(place):
        return
    known = pathlib.Path(settings.about(place)["videos"])
    looked_at = {path: entry.stamp for path, entry in index.entries(place).items()}
    moved = not known.is_dir() and (not looked_at or looked_at.items() & files.items())
    if known != videos and not moved:
        raise UserError(
            f"the index in {place} holds the videos of {known}; name that folder, or another folder"
            " for the index"
        )


class Searcher:
    """Searches an index with the model that made it.

    Attributes:
      index: the index.
      folder: the folder of the videos that `Hit.path` is relative to.
    """

    def __init__(self, folder: Path, build: Build = registry.build) -> None:
        """Opens the index in `folder` and loads its model.

        Args:
          folder: the index.
          build: builds its system.

        Raises:
          UserError: if there is no index, or its checkpoint is missing or has changed.
        """
        place = pathlib.Path(path(folder, "folder"))
        about = settings.about(place)
        self.folder = pathlib.Path(about["videos"])
        config = settings.restored(place, about["config"])
        system = build(config)
        self._options, self._retrieval = system.config.eval, system.task(Retrieval)
        self._retrieval.tokenize([""])  # checks that the vocabulary exists
        try:
            params = checkpoints.load_checkpoint(config.checkpoint, system)
        except UserError as error:
            raise UserError(
                f"the index in {place} needs the weights that it was made with: {error}; if they"
                " have moved, index again with config.checkpoint=PATH (no video is encoded again)"
            ) from error
        stored = index.describe(place)["facts"]
        chosen = {key: stored.get(key) for key in _CHOSEN}
        self.index = Index(
            place, {**model_facts(system, params), **chosen}, _shapes(system, params)
        )
        if not stored.get("tokens"):
            self._retrieval = dataclasses.replace(self._retrieval, matching=None)
        self._model = Model(params, parallel.make_mesh())
        self._decode = decoder(config.data, system.pixels.frames, folder="")
        self._transform = system.pixels.transform

    @property
    def reranked(self) -> int:
        """The number of windows that the matching head re-ranks; 0 without one."""
        if self._retrieval.matching is None:
            return 0
        return expect(self._options, RerankingOptions).top_k

    def check(self, texts: Sequence[str]) -> None:
        """Raises UserError for texts that cannot be searched for."""
        check_texts(self._retrieval.tokenize, texts)

    def __call__(
        self,
        texts: Sequence[str],
        top_k: int = 10,
        rerank: bool = True,
        where: Filter = EVERYTHING,
    ) -> list[list[Hit]]:
        """Returns the moments that fit each text best, best first.

        Args:
          texts: the queries.
          top_k: number of moments per text.
          rerank: whether the matching head, if the system has one, re-ranks the windows that are
            most similar (the configuration's `eval.top_k` of them, at least `top_k`).
          where: condition that the videos must meet.

        Raises:
          UserError: if a text holds no word.
        """
        retrieval = self._retrieval
        if not rerank:
            retrieval = dataclasses.replace(retrieval, matching=None)
        matched = retrieval.matching is not None
        limits = expect(self._options, RerankingOptions) if matched else RerankingOptions()
        _check_top(top_k)
        self.check(texts)
        retrieval.tokenize.report_cut(texts, "texts")
        hits = self.index.query(
            self._model,
            retrieval,
            retrieval.tokenize(texts),
            top_k=max(limits.top_k, top_k) if matched else _PER_HIT * top_k,
            memory_gib=limits.memory_gib,
            where=where,
        )
        return [ranking[:top_k] for ranking in hits]

    def like(
        self,
        sources: Sequence[Path | Hit | np.ndarray],
        top_k: int = 10,
        where: Filter = EVERYTHING,
    ) -> list[list[Hit]]:
        """Returns the moments most similar to each source, best first.

        Similarity is the product of the embeddings (the cosine where both have unit norm).

        Args:
          sources: files (videos or pictures), results of `encoded`, or hits, which are not among
            their own results.
          top_k: number of moments per source.
          where: condition that the videos must meet.

        Raises:
          UserError: if a file cannot be decoded, or a hit is no longer in the index.
        """
        _check_top(top_k)
        rankings = []
        for source in sources:
            if isinstance(source, Hit):
                query, without = self.index.embedding(source), source
            elif isinstance(source, np.ndarray):
                query, without = source, None
            else:
                query, without = self.encoded(path(source, "sources")), None
            moments = self.index.similar(query, _PER_HIT * top_k, where, without)
            rankings.append(moments[:top_k])
        return rankings

    def encoded(self, file: str, most: int = 0) -> np.ndarray:
        """Returns the embedding [E] of a video or picture.

        Args:
          file: its path.
          most: number of frames that it may have; 0 = any.

        Raises:
          UserError: as `like`; also if it has more frames.
        """
        decode = dataclasses.replace(self._decode, most=most)
        clip = attempt(lambda file: self._transform(decode(file)), str, file)
        if isinstance(clip, Fault):
            raise UserError(clip.text)
        batch = np.stack([clip] * parallel.batch_size(self._model.mesh, 1))
        seen = self._model.compiled(self._retrieval.encode_video)(batch)
        return np.asarray(seen["embedding"], np.float32)[0].mean(axis=0)


def _check_top(top_k: int) -> None:
    if not isinstance(top_k, int) or top_k < 1:
        raise UserError(f"top_k={top_k!r:.60} must be a whole number, at least 1")


def check_texts(tokenize: Tokenize, texts: Sequence[str]) -> None:
    """Raises UserError for texts without a word, for which all videos would be equal."""
    check_list(texts, "texts", str)
    for text in texts:
        if text != text.encode(errors="ignore").decode():
            raise UserError(f"{text!r:.60} is not UTF-8 text; type it again")
    lengths = tokenize(["", *texts])[1].sum(axis=1)
    for text, length in zip(texts, lengths[1:], strict=True):
        if length == lengths[0]:
            raise UserError(f"{text!r:.60} holds no word; describe in words what to look for")


def _shapes(system: System, params: Params) -> Shapes:
    """The shapes of a video's features."""
    pixels, size = system.pixels, system.pixels.image_size
    video = jax.ShapeDtypeStruct((1, pixels.frames, size, size, 3), np.uint8)
    features = jax.eval_shape(system.task(Retrieval).encode_video, params, video)
    return {name: array.shape[1:] for name, array in features.items()}
