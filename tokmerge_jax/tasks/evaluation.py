"""Evaluating whatever a data set asks: retrieval, multiple choice, questions or actions."""

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
    findings,
    metrics,
    multiple_choice,
    published,
    report,
    writing,
)
from tokmerge_jax.evaluation.findings import Findings
from tokmerge_jax.system import Answering, MultipleChoice, Recognition, Retrieval, System, Writing
from tokmerge_jax.types import Actions, Batch, Choices, Gallery, Json, Params, Questions, UserError
from tokmerge_jax.visualize import confusion

T = TypeVar("T")
R = TypeVar("R", Retrieval, MultipleChoice, Answering, Recognition)
Outcome = TypeVar(
    "Outcome",
    multiple_choice.Chosen,
    answering.Ranking,
    writing.Written,
    actions.Recognised,
)

Asked = Any  # a `Gallery`, `Choices`, `Questions` or `Actions`, as the data set's kind says


@dataclasses.dataclass(frozen=True)
class Run:
    """One evaluation: what is evaluated on what, how, and where its results are kept.

    `faults` says of rows of the gallery why their videos could not be decoded.
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
        """What the evaluation works with."""
        return evaluation.Context(self.model, self.batches, self.store, self.watch)

    def batches(self, batch_size: int, rows: np.ndarray) -> Iterator[Batch]:
        """Those of the videos in `rows` that can be decoded; the others are put into `faults`."""
        return self.source.batches(
            self.system.pixels.transform, batch_size, rows.tolist(), self._refuse
        )

    def left(self) -> tuple[Asked, list[int]]:
        """What is asked of the videos that could be decoded, and its rows (`Gallery.without`).

        Raises:
          UserError: if there is none.
        """
        asked, rows = self.source.gallery.without(self.faults)
        if not asked.videos:
            raise UserError(f"no video can be decoded; the first: {self.faults[0]}")
        return asked, rows

    @property
    def broken(self) -> list[str]:
        """Names of all videos that are left out: first those that preparation refused, then those
        that failed in this run.
        """
        return [*self.source.broken, *(self.source.gallery.videos[row] for row in self.faults)]

    def _refuse(self, row: int, fault: str) -> None:
        if self.config.data.on_broken == "stop":
            raise UserError(
                f"{fault}; the same command goes on from here when that is done, or leaves out such"
                " videos with --config.data.on_broken=skip"
            )
        print(f"\n{fault}; left out", file=sys.stderr)
        self.faults[row] = fault


@dataclasses.dataclass(frozen=True)
class Task(Generic[R]):
    """How one kind of data set is evaluated.

    Attributes:
      open: opens the data set.
      record: what a system offers for it; None if it cannot do it.
      texts: ids, masks: what the record makes of the data set's texts.
      evaluate: does it.
      draw: makes a picture of results, what they are about and arrays; None if there is none.
    """

    open: Callable[[Any, int], data.Source]  # of the `data` part that its class reads
    record: Callable[[System], R | None]
    texts: Callable[[R, Asked], tuple[np.ndarray, ...]]
    evaluate: Callable[[Run, R], Findings]
    draw: Callable[[Mapping[str, Json], Asked, Mapping[str, np.ndarray]], Figure] | None = None

    def needed(self, system: System) -> R:
        """The record of a system.

        Raises:
          UserError: if the system cannot do the task.
        """
        record, name = self.record(system), system.config.data.dataset
        if record is None:
            raise UserError(
                f"the system {system.name!r} cannot work on {prepared.spec(name).kind}, which"
                f" config.data.dataset={name!r} holds; choose that data set's configuration"
            )
        return record


def _only(found: Outcome, rows: list[int]) -> Outcome:
    """An outcome less the rows of what is asked of videos that are left out."""
    arrays = {name: x[rows] for name, x in vars(found).items() if isinstance(x, np.ndarray)}
    return dataclasses.replace(found, **arrays)


def _captions(retrieval: Retrieval, gallery: Gallery) -> tuple[np.ndarray, ...]:
    return retrieval.tokenize(gallery.texts)


def _retrieve(run: Run, retrieval: Retrieval) -> Findings:
    ids, mask = run.texts
    gallery, options = run.source.gallery, expect(run.config.eval, RetrievalOptions)
    retrieval.tokenize.report_cut(gallery.texts, "captions")
    metrics.check(options.metrics, gallery.relevant, len(gallery.videos))

    def left() -> tuple[list[int], list[int]]:
        _, texts = run.left()
        return [row for row in range(len(gallery.videos)) if row not in run.faults], texts

    scores = evaluation.evaluate(
        run.context, retrieval, len(gallery.videos), (ids, mask), options, left=left
    )
    return findings.retrieval(scores, run.left()[0], run.config, run.broken)


def _options(choosing: MultipleChoice, choices: Choices) -> tuple[np.ndarray, ...]:
    ids, mask = choosing.tokenize([option for row in choices.options for option in row])
    videos = len(choices.options)
    return tuple(rearrange(x, "(v p) l -> v p l", v=videos) for x in (ids, mask))


def _choose(run: Run, choosing: MultipleChoice) -> Findings:
    ids, mask = run.texts
    options = [option for row in run.source.gallery.options for option in row]
    choosing.tokenize.report_cut(options, "options")
    size = run.config.eval.batch_size
    chosen = multiple_choice.evaluate(run.context, choosing, (ids, mask), size)
    asked, rows = run.left()
    return findings.choices(_only(chosen, rows), asked, run.config, run.broken)


def _questions(answers: Answering, questions: Questions) -> tuple[np.ndarray, ...]:
    ids, mask = answers.tokenize(questions.texts)
    answer_ids, _ = answers.tokenize_answers(questions.answers)
    return ids, mask, answer_ids


def _answer(run: Run, answers: Answering) -> Findings:
    options, asked = expect(run.config.eval, AnsweringOptions), run.source.gallery
    answers.tokenize.report_cut(asked.texts, "questions")
    if answers.writing and options.answering == "generate":
        return _write(run, answers, answers.writing)
    ids, mask, answer_ids = run.texts
    answers.tokenize_answers.report_cut(asked.answers, "answers")
    ranking = answering.evaluate(run.context, answers, asked, (ids, mask), answer_ids, options)
    asked, rows = run.left()
    return findings.answers(_only(ranking, rows), asked, run.config, run.broken)


def _write(run: Run, answers: Answering, writes: Writing) -> Findings:
    ids, mask, _ = run.texts
    asked, options = run.source.gallery, expect(run.config.eval, GeneratingOptions)
    found = writing.evaluate(run.context, answers, writes, asked, (ids, mask), options)
    asked, rows = run.left()
    found = _only(found, rows)
    return findings.written(found, writes.spell(found.ids), asked, run.config, run.broken)


def _no_texts(recognition: Recognition, asked: Actions) -> tuple[np.ndarray, ...]:
    del recognition, asked
    return ()


def _recognise(run: Run, recognition: Recognition) -> Findings:
    config, asked = expect(run.config, tds_clip.Recognition), run.source.gallery
    found = actions.evaluate(
        run.context,
        recognition,
        asked.videos,
        views=config.data.crops * config.data.clips,
        classes=len(asked.names),
        batch_size=config.eval.batch_size,
    )
    asked, rows = run.left()
    return findings.actions(_only(found, rows), asked, config, run.broken)


def _draw_confusion(
    found: Mapping[str, Json], asked: Actions, arrays: Mapping[str, np.ndarray]
) -> Figure:
    rules, headline = found["protocol"], found["headline"]
    title = f"{rules['dataset']}, {rules['split']}: {headline['name']} {headline['value']:.1f} %"
    return confusion.draw(arrays["confusion"], asked.names, found["confused"], title)


_TASKS: Mapping[str, Task] = {
    "captions": Task(data.open_retrieval, lambda system: system.retrieval, _captions, _retrieve),
    "choices": Task(data.open_choices, lambda system: system.multiple_choice, _options, _choose),
    "questions": Task(data.open_questions, lambda system: system.answering, _questions, _answer),
    "actions": Task(
        data.open_actions, lambda system: system.recognition, _no_texts, _recognise, _draw_confusion
    ),
}
"""By the kind of a data set's records."""


def inputs(system: System) -> tuple[data.Source, Params]:
    """Videos and parameters; whatever is missing is told at once, before any long work."""
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
    """What the configuration's data set asks, in its evaluation split or in the one named.

    Raises:
      UserError: if it is not prepared, or the system cannot do the task or tells another number of
        actions.
    """
    config = _with_split(system.config, split).data
    task = _task(system.config)
    task.needed(system)
    source = task.open(config, system.pixels.frames)
    _check_actions(system)
    return source


def open_training(system: System) -> data.TrainingSource:
    """The rows that the configuration trains on.

    Raises:
      UserError: as `open_source`; also if nothing can be trained on such a data set.
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

    What was computed is kept in `folder/cache`: the same call goes on where it was.

    Args:
      name: what the run is called.
      system: what to evaluate.
      params: its parameters.
      source: of `open_source`.
      folder: for the results.
      split: that of `open_source`.
      publication: the numbers that are known of the configuration, to stand beside these.
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
        found = task.evaluate(run, record)
        known["files"] = runtime.digest([stamps])
        results = report.results(name, system, config, found, known, watch.seconds)
        if publication:
            results["published"] = published.compare(results, config, publication)
        report.write(folder, results, found.arrays)
    for warning in report.warnings(results):
        print(warning, file=sys.stderr)
    return results


def draw(
    system: System, found: Mapping[str, Json], source: data.Source, folder: pathlib.Path
) -> pathlib.Path | None:
    """Draws what `evaluate` found and wrote into `folder`, beside it; None if nothing is to see.

    Args:
      system: what was evaluated.
      found: the results.
      source: what they are about.
      folder: theirs.
    """
    task, target = _task(system.config), folder / "confusion.png"
    if task.draw is None:
        return None
    with np.load(folder / "scores.npz") as arrays:
        picture = task.draw(found, source.gallery, arrays)
    with disk.explained(target):
        picture.savefig(target)
    return target


def protocol(system: System, split: str) -> str:
    """What the numbers of `evaluate` mean, as JSON: equal where they can be compared."""
    config = system.config
    keys = config.data.to_dict()
    views = {key: keys[key] for key in ("clips", "crops") if key in keys}
    rules = {"split": split, "answers": keys.get("answers", ""), **views}
    return json.dumps({**rules, **evaluation_rules(config)})


def evaluation_rules(config: Config) -> dict[str, Json]:
    """What `config.eval` says of the numbers, without the sizes that change none."""
    sizes = ("batch_size", "memory_gib")
    return {key: value for key, value in config.eval.to_dict().items() if key not in sizes}


def fingerprint(system: System, params: Params, source: data.Source) -> str:
    """What the numbers of `evaluate` depend on: equal where all of it is."""
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
    """What a model's scores depend on beside the files. A cache of other facts is left alone."""
    return {
        **evaluation.model_facts(system, params),
        "texts": runtime.digest(texts),
        "gallery": runtime.fingerprint(_scored(source.gallery)),
    }


def _stamps(config: Data, source: data.Source) -> np.ndarray:
    """A number of each video's file, uint64, that differs where the file does."""
    stamps = [checking.stamp(pathlib.Path(config.folder, path)) for path in source.paths]
    digests = [runtime.fingerprint({"stamp": stamp}) for stamp in stamps]
    return np.array([int(digest, 16) for digest in digests], np.uint64)


def _scored(asked: Gallery | Choices | Questions | Actions) -> dict[str, Json]:
    """What the scores depend on of what a data set asks: of actions neither labels nor names."""
    if isinstance(asked, Actions):
        return {"videos": asked.videos}
    return dataclasses.asdict(asked)


def _check_actions(system: System) -> None:
    """Raises UserError unless the system tells as many actions as a data set of actions has."""
    if prepared.spec(system.config.data.dataset).kind != "actions":
        return
    config = expect(system.config, tds_clip.Recognition)
    known, told = len(prepared.labels(config.data)), config.model.classes
    if told != known:
        raise UserError(
            f"config.model.classes={told} must be {known}, the number of actions of"
            f" config.data.dataset={config.data.dataset!r}; set it, or choose that data set's"
            " configuration"
        )


def _task(config: Config) -> Task:
    return _TASKS[prepared.spec(config.data.dataset).kind]


def _with_split(config: Config, split: str) -> Config:
    """The configuration, its evaluation split set to `split` unless that is empty."""
    return config.override({"data.split": split or config.data.split})
