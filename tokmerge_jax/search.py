"""Searching one's own videos by text: a folder is encoded once, then asked as often as one likes.

config = ...  # of a retrieval system, with its checkpoint
index_videos(config, "holiday", "holiday_index")
for hit in Searcher("holiday_index")(["a dog catches a red ball"])[0]:
    print(hit.path, hit.score)
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from tokmerge_jax import convert, parallel, registry
from tokmerge_jax.data import folder as folders
from tokmerge_jax.data.clips import Decoder
from tokmerge_jax.evaluation import Model, index, model_facts
from tokmerge_jax.evaluation.index import Hit, Index
from tokmerge_jax.types import System, UserError

Path = str | os.PathLike[str]


def index_videos(config: ConfigDict, videos: Path, target: Path) -> Index:
    """Encodes the videos of a folder, and of those below it, into the index `target`.

    Files that are there already are left alone; new and changed ones are encoded, those that are
    gone are forgotten. Stopped or killed, the same call goes on. Files that cannot be decoded are
    in `Index.faults`.

    Args:
      config: of a retrieval system; its `checkpoint` holds the weights.
      videos: the folder.
      target: the index's folder.

    Raises:
      UserError: if something is missing, the system cannot search, or the index is another model's.
    """
    base, system = pathlib.Path(videos), _portable(_system(config))
    files = folders.find(base)
    if not files:
        raise UserError(f"--videos={base} holds no video ({', '.join(folders.SUFFIXES)})")
    params = convert.load_checkpoint(config.checkpoint, system)
    about = {"config": json.loads(system.config.to_json()), "videos": str(base.resolve())}
    found = Index(pathlib.Path(target), model_facts(system, params), about)
    todo = found.update(files)
    model = Model(system.predict, params, parallel.make_mesh(config.mesh.to_dict()))
    encode = model.compiled("encode_video")
    decoder = Decoder(str(base), system.constants["frames"], config.data.trim_seconds)
    clips = folders.Clips(todo, decoder, system.transform, config.data.workers)
    size = parallel.batch_size(model.mesh, config.eval.batch_size)
    with tqdm(total=len(files), initial=len(files) - len(todo), desc="indexing videos") as bar:
        for paths, video, faults in clips.batches(size):
            for path, fault in faults.items():
                found.refuse(path, files[path], fault)
            if paths:
                seen = encode(video)
                arrays = [np.asarray(seen[name], np.float32) for name in ("embedding", "tokens")]
                for path, embedding, tokens in zip(paths, *arrays, strict=False):
                    found.add(path, files[path], embedding, tokens)
            bar.update(len(paths) + len(faults))
    return found


class Searcher:
    """An index, and the model that it was made with, to be asked.

    Attributes:
      index: the index.
      folder: the folder of the videos that `Hit.path` is relative to.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the index in `folder` and loads its model.

        Raises:
          UserError: if there is no index, or its checkpoint is gone or another one by now.
        """
        place = pathlib.Path(folder)
        about = index.describe(place)["about"]
        self._config = ConfigDict(about["config"])
        merger = self._config.model.merger
        merger.r = tuple(merger.r)
        self._system = _system(self._config)
        params = convert.load_checkpoint(self._config.checkpoint, self._system)
        self.index = Index(place, model_facts(self._system, params))
        self.folder = pathlib.Path(about["videos"])
        mesh = parallel.make_mesh(self._config.mesh.to_dict())
        self._model = Model(self._system.predict, params, mesh)

    def __call__(
        self, texts: Sequence[str], top_k: int = 10, rerank: bool = True
    ) -> list[list[Hit]]:
        """The videos that fit each text best, best first.

        Args:
          texts: what to look for.
          top_k: how many videos for each.
          rerank: rank the configuration's `eval.top_k` most similar ones (at least `top_k`) by the
            matching head, if the system has one.
        """
        options = self._config.eval
        rerank = rerank and "match" in self._system.predict
        hits = self.index.query(
            self._model,
            self._system.tokenize(texts),
            top_k=max(options.top_k, top_k) if rerank else top_k,
            rerank=rerank,
            memory_gib=options.memory_gib,
        )
        return [found[:top_k] for found in hits]


def _system(config: ConfigDict) -> System:
    system = registry.build(config)
    if "encode_text" not in system.predict:
        raise UserError(f"the system {system.name!r} does not search; choose one of retrieval")
    return system


def _portable(system: System) -> System:
    """The system, its configuration true in any folder and as JSON: whole paths, r by layer."""
    config = system.config.copy_and_resolve_references()
    with config.unlocked():
        config.checkpoint = str(pathlib.Path(config.checkpoint).resolve())
        if pathlib.Path(config.data.vocabulary).is_file():
            config.data.vocabulary = str(pathlib.Path(config.data.vocabulary).resolve())
        config.model.merger.r = [layer.tokens_in - layer.tokens_out for layer in system.cost[1:]]
    return dataclasses.replace(system, config=config)
