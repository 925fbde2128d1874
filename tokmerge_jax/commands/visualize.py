"""Draws which patches merged, their saliency, and accuracy against cost.

Examples:
  tokmerge visualize --config demo --clips 3
  tokmerge visualize --config msrvtt_b16 --config.checkpoint=CKPT \\
      --video dog.mp4 --video cat.mp4
  tokmerge visualize --curve results/plain,results/r100,results/r200 --output curve

`merging.png` shows frames of the gallery's first clips, the saliency at the first merge (for
mergers that use it), and the tokens after the last merge. For each --video, `NAME_merging.png`
shows all merging layers and the final token sizes; the .mp4 and .gif are animations. If whole
frames merge (TESTA), `frames_1.png` and so on, or `NAME_frames.png`, show which frames merged, and
the patch groups in the remaining ones. --curve plots the results' headline metric against GMAC and
clips/s, as PNG and PDF.
"""

from pathlib import Path

from absl import flags

from tokmerge_jax import command_line, objects, registry
from tokmerge_jax.tasks import pictures
from tokmerge_jax.types import UserError

_CLIPS = flags.DEFINE_integer(
    "clips", 3, "number of clips of the gallery", lower_bound=1, upper_bound=32
)
_VIDEOS = flags.DEFINE_multi_string("video", [], "a video to draw; may be repeated")
_CURVE = flags.DEFINE_list("curve", [], "results of tokmerge eval, joined by commas")
_OUTPUT = flags.DEFINE_string("output", "curve", "the curve's files, .png and .pdf")


def main(rest: list[str]) -> None:
    """Draws the requested pictures and prints where they are."""
    for picture in draw(rest):
        print(f"Drew {picture}")


def draw(rest: list[str]) -> list[Path]:
    """Draws the curve, the videos or the gallery, whichever is asked for."""
    if _CURVE.value:  # a shell's RESULTS* gives the flag one and leaves the others
        refuse("--curve", "config", "video", "clips")
        results = [objects.place(path) for path in [*_CURVE.value, *rest]]
        target = objects.local(objects.place(_OUTPUT.value), "pictures")
        return pictures.draw_curve(results, target)
    refuse("a picture of clips", "output")
    if _VIDEOS.value:
        refuse("--video", "clips")
    if rest:
        raise UserError(f"unknown argument {rest[0]!r}; options begin with --, see --help")
    config = command_line.config()
    system = registry.build(config)
    pictures.tracer(system)  # which refuses before a folder is created
    folder = objects.local(command_line.output(config), "pictures")
    if _VIDEOS.value:
        return pictures.draw_videos(system, [Path(path) for path in _VIDEOS.value], folder)
    return pictures.draw_gallery(system, folder, _CLIPS.value)


def refuse(what: str, *options: str) -> None:
    """Raises UserError for options that would have no effect."""
    for option in options:
        if flags.FLAGS[option].present:
            hint = "; the folder of pictures is --config.output" if option == "output" else ""
            raise UserError(f"{what} takes no --{option}{hint}; see --help")


def run() -> None:
    """Runs the command."""
    command_line.run_commands(main)
