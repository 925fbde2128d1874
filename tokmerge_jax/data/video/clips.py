"""Decodes clips: the sampled frames of a video, by a configuration's rules."""

import dataclasses
import pathlib

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax.config.common import ActionData, Data
from tokmerge_jax.data.sampling.frames import SAMPLERS, Sampler, Span, by_intervals
from tokmerge_jax.data.sampling.segments import Segments
from tokmerge_jax.data.video.decode import open_video, read_chosen
from tokmerge_jax.data.video.frame_folder import is_pattern
from tokmerge_jax.signatures import Transform
from tokmerge_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Reads the sampled frames of the video at a path.

    Attributes:
      folder: the folder that relative paths start from.
      frames: T, number of frames requested from `choose`.
      seconds: length of the beginning to sample from, in seconds; 0 = the whole video.
      choose: selects the frame numbers; picklable.
      size: edge in pixels that FFmpeg scales frames to while decoding; 0 = no scaling.
      most: number of frames that a file may have; 0 = any.

    Raises:
      UserError: if `size` is below 0.
    """

    folder: str
    frames: int
    seconds: int | float
    choose: Sampler = by_intervals
    size: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise UserError(f"config.data.decode_size={self.size} must be 0 or more")

    def name(self, path: str) -> str:
        """The full path, by which messages name a video."""
        return str(pathlib.Path(self.folder, path))

    def __call__(
        self, path: str, rng: np.random.Generator | None = None
    ) -> UInt8[np.ndarray, "T H W 3"]:
        """Returns the RGB frames that `choose` selects; `rng` is given in training.

        Raises:
          UserError: if the video is missing or cannot be decoded; the message names it.
        """
        choose = self.choose
        if isinstance(choose, Segments) and is_pattern(path):
            choose = choose.for_folders()
        with open_video(self.name(path), self.size, self.most) as video:

            def chosen(length: int) -> list[int]:
                return choose(Span(length, video.rate, self.seconds), self.frames, rng).tolist()

            return read_chosen(video, chosen)


@dataclasses.dataclass(frozen=True)
class ClipReader:
    """Decodes and transforms the video at a path.

    Attributes:
      decoder: reads the frames of a path.
      transform: frames uint8 [T,H,W,3] -> [T,S,S,3].
    """

    decoder: Decoder
    transform: Transform

    def __call__(self, path: str) -> np.ndarray:
        """Returns the clip of a video."""
        return self.transform(self.decoder(path))


def decoder(config: Data, frames: int, folder: str) -> Decoder:
    """Builds the decoder that the `data` part of a configuration describes.

    Args:
      config: the `data` part.
      frames: T, number of frames.
      folder: the folder that relative paths start from.

    Raises:
      UserError: if its sampling is unknown or one of its numbers is out of range.
    """
    if isinstance(config, ActionData):
        sampler = Segments(config.sampling, config.clips, config.neighbours, config.wrap)
    elif config.sampling in SAMPLERS:
        sampler = SAMPLERS[config.sampling]
    else:
        raise UserError(
            f"config.data.sampling={config.sampling!r} is unknown; known: {', '.join(SAMPLERS)}"
        )
    return Decoder(folder, frames, config.trim_seconds, sampler, config.decode_size)
