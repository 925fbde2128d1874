"""Opens data sets that `tokmerge prepare` prepared: their usable records."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from tokmerge_jax.config.common import Data, QuestionData, TextData
from tokmerge_jax.data.datasets import action_lists, files, galleries, own, umt, video_text
from tokmerge_jax.data.datasets.specs import DRAWN, OWN, SPECS, DatasetSpec, splits
from tokmerge_jax.data.datasets.video_text import AnyRecord, Clip, Question, Record, Stored
from tokmerge_jax.data.video import checking
from tokmerge_jax.types import UserError

OF_SPLIT = "split"
"""Value of `config.answers` that stands for the answers of the evaluated split itself."""

_NAMED = 10  # number of broken videos that an error names


def spec(dataset: str) -> DatasetSpec:
    """The description of a data set.

    Raises:
      UserError: if the name is unknown.
    """
    if dataset not in SPECS:
        raise UserError(f"config.data.dataset={dataset!r} is unknown; known: {', '.join(SPECS)}")
    return SPECS[dataset]


def kind(config: Data) -> str:
    """The kind of a data set's records, a key of `video_text.KINDS`.

    Raises:
      UserError: if the data set is unknown, or one's own and not prepared.
    """
    known = spec(config.dataset).kind
    if not known and not video_text.splits(config.folder, config.dataset):
        _check(config, config.split)  # raises
    return known or video_text.kind(config.folder, config.dataset)


def records(config: Data, split: str) -> tuple[list[AnyRecord], tuple[str, ...]]:
    """Returns (usable records of a split, names of the videos left out).

    Captions are joined to paragraphs if `config` asks for it. Unless broken videos are skipped, the
    files are also looked up; otherwise reading finds the broken ones.

    Args:
      config: the `data` part of a configuration.
      split: the split's name.

    Raises:
      UserError: if the split is not prepared (the message gives the command), or if videos are or
        have become unusable and `config.on_broken` is not "skip".
    """
    _check(config, split)
    everything = video_text.read(config.folder, config.dataset, split)
    usable, broken = galleries.without_broken(everything)
    _check_counts(config, split, len(usable), len(broken), broken[:_NAMED])
    if config.on_broken == "stop":
        _check_files(config, [clip for record in usable for clip in record.clips])
    names = tuple(clip.name for clip in broken)
    if isinstance(config, TextData) and config.paragraph:
        return [*galleries.paragraphs([r for r in usable if isinstance(r, Record)])], names
    return usable, names


def stored(config: Data, split: str) -> Stored:
    """The records of a split that are read on demand; arguments as in `records`.

    Raises:
      UserError: as in `records`; also if the data set is damaged.
    """
    _check(config, split)
    records = Stored(config.folder, config.dataset, split)
    try:
        usable = records.usable
    except FileNotFoundError:
        where = f"data set {config.dataset} in {config.folder!r}"
        raise UserError(f"{where} is damaged; prepare it again") from None
    broken = np.setdiff1d(np.arange(len(records)), usable, assume_unique=True)
    named = [records[number].clips[0] for number in broken[:_NAMED].tolist()]
    _check_counts(config, split, len(usable), len(broken), named)
    return records


def _check(config: Data, split: str) -> None:
    spec(config.dataset)
    prepared = video_text.splits(config.folder, config.dataset)
    if split in prepared:
        return
    drawn = DRAWN[config.dataset].COUNTS if config.dataset in DRAWN else own.SPLITS.values()
    known = splits(config.dataset) or tuple(dict.fromkeys(drawn))
    if split not in known:
        raise UserError(
            f"{split!r} is not a split of config.data.dataset={config.dataset!r}; choose from"
            f" {', '.join(known)}"
        )
    command = f"tokmerge prepare --dataset {config.dataset}"
    if splits(config.dataset):
        command += " --annotations DIR --videos DIR"
    if config.dataset == OWN:
        command += " --captions FILE --videos DIR"
    elif splits(config.dataset) or config.dataset in DRAWN:
        command += f" --splits {split}"
    others = f", which holds {', '.join(prepared)}" if prepared else ""
    raise UserError(
        f"data set {config.dataset}, split {split}, is not prepared in {config.folder!r}{others} "
        f"(config.data.folder); prepare it by tokmerge_jax.prepare, or with: {command}"
        f" --folder {config.folder}"
    )


def _check_counts(
    config: Data, split: str, usable: int, broken: int, named: Sequence[Clip]
) -> None:
    """Raises UserError if there are broken videos (`named` are the first) or no usable ones."""
    if broken and config.on_broken == "stop":
        report = video_text.report_path(config.folder, config.dataset)
        raise UserError(
            f"{broken} videos of {config.dataset} cannot be used ({_listed(named, broken)}), see"
            f" {report}; repair them and prepare again, or leave them out with"
            " config.data.on_broken=skip"
        )
    if not usable:
        raise UserError(f"no video of {config.dataset}, split {split}, can be read")


def _check_files(config: Data, clips: Sequence[Clip]) -> None:
    """Raises UserError if files are missing, or have changed and cannot be decoded any more."""
    by_path = {str(pathlib.Path(config.folder, clip.path)): clip for clip in clips}
    log = checking.log_path(config.folder, config.dataset)
    faults = checking.faults([*by_path], log, config.workers)
    if faults:
        broken = [dataclasses.replace(by_path[path], fault=why) for path, why in faults.items()]
        raise UserError(
            f"{len(broken)} videos of {config.dataset} were usable when it was prepared, and are no"
            f" longer ({_listed(broken, len(broken))}); bring them back, or leave them out with"
            " config.data.on_broken=skip"
        )


def answers(config: QuestionData) -> tuple[str, ...]:
    """The answers to choose from, as `config.answers` says.

    A path: the list in that file. "": the list that the data set was prepared with. `OF_SPLIT`: the
    distinct answers of `config.split`, sorted; those of unusable videos count too, so that the list
    does not depend on the machine.

    Raises:
      UserError: if there is no such list.
    """
    if config.answers == OF_SPLIT:
        everything = video_text.read(config.folder, config.dataset, config.split)
        of_split = {text for r in everything if isinstance(r, Question) for text in r.answers}
        return tuple(sorted(of_split))
    stored = video_text.answers_path(config.folder, config.dataset)
    path = pathlib.Path(config.answers) if config.answers else stored
    if not path.is_file():
        wanted = spec(config.dataset).answers or stored.name
        raise UserError(
            f"{path}: no such answer list; put {wanted} (a JSON list of texts) beside the"
            " annotations and prepare the data set again, or name one by config.data.answers, where"
            f" {OF_SPLIT!r} stands for the answers of the evaluated split"
        )
    return umt.read_answers(path)


def labels(config: Data) -> tuple[str, ...]:
    """The names of a data set's actions.

    They are those of the CSV file `config.labels`; if that is "", those that the data set was
    prepared with; without either, numbers.

    Raises:
      UserError: if that file does not name the data set's actions, or their number is unknown.
    """
    stored = video_text.labels_path(config.folder, config.dataset)
    if stored.is_file():
        names = tuple(files.texts(files.json_of(stored, list), str(stored)))
    elif config.dataset in action_lists.CLASSES:
        names = tuple(map(str, range(action_lists.CLASSES[config.dataset])))
    else:
        raise UserError(f"{stored}: no such names of actions; prepare {config.dataset} again")
    if not config.labels:
        return names
    table, count = pathlib.Path(config.labels), len(names)
    if config.dataset == OWN:  # whose videos need not show all actions of a table
        count = max(count, len([*files.cells(table, "id", "name")]))
    return action_lists.read_names(table, count)


def _listed(clips: Sequence[Clip], count: int) -> str:
    """A text that names the first of `count` broken videos and gives the number of the others."""
    named = "; ".join(f"{clip.name:.100}: {clip.fault}" for clip in clips[:_NAMED])
    return named + (f" and {count - _NAMED} more" if count > _NAMED else "")
