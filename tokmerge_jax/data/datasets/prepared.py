"""Opening what `scripts/prepare_data.py` wrote: the records of a data set that can be used."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from tokmerge_jax.config.common import ActionData, Data, QuestionData, TextData
from tokmerge_jax.data.datasets import actions, demo, files, galleries, umt, video_text
from tokmerge_jax.data.datasets.specs import SPECS, DatasetSpec, splits
from tokmerge_jax.data.datasets.video_text import AnyRecord, Clip, Question, Record, Stored
from tokmerge_jax.data.video import checking
from tokmerge_jax.types import UserError

OF_SPLIT = "split"
"""`config.answers` that takes the answers which the evaluated split itself has."""

_NAMED = 10  # broken videos that an error names


def spec(dataset: str) -> DatasetSpec:
    """The data set of that name.

    Raises:
      UserError: if there is none.
    """
    if dataset not in SPECS:
        raise UserError(f"config.data.dataset={dataset!r} is unknown; known: {', '.join(SPECS)}")
    return SPECS[dataset]


def records(config: Data, split: str) -> tuple[list[AnyRecord], tuple[str, ...]]:
    """The usable records of a split, joined to paragraphs if asked; names of videos left out.

    Files are looked up, too, unless broken videos are left out: those are found when they are read.

    Args:
      config: the `data` part of a configuration.
      split: the split's name.

    Raises:
      UserError: if the split is not prepared (with the command that does it), or if videos are
        unusable, or have become so, and `config.on_broken` is not "skip".
    """
    _check(config, split)
    found = video_text.read(config.folder, config.dataset, split)
    usable, broken = galleries.without_broken(found)
    _judge(config, split, len(usable), len(broken), broken[:_NAMED])
    if config.on_broken == "stop":
        _check_files(config, [clip for record in usable for clip in record.clips])
    names = tuple(clip.name for clip in broken)
    if isinstance(config, TextData) and config.paragraph:
        return [*galleries.paragraphs([r for r in usable if isinstance(r, Record)])], names
    return usable, names


def stored(config: Data, split: str) -> Stored:
    """The records of a split of a data set that is read on demand; arguments as in `records`.

    Raises:
      UserError: as in `records`; also if the data set was prepared before any was read on demand.
    """
    _check(config, split)
    found = Stored(config.folder, config.dataset, split)
    try:
        usable = found.usable
    except FileNotFoundError:
        where = f"data set {config.dataset} in {config.folder!r}"
        raise UserError(f"{where} is old; prepare it again") from None
    broken = np.setdiff1d(np.arange(len(found)), usable, assume_unique=True)
    named = [found[number].clips[0] for number in broken[:_NAMED].tolist()]
    _judge(config, split, len(usable), len(broken), named)
    return found


def _check(config: Data, split: str) -> None:
    spec(config.dataset)
    if split not in video_text.splits(config.folder, config.dataset):
        raise UserError(_missing(config, split))


def _judge(config: Data, split: str, usable: int, broken: int, named: Sequence[Clip]) -> None:
    """Whether so many usable and broken ones will do; `named` are the first of these."""
    if broken and config.on_broken == "stop":
        raise UserError(_broken(config, broken, named))
    if not usable:
        raise UserError(f"no video of {config.dataset}, split {split}, can be read")


def _check_files(config: Data, clips: Sequence[Clip]) -> None:
    """Raises UserError if files are gone, or have changed and cannot be decoded any more."""
    by_path = {str(pathlib.Path(config.folder, clip.path)): clip for clip in clips}
    log = checking.log_path(config.folder, config.dataset)
    faults = checking.faults([*by_path], log, config.workers)
    if faults:
        broken = [dataclasses.replace(by_path[path], fault=why) for path, why in faults.items()]
        raise UserError(
            f"{len(broken)} videos of {config.dataset} were usable when it was prepared, and are no"
            f" longer ({_listed(broken, len(broken))}); bring them back, or leave them out with"
            " --config.data.on_broken=skip"
        )


def answers(config: QuestionData) -> tuple[str, ...]:
    """The answers to choose from: those of the file `config.answers`, or, if that is "", the list
    that the data set was prepared with.

    If it is `OF_SPLIT`: the different ones of `config.split`, sorted, also those to questions about
    videos that cannot be used, so that the list is everybody's.

    Raises:
      UserError: if there is none.
    """
    if config.answers == OF_SPLIT:
        found = video_text.read(config.folder, config.dataset, config.split)
        of_split = {text for r in found if isinstance(r, Question) for text in r.answers}
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


def labels(config: ActionData) -> tuple[str, ...]:
    """The names of a data set's actions: those of the CSV `config.labels`, or, if that is "", those
    that it was prepared with, or, if there were none, their numbers.

    Raises:
      UserError: if that file does not name the data set's actions, or nothing tells how many the
        data set has.
    """
    stored = video_text.labels_path(config.folder, config.dataset)
    if stored.is_file():
        names = tuple(files.texts(files.json_of(stored, list), str(stored)))
    elif config.dataset in actions.CLASSES:
        names = tuple(map(str, range(actions.CLASSES[config.dataset])))
    else:
        raise UserError(f"{stored}: no such names of actions; prepare {config.dataset} again")
    return actions.read_names(pathlib.Path(config.labels), len(names)) if config.labels else names


def _missing(config: Data, split: str) -> str:
    known = splits(config.dataset) or tuple(demo.COUNTS)
    if split not in known:
        return (
            f"{split!r} is no split of config.data.dataset={config.dataset!r}; choose from"
            f" {', '.join(known)}"
        )
    command = f"python scripts/prepare_data.py --dataset {config.dataset}"
    if splits(config.dataset):
        command += f" --annotations DIR --videos DIR --splits {split}"
    return (
        f"data set {config.dataset}, split {split}, is not prepared in {config.folder!r} "
        f"(config.data.folder); prepare it with: {command} --folder {config.folder}"
    )


def _broken(config: Data, count: int, clips: Sequence[Clip]) -> str:
    report = video_text.report_path(config.folder, config.dataset)
    return (
        f"{count} videos of {config.dataset} cannot be used ({_listed(clips, count)}), see"
        f" {report}; repair them and prepare again, or leave them out with"
        " --config.data.on_broken=skip"
    )


def _listed(clips: Sequence[Clip], count: int) -> str:
    """The first of `count` broken videos, with their faults, and the number of the others."""
    named = "; ".join(f"{clip.name:.100}: {clip.fault}" for clip in clips[:_NAMED])
    return named + (f" and {count - _NAMED} more" if count > _NAMED else "")
