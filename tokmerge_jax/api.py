"""Whole jobs as functions: load, evaluate, train, index, search, convert, prepare.

Example::

  results = tokmerge_jax.evaluate("msrvtt_b16", checkpoint="ret_msrvtt.pth")
  print(results["scores"])

The commands do the same from a terminal. Matrix products are full float32, also on accelerators,
which would round them by default.
"""

import fnmatch
import os
from collections.abc import Mapping, Sequence

import jax
from etils import epath

from tokmerge_jax import checkpoints, objects, registry
from tokmerge_jax.checkpoints.known import KNOWN
from tokmerge_jax.config import Config, files
from tokmerge_jax.data.datasets.storing import SplitReport
from tokmerge_jax.errors import path
from tokmerge_jax.inference import Model
from tokmerge_jax.own_videos.filters import EVERYTHING, Filter
from tokmerge_jax.own_videos.index import Index
from tokmerge_jax.own_videos.ranking import Hit
from tokmerge_jax.own_videos.search import Searcher, index_videos
from tokmerge_jax.tasks import conversion, preparation, release, training
from tokmerge_jax.tasks import evaluation as tasks
from tokmerge_jax.types import Json, UserError

Path = str | os.PathLike[str]
Settings = Mapping[str, object]
"""Key -> value of a configuration: {"model.merger.r": (600, 200)}."""


def load(config: str | Config, settings: Settings | None = None, *, checkpoint: Path = "") -> Model:
    """Loads a system with its weights.

    Args:
      config: the name of a configuration (`list_configs`), the path of a file, or an object; or
        weights that `tokmerge convert --push` wrote, with their configuration: their folder, or
        "hf://OWNER/REPOSITORY".
      settings: other values of its keys.
      checkpoint: the weights, instead of the configuration's: a .pth or .safetensors file, a folder
        of `convert`, a Hugging Face folder, "hub:NAME" of the known weights, or
        "hf://OWNER/REPOSITORY[/FILE]". For a named configuration without weights, the known ones
        of its name are downloaded.

    Raises:
      UserError: if there is no such configuration, a value is invalid, or weights do not fit.
    """
    if isinstance(config, str) and release.is_release(config):
        config = release.read(config)
    built = configuration(config, settings, checkpoint=checkpoint)
    if not built.checkpoint and isinstance(config, str) and config in KNOWN:
        built = built.override({"checkpoint": f"hub:{config}"})
    system = registry.build(built)
    return Model(system, checkpoints.load_checkpoint(system.config.checkpoint, system))


def evaluate(
    config: str | Config,
    settings: Settings | None = None,
    *,
    checkpoint: Path = "",
    data: Path = "",
    output: Path = "",
) -> dict[str, Json]:
    """Evaluates a system on its configuration's data set, as `tokmerge eval` does.

    After a stop or kill, the same call resumes.

    Args:
      config: as in `load`.
      settings: as in `load`.
      checkpoint: as in `load`.
      data: the folder of the prepared data sets, instead of the configuration's ("data").
      output: the folder for results.json and scores.npz, instead of the configuration's
        (results/NAME).

    Returns:
      the content of results.json: "headline", "scores", "protocol", "gmac", "published" and so on.

    Raises:
      UserError: if something is missing or does not fit, or a video that must not be left out
        cannot be decoded.
    """
    read, publication = files.read(config) if isinstance(config, str) else (config, None)
    built = configuration(read, settings, checkpoint=checkpoint, data=data, output=output)
    system, name = registry.build(built), _name(config)
    with jax.default_matmul_precision("highest"):
        source, params = tasks.inputs(system)
        return tasks.evaluate(
            name, system, params, source, built.folder(name), publication=publication
        )


def train(
    config: str | Config,
    settings: Settings | None = None,
    *,
    checkpoint: Path = "",
    data: Path = "",
    output: Path = "",
) -> training.Trained:
    """Trains a system on its configuration's data set, as `tokmerge train` does.

    After a stop (Ctrl-C finishes the step, saves and returns) or kill, the same call resumes with
    the same loss curve. The run, and at the end its parameters, are in `training/` in the output.

    Args:
      config: as in `load`.
      settings: as in `load`.
      checkpoint: the weights to start from, instead of the configuration's.
      data: as in `evaluate`.
      output: as in `evaluate`.

    Raises:
      UserError: as in `tasks.training.train`.
    """
    built = configuration(config, settings, checkpoint=checkpoint, data=data, output=output)
    system = registry.build(built)
    with jax.default_matmul_precision("highest"):
        return training.train(system, built.folder(_name(config)) / "training")


def index(
    config: str | Config,
    videos: Path,
    target: Path,
    settings: Settings | None = None,
    *,
    checkpoint: Path = "",
    window: int | float | None = None,
    stride: int | float | None = None,
    shots: bool = False,
    tokens: bool | int = True,
) -> Index:
    """Encodes a folder of videos into the folder `target`, for `search`.

    Only new and changed files are encoded. Worker processes import the caller's script again, so
    call this under `if __name__ == "__main__":`.

    Args:
      config: as in `load`; must be a retrieval system.
      videos: the folder of the videos.
      target: the folder of the index.
      settings: as in `load`.
      checkpoint: as in `load`.
      window: length in seconds of the windows that videos are cut into; None = a second for each
        frame that the model reads, 0 = whole videos.
      stride: time in seconds from one window's start to the next's; None = half of `window`.
      shots: whether each shot is cut into windows by itself, instead of the whole video.
      tokens: the number of tokens of a window that are kept for the matching head, if there is
        one; others merge into them. True keeps all, False or 0 none.

    Raises:
      UserError: as in `own_videos.search.index_videos`.
    """
    built = configuration(config, settings, checkpoint=checkpoint)
    with jax.default_matmul_precision("highest"):
        return index_videos(
            built, videos, target, window=window, stride=stride, shots=shots, tokens=tokens
        )


def search(
    target: Path,
    texts: Sequence[str],
    *,
    top_k: int = 10,
    rerank: bool = True,
    where: Filter = EVERYTHING,
) -> list[list[Hit]]:
    """Finds the moments in the videos of an index that fit each text best, best first.

    A hit's path is relative to the indexed folder. Each call loads the model again;
    `own_videos.search.Searcher` keeps it, and also finds what is like a clip, a picture or a hit.

    Args:
      target: a folder made by `index`.
      texts: the queries.
      top_k: number of moments per text, at least 1.
      rerank: whether the matching head, if the system has one, re-ranks the most similar windows.
      where: condition that the videos must meet: their folder, the days of their last change.

    Raises:
      UserError: if there is no index, its weights are missing, or a text holds no word.
    """
    with jax.default_matmul_precision("highest"):
        return Searcher(target)(texts, top_k, rerank, where)


def convert(
    config: str | Config,
    source: Path,
    target: Path,
    settings: Settings | None = None,
    *,
    reverse: bool = False,
) -> None:
    """Converts PyTorch weights into our format, or back, as `tokmerge convert` does.

    Args:
      config: as in `load`; the configuration of the network.
      source: the weights: a .pth or .safetensors file, or a folder.
      target: the new folder; with `reverse`, a new .safetensors file.
      settings: as in `load`.
      reverse: convert our weights to PyTorch's names.

    Raises:
      UserError: if tensors do not fit (the message lists them), or `target` exists.
    """
    built = configuration(config, settings)
    conversion.convert(
        built,
        epath.Path(checkpoints.hub.local(path(source, "source"))),
        objects.place(path(target, "target")),
        reverse=reverse,
    )


def prepare(
    dataset: str,
    data: Path = "data",
    *,
    annotations: Path = "",
    videos: Path = "",
    splits: Sequence[str] = (),
    format: str = "",
    workers: int = 0,
) -> list[SplitReport]:
    """Checks the videos of a data set and stores it, as `tokmerge prepare` does.

    Worker processes import the caller's script again, so call this under `if __name__ ==
    "__main__":`.

    Args:
      dataset: its name, as configurations have it (`config.data.dataset`).
      data: the folder of the prepared data sets, as of `evaluate`.
      annotations: folder or file of the annotations, for "custom" a table of videos and texts; none
        for the demo, whose videos are drawn.
      videos: folder of the videos; none for the demo.
      splits: names of splits; by default "test", of actions "val", and all of the demo.
      format: the format of the annotations; "" chooses by the file names.
      workers: number of processes; 0 = one for each core.

    Returns:
      What the check found, a report for each split; none for the demo.

    Raises:
      UserError: as `tasks.preparation.prepare`.
    """
    return preparation.prepare(
        dataset,
        path(data, "data"),
        annotations=path(annotations, "annotations"),
        videos=path(videos, "videos"),
        splits=splits,
        format=format,
        workers=workers,
    )


def draw_clips(folder: Path, count: int) -> dict[str, str]:
    """Draws clips of moving shapes to try things on: path -> the caption that describes it.

    They are the first test clips of the demo, each followed by one with its two events in reverse
    order. Existing files stay.

    Args:
      folder: the folder of the clips; it is made.
      count: number of clips, at most 200.

    Raises:
      UserError: if `folder` is not a path, or there are fewer clips.
    """
    return preparation.draw_clips(path(folder, "folder"), count)


def list_configs(pattern: str = "*") -> list[str]:
    """The names of this package's configurations that match a pattern, such as "msrvtt*".

    Raises:
      UserError: if the pattern is not a string.
    """
    if not isinstance(pattern, str):
        raise UserError(f"pattern={pattern!r:.60} is not a string; give one such as 'msrvtt*'")
    return fnmatch.filter(files.names(), pattern)


def list_systems() -> list[str]:
    """The names of all systems."""
    return registry.names()


def configuration(
    config: str | Config,
    settings: Settings | None = None,
    *,
    checkpoint: Path = "",
    data: Path = "",
    output: Path = "",
) -> Config:
    """The configuration from which the other functions build systems; arguments as theirs.

    Raises:
      UserError: if the configuration or a key is unknown, or a value has another type.
    """
    paths = {
        "checkpoint": path(checkpoint, "checkpoint"),
        "data.folder": path(data, "data"),
        "output": path(output, "output"),
    }
    if not isinstance(config, str | Config):
        raise UserError(f"{config!r:.60} is not a configuration; give one, its name or its file")
    built = files.load(config) if isinstance(config, str) else config
    if not isinstance(settings, Mapping | None):
        raise UserError(f"settings={settings!r:.60} is not a mapping; give {{'KEY': VALUE}}")
    named = {key: place for key, place in paths.items() if place}
    return built.override({**(settings or {}), **named})


def _name(config: str | Config) -> str:
    """The name of a configuration's results."""
    return files.title(config) if isinstance(config, str) else config.system
