"""The video-text data sets by name: their annotation files, and which of their pairs are true."""

import dataclasses
from collections.abc import Mapping

from tokmerge_jax.data.datasets import clip4clip


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """What has to be known of a data set beside its records.

    Attributes:
      annotations: split -> name of the annotation file, as UMT has them.
      match_by_caption: in training, rows of one caption are true pairs of one another (several
        videos show what it says); otherwise rows of one video are.
      kind: what its records are, a key of `video_text.KINDS`.
      answers: name of the file that lists the answers to choose from; "" if there is none.
    """

    annotations: Mapping[str, str]
    match_by_caption: bool = False
    kind: str = "captions"
    answers: str = ""


def _questions(name: str) -> DatasetSpec:
    files = {split: f"{name}_{split}.json" for split in ("train", "val", "test")}
    return DatasetSpec(files, kind="questions", answers=f"{name}_answer_list.json")


SPECS: Mapping[str, DatasetSpec] = {
    "msrvtt": DatasetSpec(
        {"train": "msrvtt_ret_train9k.json", "test": "msrvtt_ret_test1k.json"},
    ),
    "msvd": DatasetSpec(
        {"train": "msvd_ret_train.json", "test": "msvd_ret_test.json"},
    ),
    "anet": DatasetSpec(
        {"train": "anet_ret_train.json", "test": "anet_ret_val.json"},
    ),
    "didemo": DatasetSpec(
        {
            "train": "didemo_ret_train.json",
            "val": "didemo_ret_val.json",
            "test": "didemo_ret_test.json",
        },
    ),
    "lsmdc": DatasetSpec(
        {"train": "lsmdc_ret_train.json", "test": "lsmdc_ret_test_1000.json"},
    ),
    "ssv2_label": DatasetSpec(
        {"train": "ssv2_ret_label_train.json", "test": "ssv2_ret_label_val_small.json"},
        match_by_caption=True,
    ),
    "ssv2_template": DatasetSpec(
        {"train": "ssv2_ret_template_train.json", "test": "ssv2_ret_template_val_small.json"},
        match_by_caption=True,
    ),
    "msrvtt_mc": DatasetSpec({"test": "msrvtt_mc_test.json"}, kind="choices"),
    "msrvtt_qa": _questions("msrvtt_qa"),
    "msvd_qa": _questions("msvd_qa"),
    "anet_qa": _questions("anet_qa"),
    "demo": DatasetSpec({}),
    "demo_qa": DatasetSpec({}, kind="questions"),
}


def splits(dataset: str) -> tuple[str, ...]:
    """The splits that some format of a data set's annotations has; none of one that is drawn."""
    return tuple({**SPECS[dataset].annotations, **clip4clip.FORMATS.get(dataset, {})})
