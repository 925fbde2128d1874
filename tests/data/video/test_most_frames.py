"""The number of frames that a file of a stranger may have."""

import clips
import numpy as np
import pytest
from PIL import Image

from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.data.video.decode import open_video
from tokmerge_jax.types import UserError


@pytest.mark.parametrize("name", ["film.mp4", "film.gif"])
def test_a_file_has_at_most_as_many_frames_as_are_allowed(tmp_path, name):
    path, frames = tmp_path / name, clips.draw(20, 16, 16)
    if name.endswith(".gif"):
        first, *others = map(Image.fromarray, frames)
        first.save(path, save_all=True, append_images=others, duration=40)
    else:
        clips.write(path, frames)
    for most in (0, 20):
        with open_video(path, most=most) as opened:
            assert opened.length == 20
    np.testing.assert_array_equal(
        Decoder("", 4, 0, most=20)(str(path)), Decoder("", 4, 0)(str(path))
    )
    with pytest.raises(UserError, match=f"{name} has over 19 frames; shorten it"):
        Decoder("", 4, 0, most=19)(str(path))


def test_a_picture_is_one_frame(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(clips.draw(1, 16, 16)[0]).save(path)
    with open_video(path, most=1) as opened:
        assert opened.length == 1
