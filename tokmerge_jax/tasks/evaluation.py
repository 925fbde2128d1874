"""Evaluates a system on a data set: retrieval, multiple choice, questions or actions."""

import dataclasses
import functools
import io
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import jax
import numpy as np

from tokmerge_jax import checkpoints, data, disk, evaluation, hosts, parallel, runtime
from tokmerge_jax.config import Config, common, expect
from tokmerge_jax.config.common import ActionData, Data
from tokmerge_jax.config.published import Publication
from tokmerge_jax.data.datasets import prepared
from tokmerge_jax.data.video import checking
from tokmerge_jax.evaluation import published, report
from tokmerge_jax.objects import Place
from tokmerge_jax.system import System
from tokmerge_jax.tasks.kinds import PROMPTED, TASKS, Run, Task
from tokmerge_jax.types import Actions, Json, Params, UserError

T = TypeVar("T")


def inputs(system: System) -> tuple[data.Source, Params]:
    """Opens the videos and loads the parameters; reports everything missing in one error."""
    faults = []

    def attempt(load: Callable[[], T]) -> T | None:
        try:
            return load()
        except UserError as error:
            faults.append(str(error))
            return None

    params = attempt(lambda: checkpoints.load_checkpoint(system.config.checkpoint, system))
    source = attempt(lambda: open_source(system))
    reads = next(filter(None, (system.retrieval, system.answering)), None)
    if reads:
        attempt(lambda: reads.tokenize([""]))
    if source is None or params is None or faults:
        raise UserError("\n".join(dict.fromkeys(faults)))
    return source, params


def open_source(system: System, split: str = "") -> data.Source:
    """Opens the configuration's data set, in its evaluation split or the given one.

    Raises:
      UserError: if it is not prepared, the system does not support the task, or its number of
        actions differs.
    """
    config = _with_split(system.config, split).data
    task = _task(system)
    task.needed(system)
    source = task.open(config, system.pixels.frames)
    _check_actions(system)
    return source


def open_training(system: System) -> data.TrainingSource:
    """Opens the training rows of the configuration's data set.

    Raises:
      UserError: as in `open_source`; also if this kind of data set cannot be trained on.
    """
    config = system.config
    _trainable(system)
    train, frames = config.train, system.pixels.frames
    rows = train.questions_per_video, train.samples, train.together
    source = data.open_training(config.training_data(), frames, train.split, *rows)
    _check_actions(system)
    return source


def evaluate(
    name: str,
    system: System,
    params: Params,
    source: data.Source,
    folder: Place,
    *,
    split: str = "",
    publication: Publication | None = None,
) -> dict[str, Json]:
    """Evaluates, writes results.json and scores.npz into `folder`, and returns the results.

    The scores of a retrieval gallery of more than `outcomes.PAIRS` pairs are not written.
    Intermediate results are kept in `folder/cache`, so that the same call resumes after a stop.

    Args:
      name: the run's name.
      system: the system to evaluate.
      params: its parameters.
      source: the result of `open_source`.
      folder: the folder for the results.
      split: the split given to `open_source`.
      publication: the published numbers of the configuration, to report beside the results.
    """
    config, task = _with_split(system.config, split), _task(system)
    record = task.needed(system)
    texts = task.texts(record, source.gallery)
    with hosts.held(folder):
        model = evaluation.Model(params, parallel.make_mesh(**config.mesh.to_dict(), local=True))
        if task.encoder and not (folder / "cache").exists():  # or there may be nothing to encode
            model.begin(task.encoder(record), batch_shape(system, model.mesh))
        if jax.default_backend() == "cpu":  # where they are in order, and hashing copies nothing
            params = model.placed
        known, stamps = facts(system, source, params, texts), _stamps(config.data, source)
        store = evaluation.Store(folder / "cache", known, stamps)
        seconds = f"seconds_{runtime.fingerprint(evaluation_rules(config))}"
        before = store.noted(seconds, dict)
        watch = runtime.Stopwatch(before, functools.partial(store.note_often, seconds))
        run = Run(system, config, source, texts, model, store, watch)
        outcome = task.evaluate(run, record)
        store.note(seconds, watch.seconds)
        known["files"] = runtime.digest([stamps])
        results = report.results(name, system, config, outcome, known, watch.seconds)
        if publication:
            results["published"] = published.compare(results, config, publication)
        notes = report.warnings(results)
        if not hosts.number():
            notes += report.replaced(folder, results)
            report.write(folder, results, outcome.arrays)
    for note in notes:
        print(note, file=sys.stderr)
    return results


def draw(
    system: System, results: Mapping[str, Json], source: data.Source, folder: Place
) -> Place | None:
    """Draws the results of `evaluate` into their folder; None if the task has no figure.

    Args:
      system: the evaluated system.
      results: the results.
      source: the evaluated data.
      folder: the folder of the results.
    """
    task, target = _task(system), folder / "confusion.png"
    if task.draw is None:
        return None
    with (
        disk.explained(folder),
        np.load(io.BytesIO((folder / "scores.npz").read_bytes())) as arrays,
    ):
        picture = task.draw(results, source.gallery, arrays)
    with disk.replaced(target) as part:
        picture.savefig(part, format="png")
    return target


def protocol(system: System, split: str) -> str:
    """The evaluation protocol as JSON; results with equal protocols can be compared."""
    config = system.config
    keys = config.data.to_dict()
    views = {key: keys[key] for key in ("clips", "crops") if key in keys}
    rules = {"split": split, "answers": keys.get("answers", ""), **views}
    return json.dumps({**rules, **evaluation_rules(config)})


def evaluation_rules(config: Config) -> dict[str, Json]:
    """`config.eval` without the sizes and limits that do not affect the numbers."""
    sizes = ("batch_size", "memory_gib")
    return {key: value for key, value in config.eval.to_dict().items() if key not in sizes}


def fingerprint(system: System, params: Params, source: data.Source) -> str:
    """A fingerprint of everything that the numbers of `evaluate` depend on."""
    task = _task(system)
    texts = task.texts(task.needed(system), source.gallery)
    known = facts(system, source, params, texts)
    known["files"] = runtime.digest([_stamps(system.config.data, source)])
    if isinstance(source.gallery, Actions):
        known["labels"] = source.gallery.labels
    return runtime.fingerprint(known)


def facts(
    system: System, source: data.Source, params: Params, texts: Sequence[np.ndarray]
) -> dict[str, Json]:
    """The facts that a model's scores depend on, beside the videos' files."""
    asked = source.gallery
    # The scores of actions depend neither on labels nor on names.
    scored = {"videos": asked.videos} if isinstance(asked, Actions) else dataclasses.asdict(asked)
    return {
        **evaluation.model_facts(system, params),
        "texts": runtime.digest(texts),
        "gallery": runtime.fingerprint(scored),
    }


def _stamps(config: Data, source: data.Source) -> np.ndarray:
    """A number per video, uint64, that changes when its file does."""
    stamps = [checking.stamp(pathlib.Path(config.folder, path)) for path in source.paths]
    digests = [runtime.fingerprint({"stamp": stamp}) for stamp in stamps]
    return np.array([int(digest, 16) for digest in digests], np.uint64)


def batch_shape(system: System, mesh: jax.sharding.Mesh) -> jax.ShapeDtypeStruct:
    """The shape of a batch of videos, each with all its views."""
    data, pixels = system.config.data, system.pixels
    views = data.clips * data.crops if isinstance(data, ActionData) else 1
    size = parallel.batch_size(mesh, system.config.eval.batch_size)
    shape = size, views * data.neighbours * pixels.frames, *(pixels.image_size,) * 2, 3
    return jax.ShapeDtypeStruct(shape, np.uint8)


def _check_actions(system: System) -> None:
    """Raises UserError unless the system has as many classes as the data set has actions."""
    if prepared.kind(system.config.data) != "actions" or system.zero_shot:
        return
    config = expect(system.config, common.Recognition)
    known, classes = len(prepared.labels(config.data)), config.model.classes
    if classes != known:
        raise UserError(
            f"config.model.classes={classes} must be {known}, the number of actions of"
            f" config.data.dataset={config.data.dataset!r}; set it, or use the configuration of"
            " that data set"
        )


def _task(system: System) -> Task:
    """The evaluation of the configuration's data set by what the system can do."""
    kind = prepared.kind(system.config.data)
    return PROMPTED if kind == "actions" and system.zero_shot else TASKS[kind]


def _trainable(system: System) -> None:
    """Raises UserError if the system cannot do the task of its data set, or only by prompts."""
    task = _task(system)
    task.needed(system)
    if task is PROMPTED:
        raise UserError(
            f"the system {system.name!r} recognises actions by prompts, without training; name a"
            " data set of captions in config.data.dataset to train it"
        )


def _with_split(config: Config, split: str) -> Config:
    """The configuration with the evaluation split `split`, unless that is empty."""
    return config.override({"data.split": split or config.data.split})
