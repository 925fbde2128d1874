"""Draws which patches merged, their saliency, and accuracy against cost.

Examples:
  python scripts/visualize.py --config configs/demo.py --clips 3
  python scripts/visualize.py --config configs/msrvtt_b16.py --config.checkpoint=CKPT \\
      --video dog.mp4 --video cat.mp4
  python scripts/visualize.py --curve results/plain,results/r100,results/r200 --output curve

`merging.png` shows frames of the gallery's first clips, the saliency at the first merge (for
mergers that use it), and the tokens after the last merge. For each --video, `NAME_merging.png`
shows all merging layers and the final token sizes; the .mp4 and .gif are animations. If whole
frames merge (TESTA), `frames_1.png` and so on, or `NAME_frames.png`, show which frames merged, and
the patch groups in the remaining ones. --curve plots the results' headline metric against GMAC and
clips/s, as PNG and PDF.
"""

import itertools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from tokmerge_jax import command_line, registry, visualize
from tokmerge_jax.checkpoints import load_checkpoint
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.evaluation import report
from tokmerge_jax.signatures import TraceVideo
from tokmerge_jax.system import System
from tokmerge_jax.tasks import evaluation
from tokmerge_jax.types import Actions, Gallery, Params, UserError
from tokmerge_jax.visualize import curve

_CLIPS = flags.DEFINE_integer(
    "clips", 3, "number of clips of the gallery", lower_bound=1, upper_bound=32
)
_VIDEOS = flags.DEFINE_multi_string("video", [], "a video to draw; may be repeated")
_CURVE = flags.DEFINE_list("curve", [], "results of scripts/eval.py, joined by commas")
_OUTPUT = flags.DEFINE_string("output", "curve", "the curve's files, without .png and .pdf")

_RATE = 2  # frames per second of the animations


def main(rest: list[str]) -> None:
    """Draws the requested pictures and prints where they are."""
    if _CURVE.value:  # a shell's RESULTS* gives the flag one and leaves the others
        refuse("--curve", "config", "video", "clips")
        draw_curve([pathlib.Path(path) for path in [*_CURVE.value, *rest]])
        return
    refuse("a picture of clips", "output")
    if _VIDEOS.value:
        refuse("--video", "clips")
    if rest:
        raise UserError(f"unknown argument {rest[0]!r}; options begin with --, see --help")
    config = command_line.config()
    system = registry.build(config)
    tracer(system)
    (draw_videos if _VIDEOS.value else draw_gallery)(system, command_line.output(config))


def refuse(what: str, *options: str) -> None:
    """Raises UserError for options that would have no effect."""
    for option in options:
        if flags.FLAGS[option].present:
            hint = "; the folder of pictures is --config.output" if option == "output" else ""
            raise UserError(f"{what} takes no --{option}{hint}; see --help")


def tracer(system: System) -> TraceVideo:
    """The system's trace function; raises UserError without weights, or without merges to draw."""
    if not system.config.checkpoint:
        raise UserError("config.checkpoint is empty; name the weights, --config.checkpoint=FILE")
    if all(layer.tokens_in == layer.tokens_out for layer in system.merging.cost):
        raise UserError(
            "this configuration merges no tokens, so there is nothing to draw; set"
            " config.model.merger.name and config.model.merger.r"
        )
    if system.trace_video is None:
        raise UserError(
            "merging patches can be traced only with config.model.vision.attention=divided; set it"
            " to draw them"
        )
    return system.trace_video


def draw_gallery(system: System, folder: pathlib.Path) -> None:
    """Draws the first clips of the configuration's gallery."""
    config = system.config
    source = evaluation.open_source(system)
    params = load_checkpoint(config.checkpoint, system)
    batches = itertools.islice(source.batches(system.pixels.transform, 1), _CLIPS.value)
    clips = [first_view(system, np.asarray(batch["video"][0])) for batch in batches]
    merged = traced(system, params, clips)
    rows = [visualize.overview(*pair) for pair in zip(clips, merged, strict=True)]
    titles = [title(source.gallery, place) for place in range(len(clips))]
    path = folder / "merging.png"
    visualize.figure(rows, titles).savefig(path)
    print(f"Drew {len(clips)} clips in {path}")
    for place, pair in enumerate(zip(clips, merged, strict=True)):
        draw_film(*pair, titles[place], folder / f"frames_{place + 1}.png")


def first_view(system: System, clip: np.ndarray) -> np.ndarray:
    """The frames of a clip in which tokens merge: the middle neighbours of the first view."""
    count = system.config.data.neighbours
    return clip[: system.pixels.frames * count][count // 2 :: count]


def draw_film(
    clip: np.ndarray, merged: Sequence[visualize.Merge], name: str, target: pathlib.Path
) -> None:
    """Draws which whole frames of a clip merged, if any did; removes an older picture."""
    target.unlink(missing_ok=True)
    frames = merged[-1].frames
    if frames is not None and len(np.unique(frames)) < len(frames):
        visualize.film(clip, merged[-1], name).savefig(target)
        print(f"Drew which frames merged in {target}")


def draw_videos(system: System, folder: pathlib.Path) -> None:
    """Draws the merging layers of each --video, also as animations."""
    config = system.config
    videos = targets([pathlib.Path(path) for path in _VIDEOS.value], folder)
    decode = decoder(config.data, system.pixels.frames, folder="")
    clips = [first_view(system, system.pixels.transform(decode(str(path)))) for path in videos]
    params = load_checkpoint(config.checkpoint, system)
    merged = traced(system, params, clips)
    for clip, layers, (path, target) in zip(clips, merged, videos.items(), strict=True):
        drawn = visualize.figure([visualize.details(clip, layers)], [path.name])
        drawn.savefig(target.with_suffix(".png"))
        draw_film(clip, layers, path.name, folder / f"{path.stem}_frames.png")
        frames = visualize.panels(visualize.playing(clip, layers))
        visualize.write_mp4(target.with_suffix(".mp4"), frames, _RATE)
        visualize.write_gif(target.with_suffix(".gif"), frames, _RATE)
        print(f"Drew {path} in {target}, .mp4 and .gif")


def targets(
    videos: Sequence[pathlib.Path], folder: pathlib.Path
) -> dict[pathlib.Path, pathlib.Path]:
    """Maps each video to the path of its picture.

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


def traced(
    system: System, params: Params, clips: Sequence[np.ndarray]
) -> list[tuple[visualize.Merge, ...]]:
    """Traces the merging layers of each clip, whose frames are squares of patches."""
    names = [cost.name for cost in system.merging.cost if cost.tokens_out < cost.tokens_in]
    layers = [name.replace("_", " ") for name in names]
    trace_video = jax.jit(tracer(system))
    merged = []
    for clip in clips:
        trace = jax.device_get(trace_video(params, clip[None]))
        side = math.isqrt(trace["origin"][0].shape[1] // len(clip))
        merged.append(visualize.merges(trace, 0, (len(clip), side, side), layers))
    return merged


def draw_curve(paths: Sequence[pathlib.Path]) -> None:
    """Plots the runs' headline metric against their cost.

    Raises:
      UserError: if the runs cannot be compared.
    """
    runs = {str(path): report.read(path) for path in paths}
    report.check_same(runs)
    results = list(runs.values())
    target = pathlib.Path(_OUTPUT.value)
    target.parent.mkdir(parents=True, exist_ok=True)
    curve.save(curve.draw(results), target)
    print(f"Drew {len(results)} runs in {target}.png and {target}.pdf")


def title(gallery: Any, place: int) -> str:
    """The title of a clip: its first caption, its action, or its name."""
    if isinstance(gallery, Actions):
        return gallery.names[gallery.labels[place]]
    if not isinstance(gallery, Gallery):
        return gallery.videos[place]
    captions = zip(gallery.texts, gallery.relevant, strict=True)
    return next(text for text, videos in captions if place in videos)


if __name__ == "__main__":
    command_line.run_commands(main)
