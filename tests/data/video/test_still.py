"""One frame of a video, as a picture."""

import numpy as np
import pytest
from clips import draw, write

from tokmerge_jax.data.video.still import frame_near
from tokmerge_jax.types import UserError

FRAMES = draw(40, 48, 64)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """40 frames, 25 a second."""
    return write(tmp_path_factory.mktemp("still") / "a.mp4", FRAMES)


@pytest.mark.parametrize(
    ("seconds", "number"), [(0.0, 0), (0.5, 12), (0.51, 12), (1.4, 35), (100.0, 39), (1e12, 39)]
)
def test_the_frame_that_is_shown_at_a_time(clip, seconds, number):
    picture = frame_near(str(clip), seconds, width=1000)
    assert picture.shape == FRAMES[0].shape  # never enlarged
    distance = np.abs(FRAMES.astype(int) - picture).mean(axis=(1, 2, 3))
    assert distance.argmin() == number


def test_a_picture_has_the_width_that_is_asked_for(clip):
    assert frame_near(str(clip), 0.0, width=32).shape == (24, 32, 3)


def test_a_file_that_is_no_video_is_named(tmp_path):
    (tmp_path / "a.mp4").write_text("text")
    for name in ("a.mp4", "none.mp4"):
        with pytest.raises(UserError, match=rf"{name}: cannot be decoded"):
            frame_near(str(tmp_path / name), 0.0, width=32)
