"""Videos that a command line names: which they are, what a system says of each, how it is kept."""

import contextlib
import io
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import common
import numpy as np
import rich
from rich.table import Table

from tokmerge_jax import convert, disk, parallel, runtime
from tokmerge_jax.data import folder, frame_folder
from tokmerge_jax.data.clips import decoder
from tokmerge_jax.data.folder import Clips
from tokmerge_jax.evaluation import Model, report
from tokmerge_jax.evaluation.context import ahead
from tokmerge_jax.progress import Progress
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError

T = TypeVar("T")


def sources(videos: Sequence[str]) -> dict[str, str]:
    """What to decode for each video: its path, or the pattern of its frames -> its name.

    Args:
      videos: files, folders of videos, or folders of one video's frames; a folder that holds both
        is one of videos.

    Raises:
      UserError: if there is none, or naming those that are nothing of the kind.
    """
    if not videos:
        script = pathlib.Path(sys.argv[0]).name
        raise UserError(f"no video is named: {script} --config CONFIG a.mp4 b.mp4, see --help")
    found = {video: _sources(video) for video in videos}
    missing = [video for video, those in found.items() if not those]
    if missing:
        raise UserError("\n".join(map(_fault, missing)))
    return {path: name for those in found.values() for path, name in those.items()}


def _sources(video: str) -> dict[str, str]:
    """As `sources`, of one argument; {} if it is nothing of the kind."""
    path = pathlib.Path(video)
    if not os.path.isdir(path):  # as isfile, also False of names that no file can have
        return {str(path): video} if os.path.isfile(path) else {}
    if held := folder.listed(path):
        return {str(file): str(file) for file in held}
    pattern = frame_folder.pattern(path)
    return {str(path / pattern): video} if pattern else {}


def _fault(video: str) -> str:
    if os.path.isdir(video):
        return f"{video}: holds no video, and no pictures with numbers; name a video or its frames"
    return f"{video}: no such file; name a video"


def check(system: System, output: str) -> None:
    """Raises UserError if videos cannot be read, or their results not be kept, as asked."""
    data = system.config.data
    if data.workers < 0:
        raise UserError(f"config.data.workers={data.workers} must be 0 or more")
    decoder(data, system.pixels.frames, folder="")  # its settings can be
    if output and not os.path.isdir(os.path.dirname(os.path.abspath(output))):
        raise UserError(f"--output={output} lies in no folder that is there; make it first")
    if output:
        with disk.explained(output), contextlib.suppress(FileNotFoundError):
            os.lstat(f"{output}.part")  # its name may be too long


def model(system: System) -> Model:
    """The system with the configuration's weights, on its devices."""
    params = convert.load_checkpoint(system.config.checkpoint, system)
    return Model(params, parallel.make_mesh(system.config.mesh.to_dict()))


def told(
    system: System,
    model: Model,
    predict: Callable[[np.ndarray], T],
    videos: Mapping[str, str],
    faults: list[str],
    doing: str,
) -> Iterator[tuple[tuple[str, ...], T]]:
    """Names of videos, and what is predicted of them; rows beyond these only pad.

    Args:
      system: says how videos are decoded.
      model: of `model`.
      predict: of uint8 [B,T,S,S,3], compiled.
      videos: of `sources`.
      faults: is told what is wrong with the others.
      doing: what the progress bar says.
    """
    config = system.config
    size = parallel.batch_size(model.mesh, min(config.eval.batch_size, len(videos)))
    decode = decoder(config.data, system.pixels.frames, folder="")
    clips = Clips([*videos], decode, system.pixels.transform, config.data.workers)
    with Progress(doing, len(videos), "video", compiles=True) as bar:

        def refuse(_: str, fault: str) -> None:
            faults.append(fault)
            bar.update()

        inputs = ((paths, (video,)) for paths, video in clips.batches(size, refuse))
        for paths, found in ahead(predict, inputs):
            yield tuple(videos[path] for path in paths), found
            bar.update(len(paths))


def facts(system: System) -> dict[str, Any]:
    """What every prediction depends on, as JSON holds it."""
    config = system.config
    return {
        "config": common.config_name(),
        "checkpoint": report.file_name(config.checkpoint),
        "merger": config.model.merger.to_dict(),
        "frames": system.pixels.frames,
        "sampling": config.data.sampling,
        "trim_seconds": config.data.trim_seconds,
        "versions": runtime.versions(),
    }


def show(table: Table) -> None:
    """Prints a table; names of files in it may be no text."""
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(errors="backslashreplace")
    rich.print(table)


def keep(output: str, found: Mapping[str, Any], what: str) -> None:
    """Writes what was found, `what` in words, into a file, if one is named."""
    if not output:
        return
    runtime.write_text(pathlib.Path(output), json.dumps(found, indent=2) + "\n")
    print(f"{what} are in {output}")
