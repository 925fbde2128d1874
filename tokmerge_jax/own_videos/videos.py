"""The user's own videos: finds their files and runs a system on each."""

import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from tokmerge_jax import checkpoints, hosts, parallel, runtime
from tokmerge_jax.data.video import folder, frame_folder
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.data.video.folder import FolderClips
from tokmerge_jax.evaluation import Model, report
from tokmerge_jax.evaluation.context import ahead
from tokmerge_jax.progress import Progress
from tokmerge_jax.system import System
from tokmerge_jax.types import Json, UserError

T = TypeVar("T")


def sources(videos: Sequence[str]) -> dict[str, str]:
    """Maps the path of each video, or the pattern of its frames, to its name.

    Args:
      videos: files, folders of videos, or folders of one video's frames; a folder that holds both
        counts as a folder of videos.

    Raises:
      UserError: if one is none of these; the message names all such.
    """
    by_video = {video: _sources(video) for video in videos}
    missing = [video for video, those in by_video.items() if not those]
    if missing:
        raise UserError("\n".join(map(_fault, missing)))
    return {path: name for those in by_video.values() for path, name in those.items()}


def _sources(video: str) -> dict[str, str]:
    """`sources` for one argument; {} if it is neither a video nor such a folder."""
    path = pathlib.Path(video)
    if not os.path.isdir(path):  # like isfile, False for names that no file can have
        return {str(path): video} if os.path.isfile(path) else {}
    if held := folder.listed(path):
        return {str(file): str(file) for file in held}
    pattern = frame_folder.pattern(path)
    return {str(path / pattern): video} if pattern else {}


def _fault(video: str) -> str:
    if os.path.isdir(video):
        return f"{video}: holds no video and no numbered pictures; name a video or its frames"
    return f"{video}: no such file; name a video"


def model(system: System) -> Model:
    """Loads the configuration's weights onto the devices."""
    params = checkpoints.load_checkpoint(system.config.checkpoint, system)
    return Model(params, parallel.make_mesh(**system.config.mesh.to_dict(), local=True))


def predictions(
    system: System,
    model: Model,
    predict: Callable[..., T],
    videos: Mapping[str, str],
    *,
    faults: dict[str, str],
    doing: str,
) -> Iterator[tuple[tuple[str, ...], T]]:
    """Yields (names, predictions) of this process's videos; further rows are padding.

    Args:
      system: the system, which defines how videos are decoded.
      model: the result of `model`.
      predict: a compiled function of uint8 [B,T,S,S,3], and int32 [B], places in `videos`.
      videos: the result of `sources`.
      faults: receives the name of each video that cannot be decoded, and a sentence.
      doing: label of the progress bar.
    """
    config = system.config
    size = parallel.batch_size(model.mesh, min(config.eval.batch_size, len(videos)))
    decode = decoder(config.data, system.pixels.frames, folder="")
    all_paths, place_of = [*videos], {path: np.int32(place) for place, path in enumerate(videos)}
    own = [all_paths[place] for place in hosts.share(np.arange(len(all_paths)))]
    clips = FolderClips(own, decode, system.pixels.transform, config.data.workers)
    done = len(videos) - len(own)
    with Progress(doing, len(videos), "video", done=done, compiles=True) as bar:

        def refuse(path: str, fault: str) -> None:
            faults[videos[path]] = fault
            bar.update()

        inputs = (
            (batch_paths, (video, np.resize([place_of[path] for path in batch_paths], len(video))))
            for batch_paths, video in clips.batches(size, refuse)
        )
        for batch_paths, predicted in ahead(predict, inputs):
            names = tuple(videos[path] for path in batch_paths)
            yield names, predicted
            bar.update(len(names))


def merged(videos: Mapping[str, str], own: Mapping[str, Json]) -> dict[str, Json]:
    """The values of all processes by name of the video, in the order of `videos`."""
    values = {name: value for part in hosts.gather(dict(own)) for name, value in part.items()}
    return {name: values[name] for name in videos.values() if name in values}


def facts(system: System, name: str) -> dict[str, Json]:
    """The settings that every prediction depends on, as JSON; `name` is the configuration's."""
    config = system.config
    return {
        "config": name,
        "checkpoint": report.file_name(config.checkpoint),
        "merger": config.model.merger.to_dict(),
        "frames": system.pixels.frames,
        "sampling": config.data.sampling,
        "trim_seconds": config.data.trim_seconds,
        "versions": runtime.versions(),
    }
