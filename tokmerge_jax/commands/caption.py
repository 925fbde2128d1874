"""Writes captions for your own videos.

Examples:
  tokmerge caption --config testa_pretrain --config.checkpoint=CKPT \\
      dog.mp4 cat.mp4
  tokmerge caption --config testa_pretrain --config.checkpoint=CKPT \\
      --output captions.json clips/*.mp4

A video is a file, or a folder of its frames as numbered pictures; a folder of videos stands for the
videos in it and in its subfolders, and the number of skipped files is reported. A caption's score
is its log-likelihood divided by its length. --output writes the captions and their settings as
JSON. Videos that cannot be decoded are listed after the captions of the others; the script then
exits with code 2.

Keys that are often set (--config.KEY=VALUE):
  caption.beams         number of beams; 1 = greedy decoding
  caption.min_length    smallest number of word pieces, including start and end
  caption.max_length    largest number of word pieces, including start and end
  caption.top_p         with beams=1: sample word pieces from a nucleus of this probability
  seed                  seed of the sampling
  eval.batch_size       number of videos captioned at a time
"""

from absl import flags
from rich.table import Table
from rich.text import Text

from tokmerge_jax import command_line
from tokmerge_jax.command_line import own_videos
from tokmerge_jax.own_videos import captions
from tokmerge_jax.system import Captioning
from tokmerge_jax.tasks import kept

_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the captions")


def main(videos: list[str]) -> None:
    """Prints the caption of each video."""
    sources = own_videos.sources(videos)
    system = kept.build(command_line.config())
    captioning = system.task(Captioning)
    own_videos.check(system, _OUTPUT.value)
    captioning.tokenize([""])  # checks that the vocabulary exists and fits
    written, faults = captions.write(system, captioning, sources)
    if written:
        own_videos.show(table(written))
        record = captions.record(system, command_line.config_name(), written)
        own_videos.keep(_OUTPUT.value, record, f"{len(written)} captions")
    own_videos.refuse(faults)


def table(written: captions.Captions) -> Table:
    """A table of the captions."""
    shown = Table("video", "score", "caption")
    for video, (caption, score) in written.items():
        shown.add_row(Text(video, overflow="fold"), f"{score:.2f}", Text(caption))  # no markup
    return shown


def run() -> None:
    """Runs the command."""
    command_line.run_commands(main, several=True)
