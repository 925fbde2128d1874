"""Frames written as videos: the same frames back, and the same files from every process."""

import hashlib
import subprocess
import sys

import av
import chex
import numpy as np
import pytest
from clips import draw

from tokmerge_jax import video_file
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene

WRITES = """
import hashlib, pathlib, sys
from tokmerge_jax import video_file
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene

path = pathlib.Path(sys.argv[1])
frames = scene.draw(demo.stories("test")[0], (2, 0))
for _ in range(2):
    video_file.write(path, frames, 8, video_file.h264("veryfast"), threads=1)
    print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


def decoded(path):
    """The frames of a video, and its number of frames per second."""
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames), rate


def test_lossless_frames_come_back(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)  # of odd sizes
    video_file.write(tmp_path / "any name", frames, 25, video_file.LOSSLESS)
    again, rate = decoded(tmp_path / "any name")
    assert rate == 25
    chex.assert_trees_all_equal(again, frames)


def test_h264_is_near(tmp_path):
    frames = draw(6, 32, 48)
    video_file.write(tmp_path / "a.mp4", frames, 8, video_file.h264("medium"))
    again, rate = decoded(tmp_path / "a.mp4")
    assert rate == 8
    chex.assert_equal_shape([again, frames])
    assert np.abs(again.astype(float) - frames).mean() < 4


@pytest.mark.slow
def test_equal_files_from_every_process(tmp_path):
    """With x264's macroblock tree, the first file of a process differs from the next."""
    path, frames = tmp_path / "a.mp4", scene.draw(demo.stories("test")[0], (2, 0))
    video_file.write(path, frames, 8, video_file.h264("veryfast"), threads=1)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest()}
    for _ in range(2):
        digests |= {
            *subprocess.run(
                [sys.executable, "-c", WRITES, tmp_path / "b.mp4"],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout.split()
        }
    assert len(digests) == 1
