"""Writes captions of your own videos.

Examples:
  python scripts/caption.py --config configs/testa_pretrain.py --config.checkpoint=CKPT \
      dog.mp4 cat.mp4
  python scripts/caption.py --config configs/testa_pretrain.py --config.checkpoint=CKPT \
      --output captions.json clips/*.mp4

A video is a file, or a folder of its frames as pictures with numbers; a folder of videos stands for
those in it and in folders below, and what is skipped there is counted. A caption's score is its
log-likelihood over its length. --output keeps captions as JSON, with how they were made. Videos
that cannot be decoded are named when the others have their captions; the script then exits with
code 2.

Keys that are often set (--config.KEY=VALUE):
  caption.beams         of the search; 1 follows the likeliest word piece
  caption.min_length    word pieces of a caption at least, its start and end included
  caption.max_length    as many at most
  caption.top_p         with beams=1: draw word pieces from a nucleus of this probability
  seed                  of the draws
  eval.batch_size       videos that are captioned at a time
"""

from absl import flags
from rich.table import Table
from rich.text import Text

from tokmerge_jax import command_line, registry
from tokmerge_jax.command_line import own_videos
from tokmerge_jax.own_videos import captions
from tokmerge_jax.system import Captioning
from tokmerge_jax.types import UserError

_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the captions")


def main(videos: list[str]) -> None:
    """Prints the caption of each video."""
    sources = own_videos.sources(videos)
    system = registry.build(command_line.config())
    captioning = system.task(Captioning)
    own_videos.check(system, _OUTPUT.value)
    captioning.tokenize([""])  # the vocabulary is there and fits
    written, faults = captions.write(system, captioning, sources)
    if written:
        own_videos.show(table(written))
        record = captions.record(system, command_line.config_name(), written)
        own_videos.keep(_OUTPUT.value, record, f"{len(written)} captions")
    if faults:
        raise UserError("\n".join(faults))


def table(written: captions.Captions) -> Table:
    """The captions for people."""
    shown = Table("video", "score", "caption")
    for video, (caption, score) in written.items():
        shown.add_row(Text(video, overflow="fold"), f"{score:.2f}", Text(caption))  # no markup
    return shown


if __name__ == "__main__":
    command_line.run_commands(main)
