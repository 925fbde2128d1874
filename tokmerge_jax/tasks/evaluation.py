"""Evaluates a system on a data set: retrieval, multiple choice, questions or actions."""

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from einops import rearrange
from matplotlib.figure import Figure

from tokmerge_jax import checkpoints, data, disk, evaluation, parallel, runtime
from tokmerge_jax.config import Config, expect, tds_clip
from tokmerge_jax.config.common import Data
from tokmerge_jax.config.evaluation import AnsweringOptions, GeneratingOptions, RetrievalOptions
from tokmerge_jax.config.published import Publication
from tokmerge_jax.data.datasets import prepared
from tokmerge_jax.data.video import checking
from tokmerge_jax.evaluation import (
    actions,
    answering,
    metrics,
    multiple_choice,
    outcomes,
    published,
    report,
    writing,
)
from tokmerge_jax.evaluation.outcomes import Outcome
from tokmerge_jax.system import Answering, MultipleChoice, Recognition, Retrieval, System, Writing
from tokmerge_jax.types import Actions, Batch, Choices, Gallery, Json, Params, Questions, UserError
from tokmerge_jax.visualize import confusion

T = TypeVar("T")
R = TypeVar("R", Retrieval, MultipleChoice, Answering, Recognition)
Scored = TypeVar(
    "Scored",
    multiple_choice.OptionScores,
    answering.Ranking,
    writing.WrittenAnswers,
    actions.ActionScores,
)

AnyGallery = Any  # `Gallery`, `Choices`, `Questions` or `Actions`, by the kind of the data set


@dataclasses.dataclass(frozen=True)
class Run:
    """One evaluation: the system, its inputs and the store of its results.

    `faults` maps rows of the gallery to the reason why their videos could not be decoded.
    """

    system: System
    config: Config
    source: data.Source
    texts: tuple[np.ndarray, ...]
    model: evaluation.Model
    store: evaluation.Store
    watch: runtime.Stopwatch
    faults: dict[int, str] = dataclasses.field(default_factory=dict)

    @property
    def context(self) -> evaluation.Context:
        """The context that the task's evaluation takes."""
        return evaluation.Context(self.model, self.batches, self.store, self.watch)

    def batches(self, batch_size: int, rows: np.ndarray) -> Iterator[Batch]:
        """Yields the videos in `rows` that can be decoded; adds the others to `faults`."""
        return self.source.batches(
            self.system.pixels.transform, batch_size, rows.tolist(), self._refuse
        )

    def usable(self) -> tuple[AnyGallery, list[int]]:
        """Returns the gallery without undecodable videos, and its rows (`Gallery.without`).

        Raises:
          UserError: if no video is left.
        """
        gallery, rows = self.source.gallery.without(self.faults)
        if not gallery.videos:
            raise UserError(f"no video can be decoded; the first fault: {self.faults[0]}")
        return gallery, rows

    @property
    def broken(self) -> list[str]:
        """Names of all videos that are left out: those found by preparation, then by this run."""
        return [*self.source.broken, *(self.source.gallery.videos[row] for row in self.faults)]

    def _refuse(self, row: int, fault: str) -> None:
        if self.config.data.on_broken == "stop":
            raise UserError(
                f"{fault}; then run the same command again to continue from here, or add"
                " config.data.on_broken=skip to leave out broken videos"
            )
        print(f"\n{fault}; left out", file=sys.stderr)
        self.faults[row] = fault


@dataclasses.dataclass(frozen=True)
class Task(Generic[R]):
    """The evaluation of one kind of data set.

    Attributes:
      open: opens the data set.
      kind: the record of `System` that holds the functions for the task.
      texts: tokenises the data set's texts into ids and masks.
      evaluate: runs the evaluation.
      draw: draws a figure from (results, gallery, arrays); None if the task has no figure.
    """

    open: Callable[[Any, int], data.Source]  # Any: the `data` part of the kind's class
    kind: type[R]
    texts: Callable[[R, AnyGallery], tuple[np.ndarray, ...]]
    evaluate: Callable[[Run, R], Outcome]
    draw: Callable[[Mapping[str, Json], AnyGallery, Mapping[str, np.ndarray]], Figure] | None = None

    def needed(self, system: System) -> R:
        """The system's functions for the task.

        Raises:
          UserError: if the system does not support the task.
        """
        return system.task(self.kind, f"config.data.dataset={system.config.data.dataset!r}")


def _only(scored: Scored, rows: list[int]) -> Scored:
    """Keeps only `rows` of all arrays, without those of videos that are left out."""
    arrays = {name: x[rows] for name, x in vars(scored).items() if isinstance(x, np.ndarray)}
    return dataclasses.replace(scored, **arrays)


def _captions(retrieval: Retrieval, gallery: Gallery) -> tuple[np.ndarray, ...]:
    return retrieval.tokenize(gallery.texts)


def _retrieve(run: Run, retrieval: Retrieval) -> Outcome:
    ids, mask = run.texts
    gallery, options = run.source.gallery, expect(run.config.eval, RetrievalOptions)
    retrieval.tokenize.report_cut(gallery.texts, "captions")
    metrics.check(options.metrics, gallery.relevant, len(gallery.videos))

    def usable() -> tuple[list[int], list[int]]:
        _, texts = run.usable()
        return [row for row in range(len(gallery.videos)) if row not in run.faults], texts

    scores = evaluation.evaluate(
        run.context, retrieval, len(gallery.videos), (ids, mask), options, usable=usable
    )
    return outcomes.retrieval(scores, run.usable()[0], run.config, run.broken)


def _options(choosing: MultipleChoice, choices: Choices) -> tuple[np.ndarray, ...]:
    ids, mask = choosing.tokenize([option for row in choices.options for option in row])
    videos = len(choices.options)
    return tuple(rearrange(x, "(v p) l -> v p l", v=videos) for x in (ids, mask))


def _choose(run: Run, choosing: MultipleChoice) -> Outcome:
    ids, mask = run.texts
    options = [option for row in run.source.gallery.options for option in row]
    choosing.tokenize.report_cut(options, "options")
    size = run.config.eval.batch_size
    chosen = multiple_choice.evaluate(run.context, choosing, (ids, mask), size)
    gallery, rows = run.usable()
    return outcomes.choices(_only(chosen, rows), gallery, run.config, run.broken)


def _questions(answers: Answering, questions: Questions) -> tuple[np.ndarray, ...]:
    ids, mask = answers.tokenize(questions.texts)
    answer_ids, _ = answers.tokenize_answers(questions.answers)
    return ids, mask, answer_ids


def _answer(run: Run, answers: Answering) -> Outcome:
    options, gallery = expect(run.config.eval, AnsweringOptions), run.source.gallery
    answers.tokenize.report_cut(gallery.texts, "questions")
    if answers.writing and options.answering == "generate":
        return _write(run, answers, answers.writing)
    ids, mask, answer_ids = run.texts
    answers.tokenize_answers.report_cut(gallery.answers, "answers")
    ranking = answering.evaluate(run.context, answers, gallery, (ids, mask), answer_ids, options)
    gallery, rows = run.usable()
    return outcomes.answers(_only(ranking, rows), gallery, run.config, run.broken)


def _write(run: Run, answers: Answering, writes: Writing) -> Outcome:
    ids, mask, _ = run.texts
    gallery, options = run.source.gallery, expect(run.config.eval, GeneratingOptions)
    written = writing.evaluate(run.context, answers, writes, gallery, (ids, mask), options)
    gallery, rows = run.usable()
    written = _only(written, rows)
    return outcomes.written(written, writes.spell(written.ids), gallery, run.config, run.broken)


def _no_texts(recognition: Recognition, gallery: Actions) -> tuple[np.ndarray, ...]:
    del recognition, gallery
    return ()


def _recognise(run: Run, recognition: Recognition) -> Outcome:
    config, gallery = expect(run.config, tds_clip.Recognition), run.source.gallery
    scores = actions.evaluate(
        run.context,
        recognition,
        gallery.videos,
        views=config.data.crops * config.data.clips,
        classes=len(gallery.names),
        batch_size=config.eval.batch_size,
    )
    gallery, rows = run.usable()
    return outcomes.actions(_only(scores, rows), gallery, config, run.broken)


def _draw_confusion(
    results: Mapping[str, Json], gallery: Actions, arrays: Mapping[str, np.ndarray]
) -> Figure:
    rules, headline = results["protocol"], results["headline"]
    title = f"{rules['dataset']}, {rules['split']}: {headline['name']} {headline['value']:.1f} %"
    return confusion.draw(arrays["confusion"], gallery.names, results["confused"], title)


_TASKS: Mapping[str, Task] = {
    "captions": Task(data.open_retrieval, Retrieval, _captions, _retrieve),
    "choices": Task(data.open_choices, MultipleChoice, _options, _choose),
    "questions": Task(data.open_questions, Answering, _questions, _answer),
    "actions": Task(data.open_actions, Recognition, _no_texts, _recognise, _draw_confusion),
}
"""Kind of a data set's records -> task."""


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
    task = _task(system.config)
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
    _task(config).needed(system)
    train, frames = config.train, system.pixels.frames
    together, samples = train.questions_per_video, train.samples
    source = data.open_training(config.training_data(), frames, train.split, together, samples)
    _check_actions(system)
    return source


def evaluate(
    name: str,
    system: System,
    params: Params,
    source: data.Source,
    folder: pathlib.Path,
    *,
    split: str = "",
    publication: Publication | None = None,
) -> dict[str, Json]:
    """Evaluates, writes results.json and scores.npz into `folder`, and returns the results.

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
    config, task = _with_split(system.config, split), _task(system.config)
    record = task.needed(system)
    texts = task.texts(record, source.gallery)
    with disk.held(folder):
        known, stamps = facts(system, source, params, texts), _stamps(config.data, source)
        store = evaluation.Store(folder / "cache", known, stamps)
        model = evaluation.Model(params, parallel.make_mesh(config.mesh.to_dict()))
        seconds = f"seconds_{runtime.fingerprint(evaluation_rules(config))}"
        before = store.noted(seconds, dict)
        watch = runtime.Stopwatch(before, functools.partial(store.note, seconds))
        run = Run(system, config, source, texts, model, store, watch)
        outcome = task.evaluate(run, record)
        known["files"] = runtime.digest([stamps])
        results = report.results(name, system, config, outcome, known, watch.seconds)
        if publication:
            results["published"] = published.compare(results, config, publication)
        report.write(folder, results, outcome.arrays)
    for warning in report.warnings(results):
        print(warning, file=sys.stderr)
    return results


def draw(
    system: System, results: Mapping[str, Json], source: data.Source, folder: pathlib.Path
) -> pathlib.Path | None:
    """Draws the results of `evaluate` into their folder; None if the task has no figure.

    Args:
      system: the evaluated system.
      results: the results.
      source: the evaluated data.
      folder: the folder of the results.
    """
    task, target = _task(system.config), folder / "confusion.png"
    if task.draw is None:
        return None
    with np.load(folder / "scores.npz") as arrays:
        picture = task.draw(results, source.gallery, arrays)
    with disk.explained(target):
        picture.savefig(target)
    return target


def protocol(system: System, split: str) -> str:
    """The evaluation protocol as JSON; results with equal protocols can be compared."""
    config = system.config
    keys = config.data.to_dict()
    views = {key: keys[key] for key in ("clips", "crops") if key in keys}
    rules = {"split": split, "answers": keys.get("answers", ""), **views}
    return json.dumps({**rules, **evaluation_rules(config)})


def evaluation_rules(config: Config) -> dict[str, Json]:
    """`config.eval` without the batch sizes and limits that do not affect the numbers."""
    sizes = ("batch_size", "memory_gib")
    return {key: value for key, value in config.eval.to_dict().items() if key not in sizes}


def fingerprint(system: System, params: Params, source: data.Source) -> str:
    """A fingerprint of everything that the numbers of `evaluate` depend on."""
    task = _task(system.config)
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


def _check_actions(system: System) -> None:
    """Raises UserError unless the system has as many classes as the data set has actions."""
    if prepared.spec(system.config.data.dataset).kind != "actions":
        return
    config = expect(system.config, tds_clip.Recognition)
    known, classes = len(prepared.labels(config.data)), config.model.classes
    if classes != known:
        raise UserError(
            f"config.model.classes={classes} must be {known}, the number of actions of"
            f" config.data.dataset={config.data.dataset!r}; set it, or use the configuration of"
            " that data set"
        )


def _task(config: Config) -> Task:
    return _TASKS[prepared.spec(config.data.dataset).kind]


def _with_split(config: Config, split: str) -> Config:
    """The configuration with the evaluation split `split`, unless that is empty."""
    return config.override({"data.split": split or config.data.split})
