"""Draws which tokens merged in clips, and the metric of evaluations against their cost."""

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy as np

from tokmerge_jax import visualize
from tokmerge_jax.checkpoints import load_checkpoint
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.evaluation import report
from tokmerge_jax.merging import merge
from tokmerge_jax.objects import Place
from tokmerge_jax.signatures import TraceVideo
from tokmerge_jax.system import System
from tokmerge_jax.tasks import evaluation
from tokmerge_jax.tasks.kinds import AnyGallery
from tokmerge_jax.types import Actions, Gallery, Params, UserError
from tokmerge_jax.visualize import curve

_RATE = 2  # frames per second of the animations


def tracer(system: System) -> TraceVideo:
    """The system's trace function; raises UserError without weights, or without merges to draw."""
    if not system.config.checkpoint:
        raise UserError("config.checkpoint is empty; name the weights, --config.checkpoint=FILE")
    if all(layer.tokens_in == layer.tokens_out for layer in system.merging.cost):
        raise UserError(
            "this configuration merges no tokens, so there is nothing to draw; set"
            " config.model.merger.name and config.model.merger.r"
        )
    if system.merging.drops:
        raise UserError(merge.DROPPED)
    if system.trace_video is None:
        raise UserError(
            "merging patches can be traced only with config.model.vision.attention=divided; set it"
            " to draw them"
        )
    return system.trace_video


def draw_gallery(system: System, folder: Path, clips: int) -> list[Path]:
    """Draws how tokens merge in the first clips of the configuration's data set.

    Args:
      system: a system with a merger, whose configuration names the weights.
      folder: an existing folder for the pictures.
      clips: number of clips to draw.

    Returns:
      The pictures: `merging.png` and, where whole frames merged, `frames_1.png` and so on.

    Raises:
      UserError: if there are no weights or no merges to draw, or something is missing.
    """
    tracer(system)  # refuses before anything is read
    source = evaluation.open_source(system)
    params = load_checkpoint(system.config.checkpoint, system)
    batches = itertools.islice(source.batches(system.pixels.transform, 1), clips)
    shown = [_first_view(system, np.asarray(batch["video"][0])) for batch in batches]
    merged = merges(system, params, shown)
    titles = [_title(source.gallery, place) for place in range(len(shown))]
    pictures = [folder / "merging.png"]
    rows = [visualize.overview(*pair) for pair in zip(shown, merged, strict=True)]
    visualize.figure(rows, titles).savefig(pictures[0], dpi=visualize.PRINT)
    for place, title in enumerate(titles):
        target = folder / f"frames_{place + 1}.png"
        pictures += _draw_film(shown[place], merged[place], title, target)
    return pictures


def draw_videos(system: System, videos: Sequence[Path], folder: Path) -> list[Path]:
    """Draws how tokens merge in videos of the user's own, also as animations.

    Args:
      system: a system with a merger, whose configuration names the weights.
      videos: the videos.
      folder: an existing folder for the pictures.

    Returns:
      The pictures of each video: `NAME_merging.png`, .mp4 and .gif, and, where whole frames merged,
      `NAME_frames.png`.

    Raises:
      UserError: as in `draw_gallery`; also if two videos would share a picture, a picture would
        replace a video, or a video cannot be decoded.
    """
    tracer(system)  # refuses before anything is read
    targets = _targets(videos, folder)
    decode = decoder(system.config.data, system.pixels.frames, folder="")
    clips = [_first_view(system, system.pixels.transform(decode(str(path)))) for path in targets]
    params = load_checkpoint(system.config.checkpoint, system)
    merged = merges(system, params, clips)
    pictures = []
    for clip, layers, (path, target) in zip(clips, merged, targets.items(), strict=True):
        drawn = visualize.figure([visualize.details(clip, layers)], [path.name])
        drawn.savefig(target, dpi=visualize.PRINT)
        frames = visualize.panels(visualize.animation_rows(clip, layers))
        mp4, gif = target.with_suffix(".mp4"), target.with_suffix(".gif")
        visualize.write_mp4(mp4, frames, _RATE)
        visualize.write_gif(gif, frames, _RATE)
        pictures += [target, mp4, gif]
        pictures += _draw_film(clip, layers, path.name, folder / f"{path.stem}_frames.png")
    return pictures


def draw_curve(paths: Sequence[Place], target: Path) -> list[Path]:
    """Plots the headline metric of evaluations against their cost, as PNG and PDF.

    Args:
      paths: the folders of the evaluations, or their results.json.
      target: the pictures' path; .png or .pdf at its end is left out, and its folder is created.

    Raises:
      UserError: if the evaluations cannot be compared, or `target` has no name.
    """
    if not target.name:
        raise UserError("the curve's --output is empty; name its files without .png and .pdf")
    if target.suffix in (".png", ".pdf"):
        target = target.with_suffix("")
    runs = {str(path): report.read(path) for path in paths}
    report.check_same(runs)
    target.parent.mkdir(parents=True, exist_ok=True)
    curve.save(curve.draw(list(runs.values())), target)
    return [Path(f"{target}{suffix}") for suffix in (".png", ".pdf")]


def merges(
    system: System, params: Params, clips: Iterable[np.ndarray]
) -> list[tuple[visualize.Merge, ...]]:
    """Traces the merging layers of each clip, whose frames are squares of patches.

    Raises:
      UserError: as `tracer`.
    """
    costs = [layer for layer in system.merging.cost if layer.tokens_out < layer.tokens_in]
    layers = [layer.name.replace("_", " ") for layer in costs]
    traced = jax.jit(tracer(system))
    merged = []
    for clip in clips:
        trace = jax.device_get(traced(params, clip[None]))
        side = math.isqrt(trace["origin"][0].shape[1] // len(clip))
        merged.append(visualize.merges(trace, 0, (len(clip), side, side), layers))
    return merged


def _first_view(system: System, clip: np.ndarray) -> np.ndarray:
    """The frames of a clip in which tokens merge: the middle neighbours of the first view."""
    count = system.config.data.neighbours
    return clip[: system.pixels.frames * count][count // 2 :: count]


def _draw_film(
    clip: np.ndarray, layers: Sequence[visualize.Merge], name: str, target: Path
) -> list[Path]:
    """Draws which whole frames of a clip merged, if any did; removes an older picture."""
    target.unlink(missing_ok=True)
    frames = layers[-1].frames
    if frames is None or len(np.unique(frames)) == len(frames):
        return []
    visualize.film(clip, layers[-1], name).savefig(target)
    return [target]


def _targets(videos: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Maps each video to the path of its picture, NAME_merging.png.

    Raises:
      UserError: if two videos would share a picture, or a picture would replace a video.
    """
    pictures = {video: folder / f"{video.stem}_merging.png" for video in videos}
    for video, target in pictures.items():
        others = [other for other in pictures if other != video and pictures[other] == target]
        if others:
            raise UserError(f"{video} and {others[0]} have the same name; draw them in two runs")
        for suffix in (".mp4", ".gif"):
            if target.with_suffix(suffix).resolve() in (other.resolve() for other in videos):
                raise UserError(
                    f"the pictures of {video} would replace {target.with_suffix(suffix)}, which is"
                    " a --video too; choose another --config.output"
                )
    return pictures


def _title(gallery: AnyGallery, place: int) -> str:
    """The title of a clip: its first caption, its action, or its name."""
    if isinstance(gallery, Actions):
        return gallery.names[gallery.labels[place]]
    if not isinstance(gallery, Gallery):
        return gallery.videos[place]
    captions = zip(gallery.texts, gallery.relevant, strict=True)
    return next(text for text, videos in captions if place in videos)
