"""Selective decoding against decoding everything, on real files of many kinds."""

import pathlib
import tracemalloc
from fractions import Fraction

import av
import clips
import numpy as np
import pytest
from PIL import Image

from tokmerge_jax.config.common import Data
from tokmerge_jax.data.sampling.frames import SAMPLERS
from tokmerge_jax.data.video import decode
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.data.video.packets import Packets
from tokmerge_jax.types import UserError

VIDEOS = pathlib.Path(__file__).parents[2] / "fixtures" / "videos"
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:b-adapt=0"}
UNEVEN = [1234 + 40 * i + 7 * (i % 3) + (900 if i > 20 else 0) for i in range(61)]
KINDS = {
    "b_frames.mp4": {},
    "no_b_frames.mp4": {"b_frames": 0},
    "only_keyframes.mp4": {"gop": 1},
    "one_keyframe.mp4": {"gop": 250, "b_frames": 5},
    "open_gop.mp4": {"options": OPEN_GOP},
    "open_gop.ts": {"options": OPEN_GOP},
    "uneven.mp4": {"ticks": UNEVEN},
    "uneven.mkv": {"ticks": UNEVEN},
    "b_frames.ts": {},
    "b_frames.avi": {},
    "no_frame_count.h264": {},
    "xvid.avi": {"codec": "mpeg4", "options": {"q": "3"}},
    "vp9.webm": {"codec": "libvpx-vp9", "b_frames": 0, "options": {"deadline": "realtime"}},
}
CHOICES = ([0], [60], [11, 12, 13], [60, 0, 30, 29, 0], list(range(61)), list(range(2, 61, 5)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("size", [(48, 64), (51, 67)], ids=["even", "odd"])
def test_chosen_frames_equal_those_of_a_full_decode(folder, name, size):
    path = clips.write(folder / name, clips.draw(61, *size), **KINDS[name])
    full = clips.decode_all(path)
    with decode.open_video(path) as opened:
        assert opened.length == len(full) == 61
        for chosen in CHOICES:
            np.testing.assert_array_equal(opened.read(chosen), full[chosen])


def test_pictures_come_back(folder):
    drawn = clips.draw(20, 48, 64)
    path = clips.write(folder / "true.mp4", drawn, options={"crf": "5"})
    with decode.open_video(path) as opened:
        frames = opened.read(range(20)).astype(int)
    assert np.abs(frames - drawn).mean() < 6  # lossy, but these frames in this order
    distance = np.abs(frames[:, None] - drawn[None].astype(int)).mean((2, 3, 4))
    assert (distance.argmin(1) == np.arange(20)).all()


def test_after_an_error_frames_are_counted_from_the_start(folder):
    """Where frames are counted, the next read would go on from the frame after the error."""
    path = clips.write(folder / "counted.avi", clips.draw(24, 48, 64))
    full = clips.decode_all(path)

    def fail(frame):
        raise MemoryError

    with decode.open_video(path) as opened:
        assert isinstance(opened, decode.Video)
        assert opened.counts
        np.testing.assert_array_equal(opened.read([1, 3]), full[[1, 3]])
        with pytest.raises(MemoryError):
            opened.read([5, 11], fail)
        np.testing.assert_array_equal(opened.read([12, 20]), full[[12, 20]])


def test_only_the_wanted_groups_are_decoded(folder, monkeypatch):
    path = clips.write(folder / "long.mp4", clips.draw(240, 48, 64), gop=20)
    decoded = []
    pixels = decode.Video._frames

    def counting(self, *args):
        for frame in pixels(self, *args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(decode.Video, "_frames", counting)
    with decode.open_video(path) as opened:
        opened.read([5, 100])
    assert len(decoded) <= 2 * 20 + 4


def test_rate_and_length(folder):
    path = clips.write(folder / "rate.mp4", clips.draw(45, 48, 64), rate=15)
    with decode.open_video(path) as opened:
        assert (opened.length, opened.rate) == (45, 15.0)


@pytest.mark.parametrize("content", [b"", b"no video", bytes(4000)], ids=["empty", "text", "zeros"])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.mp4: cannot be decoded"), decode.open_video(path):
        pass


def test_missing_files_are_named(tmp_path):
    with (
        pytest.raises(UserError, match=r"gone\.mp4: no such"),
        decode.open_video(tmp_path / "gone.mp4"),
    ):
        pass


@pytest.fixture(scope="module")
def damaged(folder):
    path = clips.write(folder / "whole.mp4", clips.draw(61, 48, 64))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 2000
    content[start : start + 3000] = b"\xff" * 3000
    damaged = folder / "damaged.mp4"
    damaged.write_bytes(content)
    return damaged


def test_frames_are_numbered_anew_where_decoding_shows_damage(damaged):
    full = clips.decode_all(damaged)
    assert 20 < len(full) < 61
    with decode.open_video(damaged) as opened:
        assert opened.length == 61
        with pytest.raises(
            decode.RecountedError, match=f"damaged.*its {len(full)} frames are numb"
        ):
            opened.read(range(20))
        assert opened.length == len(full)
        np.testing.assert_array_equal(opened.read([19, 3, len(full) - 1]), full[[19, 3, -1]])
        with pytest.raises(UserError, match=rf"damaged\.mp4: frame {len(full)} of {len(full)} can"):
            opened.read(range(61))


def test_numbers_are_chosen_anew_of_the_true_length(damaged):
    full, lengths = clips.decode_all(damaged), []

    def choose(length):
        lengths.append(length)
        return range(length)

    with decode.open_video(damaged) as opened:
        np.testing.assert_array_equal(decode.read_chosen(opened, choose), full)
    assert lengths == [61, len(full)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("hole", [400, 3000])
def test_holes_of_zeros_are_seen_before_a_frame_is_read(folder, suffix, hole):
    path = clips.write(folder / f"whole{suffix}", clips.draw(61, 48, 64))
    content = bytearray(path.read_bytes())
    start = len(content) // 2
    content[start : start + hole] = bytes(hole)
    path = folder / f"hole{suffix}"
    path.write_bytes(content)
    full = clips.decode_all(path)
    with decode.open_video(path) as opened:
        assert opened.length == len(full)
        np.testing.assert_array_equal(opened.read(range(len(full))), full)


def test_small_packets_of_zeros_are_seen(folder):
    path = clips.write(folder / "whole.mp4", clips.draw(61, 48, 64))
    zeros = clips.change_packets(
        path, folder / "zeros.mp4", lambda i, content: bytes(20) if i == 40 else content
    )
    with decode.open_video(zeros) as opened:
        assert opened.length == len(clips.decode_all(zeros)) == 60


def test_zeros_that_keep_a_constant_rate_are_no_damage(folder, monkeypatch):
    path = clips.write(folder / "whole.ts", clips.draw(40, 48, 64), codec="mpeg2video")
    filled = clips.change_packets(
        path, folder / "filled.ts", lambda _, content: content + bytes(99)
    )
    monkeypatch.setattr(decode.Video, "_recount", lambda _: pytest.fail("decoded whole"))
    with decode.open_video(filled) as opened:
        assert opened.length == 40
        np.testing.assert_array_equal(opened.read([3, 39]), clips.decode_all(filled)[[3, 39]])


@pytest.mark.parametrize("first", [0, 7, 16])  # keyframes
@pytest.mark.parametrize("places", [(0, 0, 0), (0, 1, -1)], ids=["as decoded", "mixed up"])
def test_times_that_are_wrong_do_not_count(folder, first, places):
    """Copies of Xvid from AVI to Matroska have such, and miss pictures where they were cut."""
    path = clips.write(
        folder / "all.mp4", clips.draw(61, 48, 64), codec="mpeg4", gop=9, options={"q": "3"}
    )
    copy = clips.change_packets(
        path,
        folder / "copy.mkv",
        lambda i, content: content if i >= first else b"",
        place=lambda i: i + places[i % 3],
    )
    full = clips.decode_all(copy)
    with decode.open_video(copy) as opened:
        assert opened.length == len(full)
        for chosen in ([0], [len(full) - 1], range(2, len(full), 7), range(len(full))):
            np.testing.assert_array_equal(opened.read(chosen), full[chosen])


CASES = {
    "size_changes.webm": 60,  # ffprobe -count_frames says so of all of these
    "starts_mid_group.mkv": 63,
    "truncated.mp4": 105,
    "vp8_hidden_frames.webm": 100,
}


@pytest.mark.parametrize("name", CASES)
def test_frames_are_those_that_are_shown(name):
    full = clips.decode_all(VIDEOS / name)
    with decode.open_video(VIDEOS / name) as opened:
        assert opened.length == len(full) == CASES[name]
        for chosen in ([len(full) - 1], [0], range(len(full))):
            np.testing.assert_array_equal(opened.read(chosen), full[chosen])
    with decode.open_video(VIDEOS / name, 32) as opened:
        assert opened.read(range(0, len(full), 9)).shape[1:] == (32, 32, 3)


@pytest.mark.parametrize(
    ("name", "count"), [("size_changes.webm", 60), ("starts_mid_group.mkv", 65), ("damaged", 61)]
)
def test_packets_that_are_not_shown_are_counted(damaged, name, count):
    with decode.open_video(damaged if name == "damaged" else VIDEOS / name) as opened:
        decode.read_chosen(opened, range)
        assert opened.length + opened.unshown == count


@pytest.mark.parametrize(("gop", "unshown"), [(1, 0), (12, 5)])  # only what others need is there
def test_what_an_edit_list_hides_is_no_frame(folder, gop, unshown):
    path = clips.write(folder / "all.mp4", clips.draw(40, 48, 64), gop=gop)
    edited = clips.change_packets(path, folder / "edited.mp4", earlier=Fraction(5, 25))
    full = clips.decode_all(path)[5:]
    with decode.open_video(edited) as opened:
        assert (opened.length, opened.unshown) == (35, unshown)
        for chosen in ([0], [34], [2, 30], range(35)):
            np.testing.assert_array_equal(opened.read(chosen), full[chosen])
        assert opened.length == 35


def test_empty_chunks_of_avi_are_no_frames(folder):
    """AVI has a chunk for every tick, and empty ones where no picture is."""
    path = clips.write(folder / "all.mp4", clips.draw(40, 48, 64), codec="mpeg4", b_frames=0, gop=1)
    some = clips.change_packets(
        path, folder / "gaps.avi", lambda i, content: b"" if i in (3, 4, 20) else content
    )
    assert some.read_bytes().count(b"00dc\0\0\0\0") >= 3
    with decode.open_video(some) as opened:
        assert (opened.length, opened.unshown) == (37, 0)
        full = clips.decode_all(path)[[i for i in range(40) if i not in (3, 4, 20)]]
        np.testing.assert_array_equal(opened.read(range(37)), full)


@pytest.mark.parametrize("sampling", SAMPLERS)
@pytest.mark.parametrize("name", [*CASES, "damaged"])
def test_every_sampler_reads_what_has_frames(damaged, name, sampling):
    path = damaged if name == "damaged" else VIDEOS / name
    read = decoder(Data(sampling=sampling), 8, "")
    assert read(str(path)).shape[0] == 8


def test_uncoded_pictures_are_no_frames(folder):
    """MPEG-4 notes that a picture is left out (ISO 14496-2, vop_coded = 0)."""

    def uncode(i, content):
        if i not in (5, 6, 30):
            return content
        bits = "".join(f"{byte:08b}" for byte in content)
        coded = bits.index("0", 34) + 1 + 1 + 5 + 1  # seconds, marker, 1/25 s, marker
        bits = bits[:coded] + "00" + "1" * (-(coded + 2) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8)

    made = clips.draw(40, 48, 64)
    path = clips.write(folder / "all.mp4", made, codec="mpeg4", b_frames=0)
    for suffix in (".mp4", ".mkv", ".avi"):
        some = clips.change_packets(path, folder / f"some{suffix}", uncode)
        with decode.open_video(some) as opened:
            assert opened.length == 37
            np.testing.assert_array_equal(opened.read(range(37)), clips.decode_all(some))


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "mpeg4"])
def test_what_was_cut_off_does_not_count(folder, codec):
    options = OPEN_GOP if codec == "libx264" else {}
    path = clips.write(
        folder / f"{codec}.ts", clips.draw(61, 48, 64), codec=codec, gop=10, options=options
    )
    content = path.read_bytes()
    for share in (0.1, 0.35, 0.6):
        cut = folder / "cut.ts"
        cut.write_bytes(content[int(share * len(content)) :])
        full = clips.decode_all(cut)
        assert len(full) < 61
        with decode.open_video(cut) as opened:
            assert opened.length == len(full)
            for chosen in ([0], [len(full) - 1], range(len(full))):
                np.testing.assert_array_equal(opened.read(chosen), full[chosen])


@pytest.mark.parametrize("size", [0, 32])
def test_streams_that_change_in_size_and_format_are_as_large_as_the_first_frame(folder, size):
    path = folder / "changes.ts"
    with path.open("wb") as whole:
        for height, width in ((48, 64), (50, 66), (33, 47)):  # the last in yuv444p
            part = clips.write(folder / "part.ts", clips.draw(12, height, width))
            whole.write(part.read_bytes())
    full = clips.decode_all(path)
    assert len(full) == 36
    with decode.open_video(path, size) as opened:
        frames = decode.read_chosen(opened, range)
    if size:
        assert frames.shape == (36, 32, 32, 3)
    else:
        np.testing.assert_array_equal(frames, full)


NAMES = ["intro: part 1.mp4", "http:z.mp4", "concat:a|b.mp4", "%03d.mp4", "-x.mp4", "pipe:0"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_names(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    made = clips.write(folder / "named.mp4", clips.draw(5, 48, 64))
    made.rename(folder / name)
    with decode.open_video(name) as opened:
        assert opened.length == 5
        assert opened.read([4]).shape == (1, 48, 64, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_titles_need_not_be_unicode(folder, suffix):
    path = clips.write(folder / f"titled{suffix}", clips.draw(5, 48, 64), title="A cafe at noon")
    content = path.read_bytes()
    assert b"A cafe at noon" in content
    path.write_bytes(content.replace(b"A cafe at noon", "A café at noon".encode("latin-1")))
    with decode.open_video(path) as opened:
        assert opened.length == 5


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "a\0.mp4"], ids=["long", "NUL"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(UserError, match=r"\.mp4: "), decode.open_video(name):
        pass


LISTS = {
    "list.ffconcat": "ffconcat version 1.0\nfile other.mp4\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.mp4\n#EXT-X-ENDLIST\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5 RTP/AVP 96\n",
    "list.mp4": "ffconcat version 1.0\nfile other.mp4\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_files_reach_no_other_files(folder, name):
    clips.write(folder / "other.mp4", clips.draw(5, 48, 64))
    (folder / name).write_text(LISTS[name])
    with pytest.raises(UserError, match=name), decode.open_video(folder / name):
        pass


def test_a_sound_file_is_no_video(tmp_path):
    path = clips.write_sound(tmp_path / "sound.mp4")
    with pytest.raises(UserError, match="no video stream"), decode.open_video(path):
        pass


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_display_rotation_is_applied(folder, degrees):
    path = clips.write(folder / "upright.mp4", clips.draw(5, 48, 64))
    turned = clips.rotate(path, folder / "turned.mp4", degrees)
    with decode.open_video(path) as upright, decode.open_video(turned) as other:
        expected = np.rot90(upright.read([3])[0], degrees // 90)
        np.testing.assert_array_equal(other.read([3])[0], expected)


def test_a_frame_that_takes_all_memory_is_refused_before_it_does(tmp_path):
    side = 11_600  # a little more than 2**27 pixels, in a file of some kilobytes
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    with (
        pytest.raises(UserError, match=r"a\.png holds no frame .*of at most 134,217,728 pixels"),
        decode.open_video(tmp_path / "a.png") as opened,
    ):
        opened.read([0])


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    """Also one that others follow in its file, as a telephone's JPEGs; it keeps its size."""
    drawn = [Image.fromarray(pixels) for pixels in clips.draw(2, 300, 400)]
    path = tmp_path / "no_suffix"
    with path.open("wb") as file:
        for picture in drawn:
            picture.save(file, "JPEG")
    with decode.open_video(path, 32) as opened:
        assert opened.length == 1
        frames = opened.read([0] * 4)
    assert frames.shape == (4, 300, 400, 3)
    assert np.abs(frames - np.asarray(drawn[0]).astype(int)).mean() < 6
    assert frames.strides[0] == 0  # one frame in memory


def test_a_packet_more_takes_a_few_bytes():
    """Not the objects that Python makes of its times: a film has a million of them."""
    packet, facts = av.Packet(bytes(range(1, 40))), Packets("h264")

    def add(count):
        for _ in range(count):
            packet.pts = packet.dts = 10**9 + facts.shown
            facts.add(packet)

    add(4000)
    tracemalloc.start()
    add(8000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert facts.shown == 12_000
    assert held < 20 * facts.shown
