"""Annotation files that are damaged, hostile or of another system: one sentence, in every format.

`fixtures/annotations` holds three that users met.
"""

import json
import pathlib
import pickle
import random
import shutil

import pytest
from annotation_files import record, write

from tokmerge_jax.data.datasets import files, prepare, storing, umt
from tokmerge_jax.data.datasets.specs import FAMILIES
from tokmerge_jax.types import UserError

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures/annotations"
TIMES = "\t0\t1\t0\t1\t"
WORDS = pickle.dumps({"b": [["a", "cat"]], "a": [["ö"], ["z"]]}, 2)

FORMATS = {
    "umt": ("umt", "msrvtt", {"msrvtt_ret_test1k.json": [{"video": "a.mp4", "caption": "x"}]}),
    "umt, questions": (
        "umt",
        "msvd_qa",
        {"msvd_qa_test.json": [{"video": "a", "question": "q", "answer": ["x"], "question_id": 3}]},
    ),
    "umt, choices": (
        "umt",
        "msrvtt_mc",
        {"msrvtt_mc_test.json": [{"video": "a.mp4", "caption": ["x", "y"], "answer": 1}]},
    ),
    "clip4clip, table": (
        "clip4clip",
        "msrvtt",
        {"MSRVTT_JSFUSION_test.csv": 'key,vid_key,video_id,sentence\nr,m,v,"a, b"\nr,m,w,c\n'},
    ),
    "clip4clip, objects": (
        "clip4clip",
        "anet",
        {"val_ids.json": ["v_a"], "val_1.json": {"v_a": {"duration": 1.5, "sentences": ["x"]}}},
    ),
    "clip4clip, lists": (
        "clip4clip",
        "didemo",
        {"test_list.txt": "a.mov\n", "test_data.json": [{"video": "a.mov", "description": "x"}]},
    ),
    "clip4clip, tabs": (
        "clip4clip",
        "lsmdc",
        {"LSMDC16_challenge_1000_publictect.csv": f'a{TIMES}"x", \nb{TIMES}y\n'},
    ),
    "clip4clip, pickle": ("clip4clip", "msvd", {"test_list.txt": "a\n", "raw-captions.pkl": WORDS}),
    "testa, lines": ("testa", "didemo", {"test.jsonl": {"clip_name": "a", "caption": "x"}}),
    "testa, first line": ("testa", "anet", {"val.json": [{"video": "a", "caption": ["x"]}]}),
    "testa, table": ("testa", "condmov", {"test_challf0.csv": "videoid,caption,split\na,x,test\n"}),
    "testa, questions": (
        "testa",
        "anet_qa",
        {
            "test_q.json": [{"video_name": "a", "question": "q", "question_id": "1"}],
            "test_a.json": [{"question_id": "1", "answer": "x"}],
        },
    ),
    "actions": ("lists", "ssv2", {"test.txt": "a b 12 5\nc 3 4\n"}),
}
INSERTED = (
    b"\\ud83d", b"\\u0000", b"\0", b"\xed\xa0\x80", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 60_000,
    b'{"a":' * 60_000, b"1e400", b"9" * 5_000, b"NaN", b"\r", b"\n", b",", b"\t", b'"', b" ", b"{}",
    b"true", b"x" * 300, b"r\xff\xff\xff\x7f", b"]" * 1_000, b"(", b"\x85", b"R",
)  # fmt: skip


def read(family, dataset, folder):
    return FAMILIES[family].read(dataset, "test", folder, folder / "videos")


def mutated(data, rng):
    """Bytes with a bit turned over, bytes left out at the end, or others put in."""
    place = rng.randrange(len(data))
    flipped = bytes([data[place] ^ 1 << rng.randrange(8)])
    inserted = data[:place] + rng.choice(INSERTED) + data[place:]
    return rng.choice((data[:place] + flipped + data[place + 1 :], data[:place], inserted))


@pytest.mark.parametrize(("family", "dataset", "content"), FORMATS.values(), ids=FORMATS.keys())
def test_every_damage_ends_in_one_sentence(tmp_path, family, dataset, content):
    (tmp_path / "videos" / "a b").mkdir(parents=True)  # one of the listed folders is there
    (tmp_path / "videos" / "a b" / "img_00001.jpg").touch()
    write(tmp_path, content)
    whole = {name: (tmp_path / name).read_bytes() for name in content}
    assert read(family, dataset, tmp_path)
    rng, faults = random.Random(0), []
    for _ in range(60):
        name = rng.choice(list(whole))
        (tmp_path / name).write_bytes(mutated(whole[name], rng))
        try:
            read(family, dataset, tmp_path)
        except UserError as error:
            faults.append(str(error))
        (tmp_path / name).write_bytes(whole[name])
    assert len(faults) > 10
    for fault in faults:
        assert str(tmp_path) in fault
        assert len(fault) < len(str(tmp_path)) + 400
        assert "\n" not in fault


def test_a_comma_without_quotes_is_no_end_of_a_caption(tmp_path):
    shutil.copy(FIXTURES / "comma_MSRVTT_JSFUSION_test.csv", tmp_path / "MSRVTT_JSFUSION_test.csv")
    message = r"MSRVTT_JSFUSION_test\.csv, line 2: expected 4 fields, .* got 5; put texts .* quotes"
    with pytest.raises(UserError, match=message):
        read("clip4clip", "msrvtt", tmp_path)


def test_half_a_character_is_named_before_any_video_is_looked_at(tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    monkeypatch.delattr(storing, "check_videos")
    with pytest.raises(UserError, match=r"record 0, field 'caption': .* holds '\\ud83d', which is"):
        prepare.prepare(
            "msrvtt",
            FIXTURES / "half_emoji_umt.json",
            tmp_path / "videos",
            str(tmp_path / "data"),
            ["test"],
            1,
        )


def test_a_byte_order_mark_is_read(tmp_path):
    (records,) = umt.read(FIXTURES / "bom_umt.json", tmp_path / "videos")
    assert records == record(tmp_path, "video1.mp4", "video1.mp4", "a dog")


@pytest.fixture
def file(tmp_path):
    def file(content):
        path = tmp_path / "file"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\ufeff"])
def test_ends_of_lines_of_every_system(file, end):
    """The last: a file with a mark that was put behind another."""
    path = file(end.join(['\ufeff{"a": "x\u2028y"}', '{"a": "z"}', ""]))
    assert [row["a"] for _, row in files.json_lines(path)] == ["x\u2028y", "z"]
    assert [line for _, line in files.lines(file(f"a b{end.strip(chr(0xFEFF))}c "))] == ["a b", "c"]


JSON = {
    "nested": ("[" * 60_000, "cannot be read as JSON (brackets nest too deeply)"),
    "digits": (f"[{'9' * 5000}]", "cannot be read as JSON (a number has thousands of digits)"),
    "infinite": ("[1e400]", "record 0: must be a text, not inf"),
    "constant": ("[NaN]", "record 0: must be a text, not nan"),
    "long": (json.dumps([["x" * 10**6] * 9]), "record 0: must be a text, not ['xxxx"),
    "deep": ("[" * 500 + "]" * 500, "record 0: must be a text, not [[...]]"),
    "NUL": ('["\\u0000"]', "record 0: '\\x00' holds '\\x00', which is not a character"),
    "half": ('["\\ude00 x"]', "record 0: '\\ude00 x' holds '\\ude00', which is not a character"),
    "NUL byte": ('["a",\n"\0"]', ", line 2: holds a NUL character"),
    "UTF-16": ('["a"]'.encode("utf-16"), "cannot be read as UTF-8 text ('utf-8' codec can't"),
}


@pytest.mark.parametrize(("content", "message"), JSON.values(), ids=JSON.keys())
def test_json_that_is_no_list_of_texts(file, content, message):
    path = file(content)
    with pytest.raises(UserError) as fault:
        umt.read_answers(path)
    assert str(fault.value).startswith(str(path))
    assert message in str(fault.value)
    assert len(str(fault.value)) < len(str(path)) + 200


def test_a_pair_of_halves_is_a_character(file):
    assert umt.read_answers(file('["\\ud83d\\ude00"]')) == ("\N{GRINNING FACE}",)


def test_fields_of_one_name(file):
    rows = '[{"video": "a", "caption": "x", "id": 1, "id": 2}]'
    with pytest.raises(UserError, match="record 0: has the field 'id' twice"):
        umt.read(file(rows), pathlib.Path("videos"))


def test_tables(file):
    table = "id,name,name\n0,a,b\n"
    with pytest.raises(UserError, match="column 'name' is named twice"):
        list(files.cells(file(table), "id", "name"))
    assert list(files.cells(file(table), "id")) == [("0",)]
    short = "name,id,note\na,0\nb,1,x\n"  # what nobody asks for may be left out
    assert list(files.cells(file(short), "id", "name")) == [("0", "a"), ("1", "b")]


HOSTILE = {
    "many places": b"\x80\x02}r\xff\xff\xff\x7f.",
    "tuples of tuples": b"\x80\x02)" + b"\x86q\x00h\x00" * 60 + b".",
    "a call": b"cos\nsystem\n(S'true'\ntR.",
    "more parts than any": b"]" * 1_002 + b".",
    "a long number": pickle.dumps({"a": 1 << 10**6}),
    "numbers of one hash": pickle.dumps({n * (2**61 - 1): "" for n in range(300)}),
    "nested": b"(" * 10**6,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles(file, content, monkeypatch):
    monkeypatch.setattr(files, "_PARTS", 1_000)
    with pytest.raises(UserError, match="cannot be read as a pickle of texts") as fault:
        files.unpickled(file(content))
    assert len(str(fault.value)) < 300


def test_captions_that_share_their_words(tmp_path):
    word = "x" * 10**6
    shared = [word] * 1000  # 1 GB, were it joined
    (tmp_path / "captions.pkl").write_bytes(pickle.dumps({"a": [[word]], "b": [["y"], shared]}))
    names, captions = tmp_path / "names.txt", tmp_path / "captions.pkl"
    with pytest.raises(
        UserError, match=r"'b', caption 1: the captions up to here have 10\d+ characters"
    ):
        list(files.described_in_words(["a", "b"], names, captions))
    (computed,) = files.described_in_words(["a"], names, captions)
    assert computed == ("a", (word,))
