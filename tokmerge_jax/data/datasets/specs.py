"""The known data sets, and the families of annotation formats that they come in."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from tokmerge_jax.data.datasets import action_lists, clip4clip, demo, testa, umt
from tokmerge_jax.data.datasets.demo import actions, long, motion, moves
from tokmerge_jax.data.datasets.video_text import AnyRecord


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """The facts about a data set beside its records.

    Attributes:
      annotations: split -> name of UMT's annotation file; empty if UMT has none.
      match_by_caption: whether, in training, rows with equal captions match (several videos show
        what a caption says); otherwise rows of the same video match.
      kind: the kind of its records, a key of `video_text.KINDS`; "" = that of the stored ones.
      answers: name of the file that lists the answers to choose from; "" if there is none.
      mirror: action -> action of its mirror image; actions that are not listed keep theirs.
      on_demand: whether training reads each record when its turn comes, since there are too many;
        each is one video with one caption and matches only itself.
    """

    annotations: Mapping[str, str]
    match_by_caption: bool = False
    kind: str = "captions"
    answers: str = ""
    mirror: Mapping[int, int] = dataclasses.field(default_factory=dict)
    on_demand: bool = False


def _questions(name: str) -> DatasetSpec:
    files = {split: f"{name}_{split}.json" for split in ("train", "val", "test")}
    return DatasetSpec(files, kind="questions", answers=f"{name}_answer_list.json")


OWN = "custom"
"""The name of a data set of one's own (`own`)."""

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
    "queryd": DatasetSpec({}),
    "condmov": DatasetSpec({}),
    "pretraining": DatasetSpec({}, on_demand=True),
    "k400": DatasetSpec({}, kind="actions"),
    "ssv1": DatasetSpec({}, kind="actions", mirror=action_lists.MIRRORED),
    "ssv2": DatasetSpec({}, kind="actions", mirror=action_lists.MIRRORED),
    OWN: DatasetSpec({}, kind=""),
    "demo": DatasetSpec({}),
    "demo_qa": DatasetSpec({}, kind="questions"),
    "demo_long": DatasetSpec({}, match_by_caption=True),
    "demo_actions": DatasetSpec({}, kind="actions", mirror=motion.MIRRORED),
    "demo_moves": DatasetSpec({}, kind="actions", mirror=moves.MIRRORED),
}

DRAWN = {
    "demo": demo,
    "demo_qa": demo,
    "demo_long": long,
    "demo_actions": actions,
    "demo_moves": moves,
}
"""The data sets whose clips are drawn, and the module that draws them: `COUNTS`, `prepare`."""


@dataclasses.dataclass(frozen=True)
class Family:
    """The annotation formats of one line of work.

    Attributes:
      title: its name, for messages.
      files: data set -> split -> names of the files, all of which are needed; `*.json` stands for
        all files with that ending, at least one.
      read: (data set, split, folder of the files, folder of the videos) -> records.
    """

    title: str
    files: Mapping[str, Mapping[str, tuple[str, ...]]]
    read: Callable[[str, str, pathlib.Path, pathlib.Path], Sequence[AnyRecord]]


def _read_umt(
    dataset: str, split: str, folder: pathlib.Path, videos: pathlib.Path
) -> Sequence[AnyRecord]:
    spec = SPECS[dataset]
    return umt.read(folder / spec.annotations[split], videos, spec.kind)


FAMILIES: Mapping[str, Family] = {
    "umt": Family(
        "UMT",
        {
            dataset: {split: (name,) for split, name in spec.annotations.items()}
            for dataset, spec in SPECS.items()
        },
        _read_umt,
    ),
    "clip4clip": Family("CLIP4Clip", clip4clip.FORMATS, clip4clip.read),
    "testa": Family("TESTA", testa.FORMATS, testa.read),
    "lists": Family("action recognition", action_lists.FORMATS, action_lists.read),
}
"""Value of `tokmerge prepare --format` -> family."""


def splits(dataset: str) -> tuple[str, ...]:
    """The splits of a data set in any family; none for the demo's, which are drawn."""
    formats = (family.files.get(dataset, {}) for family in FAMILIES.values())
    return tuple(dict.fromkeys(split for files in formats for split in files))
