"""Draws which patches became one token, and what was salient, in the first clips of a gallery.

Example:
  python scripts/visualize.py --config configs/demo.py --clips 3

The picture is `merging.png` in the configuration's output: for each clip its frames, the saliency
that its first merge went by (of mergers that have one), and its tokens after the last merge.
"""

import itertools
import math

import common
import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from tokmerge_jax import convert, data, registry, visualize
from tokmerge_jax.types import Gallery, System, UserError

_CLIPS = flags.DEFINE_integer("clips", 3, "how many clips to draw", lower_bound=1)


def main(config: ConfigDict) -> None:
    """Encodes the clips, draws them and says where the picture is."""
    system = registry.build(config)
    check(system)
    source = data.open_retrieval(config.data, system.constants["frames"])
    params = convert.load_checkpoint(config.checkpoint, system)
    clips, layers = [], []
    trace_video = jax.jit(system.predict["trace_video"])
    count = min(_CLIPS.value, len(source.gallery.videos))
    for batch in itertools.islice(source.batches(system.transform, 1), count):
        clip = np.asarray(batch["video"][0])
        clips.append(clip)
        layers.append(merges(jax.device_get(trace_video(params, batch["video"])), len(clip)))
    path = common.output(config) / "merging.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    titles = [title(source.gallery, place) for place in range(count)]
    visualize.figure(clips, layers, titles).savefig(path, dpi=120)
    print(f"Drew {count} clips in {path}")


def check(system: System) -> None:
    """Raises UserError unless there are weights and merges to draw."""
    if not system.config.checkpoint:
        raise UserError("config.checkpoint is empty; name the weights, --config.checkpoint=FILE")
    if all(layer.tokens_in == layer.tokens_out for layer in system.cost):
        raise UserError(
            "this configuration merges no tokens, so there is nothing to draw; set"
            " config.model.merger.name and config.model.merger.r"
        )


def merges(trace: dict, frames: int) -> tuple[visualize.Merge, ...]:
    """The merging layers of a traced batch of one clip; its frames are squares of patches."""
    side = math.isqrt(trace["origin"][0].shape[1] // frames)
    return visualize.merges(trace, 0, (frames, side, side))


def title(gallery: Gallery, place: int) -> str:
    """The video's first caption."""
    captions = zip(gallery.texts, gallery.relevant, strict=True)
    return next(text for text, videos in captions if place in videos)


if __name__ == "__main__":
    common.run(main)
