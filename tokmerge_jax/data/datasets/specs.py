"""The video-text data sets by name: their annotation files, and which of their pairs are true."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """What has to be known of a data set beside its records.

    Attributes:
      annotations: split -> name of the annotation file, as UMT has them.
      match_by_caption: in training, rows of one caption are true pairs of one another (several
        videos show what it says); otherwise rows of one video are.
    """

    annotations: Mapping[str, str]
    match_by_caption: bool = False


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
    "demo": DatasetSpec({}),
}
