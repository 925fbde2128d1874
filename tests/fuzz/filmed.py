"""Videos in every container, read as preparation, evaluation and training read them."""

import pathlib

import numpy as np

from tests.support import clips
from tokmerge_jax.data.sampling.frames import SAMPLERS
from tokmerge_jax.data.sampling.segments import Segments
from tokmerge_jax.data.video.checking import check_video
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.types import UserError

_FILES = {
    "h264.mp4": "libx264",
    "hevc.mp4": "libx265",
    "mpeg4.mp4": "mpeg4",
    "h264.mkv": "libx264",
    "ffv1.mkv": "ffv1",
    "vp8.webm": "libvpx",
    "vp9.webm": "libvpx-vp9",
    "mpeg4.avi": "mpeg4",
    "mjpeg.avi": "mjpeg",
    "h264.ts": "libx264",
    "mpeg2.ts": "mpeg2video",
    "mpeg1.mpg": "mpeg1video",
    "mpeg2.mpg": "mpeg2video",
}
"""File -> codec; of six containers."""

_OPTIONS = {
    "libx264": {"crf": "30", "preset": "veryfast"},
    "libx265": {"x265-params": "log-level=none:pools=1"},
    "mjpeg": {"strict": "-1"},
    "libvpx": {"auto-alt-ref": "1", "lag-in-frames": "8", "deadline": "realtime"},
}
_FRAMES = (2, 12)
_RULES = (*SAMPLERS.values(), Segments("segments", 2, 3, True), Segments("windows", 1, 1, False))


def make(folder: pathlib.Path) -> None:
    """A video of 30 frames in each."""
    for name, codec in _FILES.items():
        (folder / name).mkdir(parents=True)
        b_frames = 2 if codec in ("libx264", "mpeg2video") else 0
        clips.write(
            folder / name / name,
            clips.draw(30, 48, 64),
            codec=codec,
            b_frames=b_frames,
            options=_OPTIONS.get(codec, {}),
        )


def read(case: pathlib.Path, good: pathlib.Path) -> None:
    """Checks that every rule samples a usable video, in evaluation and in training."""
    del good
    path = next(file for file in case.iterdir() if file.is_file())
    fault = check_video(str(path))
    for rule in _RULES:
        for frames in _FRAMES:
            for rng in (None, np.random.default_rng(0)):
                try:
                    clip = Decoder("", frames, 0, rule)(str(path), rng)
                except UserError as error:
                    if not fault:
                        raise AssertionError(f"its check passed, but: {error}") from error
                    continue
                assert clip.ndim == 4
                assert len(clip)
    if fault:
        raise UserError(f"{path}: {fault}")
