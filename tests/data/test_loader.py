"""Batches of both kinds of loading: contents, order, padding, resuming, what is said of faults."""

import dataclasses
import gc
import itertools
import pathlib
import time
from multiprocessing.shared_memory import SharedMemory

import clips
import numpy as np
import pytest
from parameters import slow

from tokmerge_jax import data
from tokmerge_jax.config.common import TextData
from tokmerge_jax.data import training_source
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.data.pixels import umt
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.data.video.workers import Fault
from tokmerge_jax.types import UserError

FRAMES = 3
RESIZE = umt.Resize(16)
CROP = umt.RandomResizedCrop(16)


@dataclasses.dataclass(frozen=True)
class Brightness:
    """Frames -> their mean as one pixel: tells which video and which frames they are."""

    def __call__(self, frames, rng=None):
        return np.round(frames.mean((1, 2, 3))).astype(np.uint8)[:, None, None, None].repeat(3, 3)


def tokenize(texts):
    ids = np.array([[int(text)] for text in texts], np.int32)
    return ids, ids >= 0


def records(folder, count=7):
    for i in range(count):
        if not (folder / f"{i}.mp4").exists():
            frames = (
                np.full((12, 32, 48, 3), 20 * i, np.uint8)
                + np.arange(12, dtype=np.uint8)[:, None, None, None]
            )
            clips.write(folder / f"{i}.mp4", frames, options={"crf": "1"})
    return [Record((Clip(f"{i}.mp4", f"{i}.mp4"),), (str(i),)) for i in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    good = records(folder)
    cut = Record((Clip("cut.mp4", "cut.mp4", "no end"),), ("99",))
    (folder / "noise.mp4").write_bytes(b"noise")
    noise = Record((Clip("noise.mp4", "noise.mp4"),), ("98",))
    pair = Record((Clip("0.mp4", "0.mp4"), Clip("1.mp4", "1.mp4")), ("first", "second"))
    splits = {"test": good, "train": good, "cut": [*good, cut], "noise": [*good, noise]}
    video_text.write(str(folder), "msrvtt", {**splits, "pair": [pair]})
    return folder


def config(folder, **changes):
    return TextData(dataset="msrvtt", folder=str(folder), workers=0).override(changes)


def gather(batches):
    """All rows of the batches that are no padding, by field."""
    rows = list(batches)
    return {key: np.concatenate([b[key][b["mask"]] for b in rows]) for key in rows[0]}


def test_the_gallery_in_order_and_its_padding(folder):
    source = data.open_retrieval(config(folder), FRAMES)
    batches = list(source.batches(Brightness(), 4))
    assert [b["index"].tolist() for b in batches] == [[0, 1, 2, 3], [4, 5, 6, -1]]
    assert [b["mask"].tolist() for b in batches] == [[True] * 4, [True] * 3 + [False]]
    video = gather(batches)["video"][..., 0, 0, 0].astype(int)
    expected = 20 * np.arange(7)[:, None] + [1, 5, 9]  # the middles of three intervals of 12
    assert np.abs(video - expected).max() <= 2
    assert not batches[-1]["video"][-1].any()
    assert source.gallery.videos == tuple(f"{i}.mp4" for i in range(7))


@pytest.mark.parametrize("rows", [range(7), range(3, 7), [6], [1, 4, 5]])
def test_some_rows_only(folder, rows):
    source = data.open_retrieval(config(folder), FRAMES)
    whole, some = gather(source.batches(RESIZE, 2)), gather(source.batches(RESIZE, 3, rows))
    for key, value in some.items():
        np.testing.assert_array_equal(value, whole[key][list(rows)])


def test_nothing_is_left(folder):
    source = data.open_retrieval(config(folder), FRAMES)
    assert list(source.batches(RESIZE, 2, [])) == []


@pytest.mark.slow
def test_workers_change_nothing(folder):
    here = data.open_retrieval(config(folder), FRAMES)
    there = data.open_retrieval(config(folder, workers=2), FRAMES)
    for one, other in zip(here.batches(RESIZE, 3), there.batches(RESIZE, 3), strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.slow
@pytest.mark.parametrize("count", slow([8, 2], {2}.__contains__))  # to the end of seven, and not
def test_workers_leave_no_shared_memory(folder, monkeypatch, count):
    names, attach = set(), SharedMemory.__init__

    def told(self, *given, **named):
        attach(self, *given, **named)
        names.add(self.name)

    def there():
        return [name for name in names if pathlib.Path("/dev/shm", name).exists()]

    source = data.open_retrieval(config(folder, workers=2), FRAMES)
    monkeypatch.setattr(SharedMemory, "__init__", told)
    gc.disable()  # else it may come by chance
    try:
        batches = source.batches(RESIZE, 1)
        assert len(list(itertools.islice(batches, count))) == min(count, 7)
        del batches  # which stops the workers
        assert len(names) >= min(count, 7)
        late = time.monotonic() + 5
        while there() and time.monotonic() < late:  # a thread frees them
            time.sleep(0.01)
        assert there() == []
    finally:
        gc.enable()


def collate(rows):
    ids, mask = tokenize([row.caption for row in rows])
    match_id = np.array([row.match_id for row in rows])
    return {"text_ids": ids, "text_mask": mask, "match_id": match_id}


def training(source, batch_size, seed, step, count):
    batches = source.batches(CROP, collate, batch_size, seed, step)
    return list(itertools.islice(batches, count))


def test_training_goes_on_at_any_step(folder):
    source = data.open_training(config(folder), FRAMES)
    whole, rest = training(source, 2, 5, 0, 8), training(source, 2, 5, 4, 4)
    for one, other in zip(whole[4:], rest, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("own", [[0, 1], [2, 3], [1, 2]])
def test_a_process_reads_its_own_rows_of_the_same_batches(folder, monkeypatch, samples, own):
    source = dataclasses.replace(data.open_training(config(folder), FRAMES), samples=samples)
    whole = training(source, 4, 5, 1, 3)
    asked, decode = [], Decoder.__call__

    def counting(self, path, rng=None):
        asked.append(path)
        return decode(self, path, rng)

    monkeypatch.setattr(Decoder, "__call__", counting)
    parts = list(itertools.islice(source.batches(CROP, collate, 4, 5, 1, own), 3))
    for one, part in zip(whole, parts, strict=True):
        for name in one:
            np.testing.assert_array_equal(part[name], one[name][own])
    assert len(asked) == 3 * 2  # of two samples each, both rows are of different videos


def test_training_epochs(folder):
    source = data.open_training(config(folder), FRAMES)
    assert len(source) == 7
    batches = training(source, 2, 5, 0, 9)  # three batches an epoch, one row left out of each
    epochs = [np.concatenate([b["match_id"] for b in batches[i : i + 3]]) for i in (0, 3, 6)]
    assert all(len(set(epoch)) == 6 for epoch in epochs)
    assert any((epochs[0] != epoch).any() for epoch in epochs[1:])
    assert any(epochs[0] != np.concatenate([b["match_id"] for b in training(source, 2, 6, 0, 3)]))


def test_rows_that_stay_together(folder):
    """7 rows are 0 to 2, 3 to 5 and 6, in another order of these in each epoch."""
    source = dataclasses.replace(data.open_training(config(folder), FRAMES), together=3)
    epochs = [batch["match_id"].tolist() for batch in training(source, 7, 5, 0, 6)]
    starts = [[epoch.index(row) for row in (0, 3, 6)] for epoch in epochs]
    for epoch, (first, second, _) in zip(epochs, starts, strict=True):
        assert sorted(epoch) == list(range(7))
        assert epoch[first : first + 3] == [0, 1, 2]
        assert epoch[second : second + 3] == [3, 4, 5]
    assert len(set(map(str, starts))) > 1


def test_training_rows_belong_together(folder):
    source = data.open_training(config(folder), FRAMES)
    batch = next(source.batches(Brightness(), collate, 7, seed=0))
    video = batch["video"][:, :, 0, 0, 0].astype(int)
    assert (batch["match_id"] == batch["text_ids"][:, 0]).all()
    shown = video - 20 * batch["match_id"][:, None]
    assert shown.min() >= -2  # frame numbers, told by brightness; the codec is lossy
    assert shown.max() <= 13
    assert (np.diff(shown) > 0).all()


def test_training_draws_other_frames_each_epoch(folder):
    source = data.open_training(config(folder), FRAMES)
    batches = itertools.islice(source.batches(Brightness(), collate, 7, seed=0), 6)
    shown = [(b["video"][:, :, 0, 0, 0].T - 20 * b["match_id"].astype(int)).T for b in batches]
    assert len({tuple(frames) for epoch in shown for frames in epoch}) > 5


def test_a_training_clip_that_cannot_be_decoded(folder, capfd):
    """It stops the training, or another one takes its place, the same one each time."""
    stopping = data.open_training(config(folder), FRAMES, "noise")
    with pytest.raises(UserError, match=r"noise\.mp4"):
        training(stopping, 8, 0, 0, 1)
    source = data.open_training(config(folder, on_broken="skip"), FRAMES, "noise")
    (batch,) = itertools.islice(source.batches(Brightness(), collate, 8, seed=0), 1)
    assert "noise.mp4" in capfd.readouterr().err
    numbers = batch["text_ids"][:, 0]
    assert np.unique(numbers).tolist() == list(range(7))
    shown = batch["video"][:, :, 0, 0, 0].astype(int) - 20 * numbers[:, None]
    assert -2 <= shown.min() <= shown.max() <= 13  # captions go with the clips that were taken
    again = next(source.batches(Brightness(), collate, 8, seed=0))
    np.testing.assert_array_equal(again["video"], batch["video"])


def test_training_clips_that_fail_in_any_way_are_replaced(folder, capfd):
    source = data.open_training(config(folder, on_broken="skip"), FRAMES)
    batch = next(source.batches(Refusing(), collate, 7, seed=0))
    assert {2, 4}.isdisjoint(batch["text_ids"][:, 0].tolist())
    errors = capfd.readouterr().err
    assert "2.mp4: cannot be decoded (MemoryError)" in errors
    assert "4.mp4: cannot be decoded (ValueError: no buffer)" in errors
    stopping = data.open_training(config(folder), FRAMES)
    with pytest.raises(UserError, match=r"[24]\.mp4: cannot .* config\.data\.on_broken=skip"):
        next(stopping.batches(Refusing(), collate, 7, seed=0))


def test_a_training_clip_that_ends_its_process_is_replaced(folder, monkeypatch):
    """Another clip takes its place, the same one each time; where it is to stop, it is named."""

    def in_order(make, places, workers, name):
        for place in places:
            dies = workers and make.rows[make.order(place)].path == "3.mp4" and not make.first
            yield Fault(f"{name(place)} dies") if dies else make(place)

    monkeypatch.setattr(training_source, "in_order", in_order)
    source = data.open_training(config(folder, on_broken="skip", workers=1), FRAMES)
    made = [next(source.batches(Brightness(), collate, 7, seed=1)) for _ in range(2)]
    numbers = made[0]["text_ids"][:, 0]
    shown = made[0]["video"][:, 0, 0, 0, 0].astype(int) - 20 * numbers
    assert set(numbers) >= {0, 1, 2, 4, 5, 6}
    assert -2 <= shown.min() <= shown.max() <= 13
    np.testing.assert_array_equal(made[0]["video"], made[1]["video"])
    stopping = data.open_training(config(folder, workers=1), FRAMES)
    with pytest.raises(UserError, match=r"/3\.mp4 dies; run the same command again"):
        next(stopping.batches(Brightness(), collate, 7, seed=1))


def test_batches_larger_than_the_data_set(folder):
    source = data.open_training(config(folder), FRAMES)
    with pytest.raises(UserError, match=r"batch_size=8 is more than the 7 training pairs"):
        next(source.batches(CROP, collate, 8, seed=0))


def test_trimming(folder):
    source = data.open_retrieval(config(folder, trim_seconds=0.24), FRAMES)  # 6 of 12 frames
    video = next(source.batches(Brightness(), 1))["video"]
    assert np.abs(np.asarray(video)[0, :, 0, 0, 0].astype(int) - [0, 2, 4]).max() <= 2


def test_paragraphs_and_several_videos(folder):
    gallery = data.open_retrieval(config(folder, split="pair"), FRAMES).gallery
    assert (gallery.texts, gallery.relevant) == (("first", "second"), ((0, 1), (0, 1)))
    gallery = data.open_retrieval(config(folder, split="pair", paragraph=True), FRAMES).gallery
    assert (gallery.texts, gallery.relevant) == (("first second",), ((0, 1),))


def test_known_broken_videos_stop(folder):
    with pytest.raises(UserError, match=r"1 videos .*\(cut\.mp4: no end\), see .*on_broken=skip"):
        data.open_retrieval(config(folder, split="cut"), FRAMES)


def test_known_broken_videos_are_left_out_and_reported(folder):
    source = data.open_retrieval(config(folder, split="cut", on_broken="skip"), FRAMES)
    assert source.broken == ("cut.mp4",)
    assert "99" not in source.gallery.texts
    assert len(gather(source.batches(RESIZE, 4))["index"]) == 7


@pytest.mark.parametrize("workers", slow([0, 2], bool))
def test_a_video_that_breaks_while_loading_is_named(folder, workers):
    source = data.open_retrieval(config(folder, split="noise", workers=workers), FRAMES)
    with pytest.raises(UserError, match=r"noise\.mp4: cannot be decoded"):
        list(source.batches(RESIZE, 4))


class Refusing(Brightness):
    """Fails as libraries do at two of the videos."""

    def __call__(self, frames, rng=None):
        shown = super().__call__(frames)
        if abs(int(shown[0, 0, 0, 0]) // 20 - 3) == 1:
            raise MemoryError if shown[0, 0, 0, 0] < 60 else ValueError("no\nbuffer")
        return shown


def test_videos_that_fail_while_loading_are_left_out_of_their_batches(folder):
    source = data.open_retrieval(config(folder), FRAMES)
    refused = {}
    batches = list(source.batches(Refusing(), 3, refuse=refused.__setitem__))
    assert [b["index"].tolist() for b in batches] == [[0, 1, 3], [5, 6, -1]]
    shown = gather(batches)["video"][:, 0, 0, 0, 0].astype(int)
    assert np.abs(shown - [1, 21, 61, 101, 121]).max() <= 2
    assert list(refused) == [2, 4]
    assert f"{folder}/2.mp4: cannot be decoded (MemoryError); " in refused[2]
    assert "4.mp4: cannot be decoded (ValueError: no buffer); " in refused[4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "didemo"}, r"not prepared.*tokmerge prepare --dataset didemo --annotations"),
        ({"dataset": "didemo", "split": "val"}, r"split val, is not .*--splits val --folder"),
        ({"split": "val"}, r"'val' is not a split of .*'msrvtt'; choose from train, test"),
        ({"dataset": "msr"}, r"dataset='msr' is unknown; known: msrvtt, msvd"),
        ({"on_broken": "hide"}, r"on_broken='hide' is unknown; use stop, skip"),
    ],
)
def test_what_cannot_be_opened(folder, changes, message):
    with pytest.raises(UserError, match=message):
        data.open_retrieval(config(folder, **changes), FRAMES)
