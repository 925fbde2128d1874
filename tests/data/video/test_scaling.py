"""Scaling while decoding: as decord asks FFmpeg for it, in any order of sizes and turns."""

from fractions import Fraction

import av
import clips
import numpy as np
import pytest
from av.filter import Graph

from tokmerge_jax.config import testa
from tokmerge_jax.data.pixels import umt
from tokmerge_jax.data.video import decode, scaling
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.types import UserError


def procedure(frame, size, *steps):
    """What decord (0.6) asks FFmpeg for: a filter graph of these steps, scaling bilinearly."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    middle = ":in_h_chr_pos=128:in_v_chr_pos=128" if frame.format.name == "yuv420p" else ""
    scale = graph.add("scale", f"{size}:{size}:flags=bilinear{middle}")
    turns = (graph.add("transpose", step) for step in steps)
    sink = graph.add("buffersink")
    graph.link_nodes(source, *turns, scale, graph.add("format", "rgb24"), sink).configure()
    graph.vpush(frame)
    return graph.vpull().to_ndarray()


@pytest.mark.parametrize("size", [(48, 64), (51, 67)], ids=["even", "odd"])
def test_frames_are_scaled_as_decord_scales_them(tmp_path, size):
    noise = np.random.default_rng(0).integers(0, 90, (9, *size, 3))
    path = clips.write(tmp_path / "noisy.mp4", (clips.draw(9, *size) // 2 + noise).astype(np.uint8))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    for edge in (32, 80):  # smaller and larger
        with decode.open_video(path, edge) as opened:
            computed = opened.read([7, 2, 7])
        expected = [procedure(frames[i], edge) for i in (7, 2, 7)]
        np.testing.assert_array_equal(computed, expected)
        resized = umt.resize(clips.decode_all(path)[[7]], edge)
        assert np.abs(computed[:1].astype(int) - resized).mean() > 2
    plain = frames[7].reformat(80, 80, "rgb24", interpolation="BILINEAR").to_ndarray()
    subsampled = frames[7].format.name == "yuv420p"  # plainly, its chroma is taken to lie leftwards
    assert np.array_equal(computed[0], plain) == (not subsampled)


def test_where_a_stream_says_that_chroma_lies_does_not_count(tmp_path):
    drawn, frames = clips.draw(3, 48, 64), []
    for place in (0, 1, 2):  # left, centre, top left
        options = {"x264-params": f"chromaloc={place}"}
        path = clips.write(tmp_path / f"chroma_{place}.mp4", drawn, options=options)
        with decode.open_video(path, 32) as opened:
            frames.append(opened.read([1]))
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[0], frames[2])


def test_small_frames_do_not_hold_those_of_ffmpeg(tmp_path):
    path = clips.write(tmp_path / "small.mp4", clips.draw(61, 48, 64))
    with av.open(str(path)) as container:
        frames = [*container.decode(video=0)]
    scale = scaling.Scaler(16)
    small = [scale(frame) for frame in frames]
    assert len(small) == 61
    assert {(pixels.base, pixels.nbytes) for pixels in small} == {(None, 16 * 16 * 3)}


def test_scaling_halves_by_a_triangle_twice_as_wide():
    """Resizes rows of grey with weights 1 3 3 1, in eighths."""
    rows = np.array([0, 0, 80, 160, 240, 40, 0, 0], np.uint8)
    grey = np.broadcast_to(rows[:, None], (8, 8))
    frames = scaling.Scaler(4)(av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), "gray"))
    expected = [0 + 80, 3 * 80 + 3 * 160 + 240, 160 + 3 * 240 + 3 * 40, 40]
    np.testing.assert_allclose(frames[:, 2, 0], np.array(expected) / 8, atol=2)
    np.testing.assert_array_equal(frames, np.broadcast_to(frames[:, 2:3, :1], (4, 4, 3)))


@pytest.mark.parametrize(
    ("degrees", "steps"), [(90, ["cclock"]), (180, ["cclock"] * 2), (-90, ["clock"])]
)
def test_turned_videos_are_turned_before_they_are_scaled(tmp_path, degrees, steps):
    path = clips.write(tmp_path / "upright.mp4", clips.draw(5, 48, 64))
    turned = clips.rotate(path, tmp_path / "turned.mp4", degrees)
    with av.open(str(path)) as container:
        frame = list(container.decode(video=0))[3]
    with decode.open_video(path, 32) as upright, decode.open_video(turned, 32) as other:
        frames, before = other.read([3])[0], upright.read([3])[0]
    np.testing.assert_array_equal(frames, procedure(frame, 32, *steps))
    expected = np.rot90(before, degrees // 90).astype(int)
    assert np.abs(frames - expected).mean() < 4  # chroma is halved along rows


def test_a_video_that_changes_its_size_is_scaled_all_the_same():
    scaler = scaling.Scaler(16)
    for size in ((48, 64), (20, 30), (48, 64)):
        frame = av.VideoFrame.from_ndarray(clips.draw(1, *size)[0], "rgb24").reformat(
            format="yuv420p"
        )
        np.testing.assert_array_equal(scaler(frame), procedure(frame, 16))


def test_a_configuration_asks_for_the_size(tmp_path):
    clips.write(tmp_path / "any.mp4", clips.draw(8, 48, 64))
    data = testa.Data(decode_size=0)
    assert decoder(data, 2, str(tmp_path))("any.mp4").shape == (2, 48, 64, 3)
    frames = decoder(testa.Data(decode_size=24), 2, str(tmp_path))("any.mp4")
    assert frames.shape == (2, 24, 24, 3)
    assert umt.resize(frames, 24) is frames
    with pytest.raises(UserError, match=r"config\.data\.decode_size=-2 must be 0"):
        decoder(testa.Data(decode_size=-2), 2, str(tmp_path))
