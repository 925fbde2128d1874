"""Annotation files of every family of data sets, answer lists, and lists and names of actions."""

import json
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

from tests.fuzz import weights
from tests.support import annotation_files
from tokmerge_jax.data.datasets import action_lists, video_text
from tokmerge_jax.data.datasets.prepare import prepare, prepare_own

_SAID = {"va": [["a", "man", "runs"], ["he", "stops"]], "vb": [["a", "dog"]]}
_HEAD = "key,vid_key,video_id,sentence\n"
_FILM = "0001_Film_00.01.02.003-00.01.05.004\t1\t2\t3\t4\ta man runs\n"
_MOVIES = "videoid,title,caption,split\nva,T,a man runs,{0}\nvb,T,a dog,{0}\n"
_PAIRS = [{"video": "va.mp4", "caption": "a man runs"}, {"video": "vb.mp4", "caption": ["a", "b"]}]
_CHOICES = [
    {"video": "va.mp4", "caption": ["a man", "a dog"], "answer": 0},
    {"video": "vb.mp4", "caption": ["a man", "a dog"], "answer": 1},
]
_QUESTIONS = [
    {"video": "va.mp4", "question": "who runs?", "answer": "man", "question_id": 7},
    {"video": "vb.mp4", "question": "who barks?", "answer": ["dog", "cat", "dog"]},
]
_SENTENCES = [{"video_id": "va", "caption": "a man"}, {"video_id": "vb", "caption": "a dog"}]
_TOLD = [{"video": "va", "description": "a man"}, {"video": "vb", "description": "a dog"}]
_LINES = "".join(
    f"{json.dumps({'clip_name': name, 'caption': text})}\n"
    for name, text in (("va", "a man"), ("vb", "a dog"))
)
_ASKED = [
    {"question_id": "a_1", "video_name": "va", "question": "who?"},
    {"question_id": "a_2", "video_name": "vb", "question": "what?"},
]
_ANSWERED = [{"question_id": "a_1", "answer": "man"}, {"question_id": "a_2", "answer": "dog"}]
_OWN_QUESTIONS = "".join(f"{json.dumps(row)}\n" for row in _QUESTIONS)
_NAMES = [f"{number},action {number}" for number in range(400)]

_FILES: Mapping[tuple[str, str, str], Mapping[str, Any]] = {
    ("umt", "msrvtt", "test"): {"msrvtt_ret_test1k.json": _PAIRS},
    ("umt", "ssv2_label", "test"): {
        "ssv2_ret_label_val_small.json": [{"video": ["va.mp4", "vb.mp4"], "caption": "moving up"}]
    },
    ("umt", "msrvtt_mc", "test"): {"msrvtt_mc_test.json": _CHOICES},
    ("umt", "msvd_qa", "test"): {
        "msvd_qa_test.json": _QUESTIONS,
        "msvd_qa_answer_list.json": ["man", "dog", "cat"],
    },
    ("clip4clip", "msrvtt", "train"): {
        "MSRVTT_train.9k.csv": "video_id\nva\nvb\n",
        "MSRVTT_data.json": {"videos": [], "sentences": _SENTENCES},
    },
    ("clip4clip", "msrvtt", "test"): {
        "MSRVTT_JSFUSION_test.csv": _HEAD + 'r0,m0,va,"a man, who ""plays"""\nr1,m1,vb,a dog\n'
    },
    ("clip4clip", "anet", "test"): {
        "val_ids.json": ["v_a", "v_b"],
        "val_1.json": {"v_a": {"sentences": ["a man", "runs"]}, "v_b": {"sentences": ["a dog"]}},
    },
    ("clip4clip", "didemo", "test"): {"test_list.txt": "va\nvb\n", "test_data.json": _TOLD},
    ("clip4clip", "lsmdc", "test"): {"LSMDC16_challenge_1000_publictect.csv": 2 * _FILM},
    ("clip4clip", "msvd", "test"): {
        "test_list.txt": "va\nvb\n",
        "raw-captions.pkl": pickle.dumps(_SAID),
    },
    ("testa", "queryd", "test"): {
        "exists_test_list.txt": "va\nvb\n",
        "raw_captions_combined_filtered.pkl": pickle.dumps(_SAID),
    },
    ("testa", "didemo", "test"): {"test.jsonl": _LINES},
    ("testa", "anet", "test"): {
        "val.json": [{"video": "v_a.mp4", "caption": ["a man", "runs"]}],
    },
    ("testa", "condmov", "val"): {"train_val_challf0.csv": _MOVIES.format("val")},
    ("testa", "condmov", "test"): {"test_challf0.csv": _MOVIES.format("test")},
    ("testa", "anet_qa", "test"): {"test_q.json": _ASKED, "test_a.json": _ANSWERED},
    ("testa", "pretraining", "train"): {
        "webvid.json": [{"path": "va.mp4", "caption": "a man"}],
        "cc3m.json": [{"path": "va.jpg", "caption": "a dog"}],
    },
    ("lists", "k400", "val"): {
        "val.txt": "va.mp4 17\nvb b.mp4 0\n",
        "labels.csv": "\n".join(["id,name", *_NAMES]),
    },
    ("lists", "ssv2", "val"): {
        "val.txt": "va 2 17\nvb 3 0\n",
        "labels.csv": "\n".join(["id,name", *_NAMES[:174]]),
    },
    ("captions", "custom", "test"): {
        "metadata.csv": 'file_name,caption,split\nva.mp4,"a man, running",test\nvb.mp4,a dog,test\n'
    },
    ("questions", "custom", "val"): {"validation.jsonl": _OWN_QUESTIONS},
    ("actions", "custom", "test"): {"labels.csv": "video,label\nva.mp4,3\nvb.mp4,0\n"},
}
"""Family, data set, split -> its files."""


SUFFIXES = ("*.json", "*.jsonl", "*.csv", "*.txt", "*.pkl")


def make(folder: pathlib.Path) -> None:
    """The files of each family, data set and split; a folder of frames, no other video."""
    for named, files in _FILES.items():
        place = folder / "-".join(named)
        (place / "videos" / "va").mkdir(parents=True)
        (place / "videos" / "va" / "00001.jpg").touch()
        (place / "of").write_text("-".join(named))
        annotation_files.write(place, files)


def read(case: pathlib.Path, good: pathlib.Path) -> None:
    """Prepares the split, whose videos are missing, and reads what was stored, and its texts."""
    del good
    family, dataset, split = (case / "of").read_text().split("-")
    stored = str(case / "data")
    if dataset == "ssv2":  # checking its folders of frames would need other processes
        action_lists.read_names(case / "labels.csv", action_lists.CLASSES[dataset])
        computed = action_lists.read(dataset, split, case, case / "videos")
        video_text.write(stored, dataset, {split: computed})
    elif dataset == "custom":
        prepare_own(case, case / "videos", stored, [split], 1, format=family)
    else:
        prepare(dataset, case, case / "videos", stored, [split], 1, format=family)
    records = video_text.read(stored, dataset, split)
    assert records
    retrieval = weights.system().retrieval
    assert retrieval is not None
    retrieval.tokenize([text for record in records for text in _texts(record)])


def _texts(record: video_text.AnyRecord) -> tuple[str, ...]:
    match record:
        case video_text.Record():
            return record.captions
        case video_text.Choice():
            return record.options
        case video_text.Question():
            return (record.question, *record.answers)
    return ("",)
