"""CLIP4Clip's annotation files: their records, their faults, and how they are told from UMT's."""

import json
import pathlib
import pickle

import pytest
from annotation_files import record, usable, videos, write

from tokmerge_jax import data
from tokmerge_jax.config.common import TextData
from tokmerge_jax.data.datasets import clip4clip, specs
from tokmerge_jax.data.datasets.prepare import prepare
from tokmerge_jax.data.video import checking
from tokmerge_jax.types import UserError

HEAD = "key,vid_key,video_id,sentence\n"
TEST = "MSRVTT_JSFUSION_test.csv"
LSMDC = "LSMDC16_challenge_1000_publictect.csv"
FILM = "0001_Film_00.01.02.003-00.01.05.004"
MSRVTT_DATA = {
    "videos": [],
    "sentences": [
        {"caption": "one", "video_id": "video2", "sen_id": 0},
        {"caption": "of no split", "video_id": "video9", "sen_id": 1},
        {"caption": "two", "video_id": "video0", "sen_id": 2},
        {"caption": "three", "video_id": "video2", "sen_id": 3},
    ],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path


def read(folder, dataset, split="test"):
    return clip4clip.read(dataset, split, folder, folder / "videos")


def paths(folder, dataset, split="test"):
    """Where the videos of the records were found, from the folder of the videos."""
    base = folder / "videos"
    clips = [clip for record in read(folder, dataset, split) for clip in record.clips]
    return [str(pathlib.Path(clip.path).relative_to(base)) for clip in clips]


def test_msrvtt_test_has_a_record_a_row(folder):
    rows = (
        'ret0,msr7,video7,"a man, who ""plays"""\nret1,msr3,video3,a dog\n\nret2,m,video7,again\n'
    )
    write(folder, {TEST: HEAD + rows})
    videos(folder, "video3.webm", "video7.mp4")
    assert read(folder, "msrvtt") == (
        record(folder, "video7", "video7.mp4", 'a man, who "plays"'),
        record(folder, "video3", "video3.webm", "a dog"),
        record(folder, "video7", "video7.mp4", "again"),
    )


@pytest.mark.parametrize("split", ["train", "train_7k"])
def test_msrvtt_training_has_a_record_a_video(folder, split):
    name = {"train": "MSRVTT_train.9k.csv", "train_7k": "MSRVTT_train.7k.csv"}[split]
    table = "\ufeffvideo_id\nvideo0\nvideo2\nvideo0\n"  # with the mark of a spreadsheet
    write(folder, {name: table, "MSRVTT_data.json": MSRVTT_DATA})
    assert read(folder, "msrvtt", split) == (
        record(folder, "video0", "video0.mp4", "two"),
        record(folder, "video2", "video2.mp4", "one", "three"),
    )


@pytest.mark.parametrize(
    ("split", "ids", "captions"),
    [("train", "train_ids", "train"), ("test", "val_ids", "val_1")],
)
def test_activitynet(folder, split, ids, captions):
    said = {
        "v_x": {"duration": 1.5, "timestamps": [[0, 1]], "sentences": ["of no split"]},
        "v_ab": {"duration": 82.7, "timestamps": [[0, 1], [1, 2]], "sentences": ["He.", " She."]},
        "v_-c": {"duration": 5, "timestamps": [[0, 5]], "sentences": ["It."]},
    }
    write(folder, {f"{ids}.json": ["v_-c", "v_ab", "v_-c"], f"{captions}.json": said})
    assert read(folder, "anet", split) == (
        record(folder, "v_-c", "v_-c.mp4", "It."),
        record(folder, "v_ab", "v_ab.mp4", "He.", " She."),
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_didemo(folder, split):
    rows = [
        {"video": "b_2.avi", "description": "first", "times": [[2, 2]]},
        {"video": "a_1.mov", "description": "the dog", "times": [[0, 1]]},
        {"video": "c_3.mov", "description": "of no split", "times": [[0, 1]]},
        {"video": "b_2.avi", "description": "second", "times": [[3, 3]]},
    ]
    write(folder, {f"{split}_list.txt": "a_1.mov\r\nb_2.avi\n\n", f"{split}_data.json": rows})
    assert read(folder, "didemo", split) == (
        record(folder, "a_1.mov", "a_1.mov", "the dog"),
        record(folder, "b_2.avi", "b_2.avi", "first", "second"),
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_lsmdc_has_a_record_a_row(folder, split):
    (name,) = clip4clip.FORMATS["lsmdc"][split]
    times = "00.01.02.003\t00.01.05.004\t00.01.02.003\t00.01.05.004"
    rows = [f'{FILM}\t{times}\t"SOMEONE" opens, ', f"other\t{times}\tx", f"{FILM}\t{times}\ty"]
    write(folder, {name: "\n".join(rows) + "\n"})
    videos(folder, f"0001_Film/{FILM}.avi")
    assert read(folder, "lsmdc", split) == (
        record(folder, FILM, f"0001_Film/{FILM}.avi", '"SOMEONE" opens, '),
        record(folder, "other", "other.mp4", "x"),
        record(folder, FILM, f"0001_Film/{FILM}.avi", "y"),
    )


def test_lsmdc_lies_in_the_challenge_s_files():
    assert clip4clip.FORMATS["lsmdc"] == {
        "train": ("LSMDC16_annos_training.csv",),
        "val": ("LSMDC16_annos_val.csv",),
        "test": (LSMDC,),
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_msvd(folder, protocol):
    said = {"b": [["a", "cat", "runs"]], "x": [["of", "no", "split"]], "a": [["ein", "ö"], ["z"]]}
    write(folder, {"test_list.txt": "a\nb\n"})
    (folder / "raw-captions.pkl").write_bytes(pickle.dumps(said, protocol))
    assert read(folder, "msvd") == (
        record(folder, "a", "a.mp4", "ein ö", "z"),
        record(folder, "b", "b.mp4", "a cat runs"),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin1"])
def test_pickles_of_python_2(folder, encoding):
    word = "café".encode(encoding)
    stored = b"\x80\x02}U\x01a]]U" + bytes([len(word)]) + word + b"aas."
    write(folder, {"train_list.txt": "a", "raw-captions.pkl": stored})
    assert read(folder, "msvd", "train") == (record(folder, "a", "a.mp4", "café"),)


class Code:
    """Stored as a call of a function, as a pickle that attacks would be."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_pickles_run_no_code(folder):
    stored = pickle.dumps({"a": [["x"]], "b": Code(folder / "touched")})
    write(folder, {"test_list.txt": "a", "raw-captions.pkl": stored})
    with pytest.raises(
        UserError, match=r"raw-captions\.pkl: cannot .* \(it holds STACK_GLOBAL, wh"
    ):
        read(folder, "msvd")
    assert not (folder / "touched").exists()
    pickle.loads(stored)
    assert (folder / "touched").exists()  # it would have run


# What is wrong: the data set, its files as they are, the one sentence.
ROW = HEAD + "r,m,video1,x\n"
FAULTS = {
    "no file": ("msrvtt", {}, rf"{TEST}: cannot be read as UTF-8 text \(\[Errno 2\] No such file"),
    "empty": ("msrvtt", {TEST: " \n"}, f"{TEST}: is empty"),
    "no UTF-8": ("msrvtt", {TEST: ROW.encode() + b"\xff"}, f"{TEST}: cannot be read as UTF-8 text"),
    "no rows": ("msrvtt", {TEST: HEAD}, f"{TEST}: names no video"),
    "no column": (
        "msrvtt",
        {TEST: "video_id,text\na,b\n"},
        f"{TEST}: column 'sentence' is missing",
    ),
    "no cell": ("msrvtt", {TEST: ROW + "r,m,,x\n"}, f"{TEST}, line 3: column 'video_id' is empty"),
    "short row": ("msrvtt", {TEST: ROW + "r,m,v\n"}, f"{TEST}, line 3: column 'sentence' is empty"),
    "open quote": ("msrvtt", {TEST: ROW + 'r,m,v,"x\n'}, f"{TEST}, line 3: cannot be read"),
    "columns": ("lsmdc", {LSMDC: "a\tb\t\t\tx\n"}, f"{LSMDC}, line 1: expected 6 fields .* saw 5"),
    "no sentence": ("lsmdc", {LSMDC: "a\t\t\t\t\t\n"}, f"{LSMDC}, line 1: the clip .* is empty"),
    "no JSON": (
        "anet",
        {"val_ids.json": "[", "val_1.json": "{}"},
        r"val_ids\.json: cannot be read as JSON",
    ),
    "no list": (
        "anet",
        {"val_ids.json": {"a": 1}, "val_1.json": {}},
        r"val_ids\.json: must be a list, not \{'a': 1\}",
    ),
    "no ids": ("anet", {"val_ids.json": [], "val_1.json": {}}, r"val_ids\.json: names no video"),
    "id of another type": (
        "anet",
        {"val_ids.json": ["v_a", 3], "val_1.json": {}},
        r"val_ids\.json, place 1: must be a text, not 3",
    ),
    "no captions": (
        "anet",
        {"val_ids.json": ["v_a"], "val_1.json": {"v_b": 1}},
        r"val_1\.json: has no caption for 'v_a' of val_ids\.json",
    ),
    "no sentences": (
        "anet",
        {"val_ids.json": ["v_a"], "val_1.json": {"v_a": {"sentences": []}}},
        r"val_1\.json: has no caption for 'v_a' of val_ids\.json",
    ),
    "no field": (
        "anet",
        {"val_ids.json": ["v_a"], "val_1.json": {"v_a": {"duration": 1}}},
        r"val_1\.json, video 'v_a': field 'sentences' is missing",
    ),
    "sentence of another type": (
        "anet",
        {"val_ids.json": ["v_a"], "val_1.json": {"v_a": {"sentences": ["x", None]}}},
        r"val_1\.json, video 'v_a', field 'sentences', place 1: must be a text, not None",
    ),
    "record of another type": (
        "didemo",
        {"test_list.txt": "a.mov", "test_data.json": ["a.mov"]},
        r"test_data\.json, record 0: must be an object, not 'a\.mov'",
    ),
    "field of another type": (
        "didemo",
        {"test_list.txt": "a.mov", "test_data.json": [{"video": "a.mov", "description": [1]}]},
        r"test_data\.json, record 0, field 'description': must be a text, not \[1\]",
    ),
    "empty list": (
        "didemo",
        {"test_list.txt": "", "test_data.json": []},
        "test_list.txt: is empty",
    ),
    "no pickle": (
        "msvd",
        {"test_list.txt": "a", "raw-captions.pkl": b"\x80\x02}U"},
        r"raw-captions\.pkl: cannot be read as a pickle of texts",
    ),
    "text that is never UTF-8": (
        "msvd",
        {"test_list.txt": "a", "raw-captions.pkl": b"\x80\x02X\x01\x00\x00\x00\xff."},
        r"raw-captions\.pkl: cannot be read as a pickle of texts .*utf-8",
    ),
    "pickle of another type": (
        "msvd",
        {"test_list.txt": "a", "raw-captions.pkl": pickle.dumps(["a"])},
        r"raw-captions\.pkl: must be an object, not \['a'\]",
    ),
    "captions that are not split": (
        "msvd",
        {"test_list.txt": "a", "raw-captions.pkl": pickle.dumps({"a": [["x"], "a cat"]})},
        r"raw-captions\.pkl, video 'a', caption 1: must be a list, not 'a cat'",
    ),
    "video without captions": (
        "msvd",
        {"test_list.txt": "a", "raw-captions.pkl": pickle.dumps({"b": [["x"]]})},
        r"raw-captions\.pkl: has no caption for 'a' of test_list\.txt",
    ),
}


@pytest.mark.parametrize(("dataset", "files", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_are_named(folder, dataset, files, message):
    write(folder, files)
    with pytest.raises(UserError, match=message) as fault:
        read(folder, dataset)
    assert str(fault.value).startswith(str(folder))


def test_two_files_of_one_stem(folder):
    write(folder, {TEST: ROW})
    videos(folder, "b/video1.avi", "a/2/video1.mp4", "c/video1.mp4")
    assert paths(folder, "msrvtt") == ["a/2/video1.mp4"]


def test_files_of_other_kinds_are_no_videos(folder):
    write(folder, {TEST: ROW})
    videos(folder, "video1.json", "video1.jpg", "z/video1.MP4")
    assert paths(folder, "msrvtt") == ["z/video1.MP4"]


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (["ab.mkv", "a/v_ab.mp4"], "ab.mkv"),
        (["a/v_ab.mp4"], "a/v_ab.mp4"),
        (["v_v_ab.mp4", "b.mp4"], "v_ab.mp4"),
    ],
)
def test_activitynet_s_files_may_leave_v_out(folder, there, chosen):
    write(folder, {"val_ids.json": ["v_ab"], "val_1.json": {"v_ab": {"sentences": ["x"]}}})
    videos(folder, *there)
    assert paths(folder, "anet") == [chosen]


def test_v_is_left_out_for_activitynet_alone(folder):
    write(folder, {TEST: HEAD + "r,m,v_1,x\n"})
    videos(folder, "1.mp4")
    assert paths(folder, "msrvtt") == ["v_1.mp4"]


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (["a/x_1.mp4", "b/x_1.mov"], "b/x_1.mov"),
        (["a/x_1.mov.mp4", "b/x_1.mov"], "b/x_1.mov"),
        (["a/x_1.mp4", "b/x_1.mov.mp4"], "b/x_1.mov.mp4"),
        (["a/x_1.avi", "a/x_1.mp4"], "a/x_1.avi"),
        (["x_1.mov/y.mp4"], "x_1.mov"),
    ],
)
def test_didemo_s_files_by_name_then_by_stem(folder, there, chosen):
    rows = [{"video": "x_1.mov", "description": "x"}]
    write(folder, {"test_list.txt": "x_1.mov", "test_data.json": rows})
    videos(folder, *there)
    assert paths(folder, "didemo") == [chosen]


def test_dots_are_part_of_lsmdc_s_names(folder):
    write(folder, {LSMDC: f"{FILM}\t\t\t\t\tx\n"})
    videos(folder, FILM.removesuffix(".004") + ".mp4")
    assert paths(folder, "lsmdc") == [f"{FILM}.mp4"]


# The format of a folder, through `prepare`.

UMT = json.dumps([{"video": "video1.mp4", "caption": "UMT's"}])
UMT_TEST = "msrvtt_ret_test1k.json"


@pytest.fixture
def prepared(folder, monkeypatch):
    """Prepares a split of files that are no videos and yet pass; its report, its captions."""
    monkeypatch.setattr(checking, "_checked", usable)
    videos(folder, "video1.mp4")

    def prepared(dataset="msrvtt", split="test", source=folder, format=""):
        where, out = folder / "videos", str(folder / "data")
        (report,) = prepare(dataset, source, where, out, [split], 1, format=format)
        config = TextData(dataset=dataset, split=split, folder=out, workers=0)
        return report, data.open_retrieval(config, 4).gallery.texts

    return prepared


def test_the_format_is_found_by_the_files(folder, prepared):
    write(folder, {TEST: HEAD + "r,m,video1,CLIP4Clip's\n"})
    report, texts = prepared()
    assert (report.annotations, texts) == (str(folder / TEST), ("CLIP4Clip's",))
    (folder / TEST).unlink()
    write(folder, {UMT_TEST: UMT})
    report, texts = prepared()
    assert (report.annotations, texts) == (str(folder / UMT_TEST), ("UMT's",))


def test_both_formats_in_a_folder(folder, prepared):
    write(folder, {TEST: HEAD + "r,m,video1,CLIP4Clip's\n", UMT_TEST: UMT})
    message = rf"holds {UMT_TEST}, but also {TEST} \(split test\); choose one by format"
    with pytest.raises(UserError, match=message):
        prepared()
    assert prepared(format="umt")[1] == ("UMT's",)
    assert prepared(format="clip4clip")[1] == ("CLIP4Clip's",)


def test_all_files_of_a_format_are_needed(folder, prepared):
    write(folder, {"MSRVTT_train.9k.csv": "video_id\nvideo1\n"})
    both = r"msrvtt_ret_train9k\.json, or MSRVTT_train\.9k\.csv and MSRVTT_data\.json; name"
    with pytest.raises(UserError, match=rf"no such annotation files \(split train\): {both}"):
        prepared(split="train")
    with pytest.raises(UserError, match=r"\(split train\): MSRVTT_train\.9k\.csv and MSRVTT_data"):
        prepared(split="train", format="clip4clip")
    with pytest.raises(UserError, match=r"\(split train\): msrvtt_ret_train9k\.json; name"):
        prepared(split="train", format="umt")
    sentence = {"video_id": "video1", "caption": "x"}
    write(folder, {"msrvtt_ret_train9k.json": UMT})
    assert prepared(split="train")[1] == ("UMT's",)  # one file of two is no conflict
    (folder / "msrvtt_ret_train9k.json").unlink()
    write(folder, {"MSRVTT_data.json": {"sentences": [sentence]}})
    report, texts = prepared(split="train")
    files = [str(folder / name) for name in ("MSRVTT_train.9k.csv", "MSRVTT_data.json")]
    assert (report.annotations, texts) == (", ".join(files), ("x",))


@pytest.mark.parametrize(
    ("dataset", "split", "format"),
    [("msrvtt", "train_7k", "umt"), ("msvd_qa", "test", "clip4clip"), ("msrvtt", "test", "vatex")],
)
def test_splits_that_a_format_has_not(prepared, dataset, split, format):
    with pytest.raises(UserError, match=rf"format={format}: {dataset}, split {split}, has no"):
        prepared(dataset, split, format=format)


def test_one_file_is_umt_s(folder, prepared):
    write(folder, {TEST: UMT, "mine.json": UMT})
    assert prepared(source=folder / "mine.json")[1] == ("UMT's",)
    assert prepared(source=folder / TEST, format="umt")[1] == ("UMT's",)
    with pytest.raises(UserError, match=rf"{TEST}: CLIP4Clip's files are found by their names"):
        prepared(source=folder / TEST)
    with pytest.raises(UserError, match=r"mine\.json: CLIP4Clip's files are found by their names"):
        prepared(source=folder / "mine.json", format="clip4clip")


def test_splits_of_both_formats():
    assert specs.splits("msrvtt") == ("train", "test", "train_7k")
    assert specs.splits("lsmdc") == ("train", "test", "val")
    assert specs.splits("msvd") == ("train", "test", "val")
    assert specs.splits("ssv2_label") == ("train", "test")
    assert specs.splits("demo") == ()


def test_clip4clip_s_splits_are_known_before_they_are_prepared(folder):
    config = TextData(dataset="lsmdc", split="val", folder=str(folder / "data"), workers=0)
    with pytest.raises(UserError, match=r"split val, is not prepared .* --splits val"):
        data.open_retrieval(config, 4)
    config = config.override({"dataset": "ssv2_label"})
    with pytest.raises(UserError, match=r"'val' is not a split .* choose from train, test$"):
        data.open_retrieval(config, 4)


def test_videos_that_nobody_described_are_left_out_and_told(tmp_path, capsys):
    (tmp_path / "val_ids.json").write_text('["v_a", "v_b", "v_c"]')
    (tmp_path / "val_1.json").write_text('{"v_b": {"sentences": ["A man ties a shoe."]}}')
    (record,) = clip4clip.read("anet", "test", tmp_path, tmp_path)
    assert (record.clips[0].name, record.captions) == ("v_b", ("A man ties a shoe.",))
    assert (
        "has no caption for 'v_a' and 1 more of val_ids.json: left out" in capsys.readouterr().err
    )
