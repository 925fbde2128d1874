"""The evaluation of each kind of data set: its texts, the run, and the outcome."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from einops import rearrange

from tokmerge_jax import data, evaluation, hosts, runtime
from tokmerge_jax.config import Config, common, expect
from tokmerge_jax.config.evaluation import AnsweringOptions, GeneratingOptions, RetrievalOptions
from tokmerge_jax.data.text import prompts
from tokmerge_jax.evaluation import (
    actions,
    answering,
    metrics,
    multiple_choice,
    outcomes,
    writing,
    zero_shot,
)
from tokmerge_jax.evaluation.outcomes import Outcome
from tokmerge_jax.system import (
    Answering,
    MultipleChoice,
    Recognition,
    Retrieval,
    System,
    Writing,
    ZeroShot,
)
from tokmerge_jax.types import Actions, Batch, Choices, Json, Questions, UserError

R = TypeVar("R", Retrieval, MultipleChoice, Answering, Recognition, ZeroShot)
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
    """One evaluation: the system, its inputs, and what has been computed so far.

    Attributes:
      system: the system.
      config: its configuration, with the evaluated split.
      source: the videos.
      texts: the data set's texts as ids and masks (`Task.texts`).
      model: the network's parameters on the devices.
      store: the results so far.
      watch: measures the time of each stage.
      faults: row of the gallery -> why its video cannot be decoded.
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
        """Returns the gallery without undecodable videos, and the remaining rows (see `without`).

        Waits for the other processes, which have decoded other videos.

        Raises:
          UserError: if no video is left.
        """
        for faults in hosts.gather(list(self.faults.items())):
            for row, fault in faults:
                if row not in self.faults:
                    self._refuse(row, fault)
        gallery, rows = self.source.gallery.without(self.faults)
        if not gallery.videos:
            raise UserError(f"no video can be decoded; the first fault: {self.faults[0]}")
        return gallery, rows

    @property
    def broken(self) -> list[str]:
        """The names of all videos that are left out, by preparation or by this run."""
        return [
            *self.source.broken,
            *(self.source.gallery.videos[row] for row in sorted(self.faults)),
        ]

    def _refuse(self, row: int, fault: str) -> None:
        if self.config.data.on_broken == "stop":
            raise UserError(
                f"{fault}; then run the same command again to continue from here, or add"
                " config.data.on_broken=skip to leave out broken videos"
            )
        print(f"\n{fault}; left out", file=sys.stderr)
        self.faults[row] = fault


@runtime_checkable
class Picture(Protocol):
    """A figure of Matplotlib."""

    def savefig(self, fname: pathlib.Path, *, format: str) -> None:
        """Writes the figure to a file."""
        ...


Draw = Callable[[Mapping[str, Json], AnyGallery, Mapping[str, np.ndarray]], Picture]
"""(results, gallery, arrays) -> a figure."""


@dataclasses.dataclass(frozen=True)
class Task(Generic[R]):
    """The evaluation of one kind of data set.

    Attributes:
      open: opens the data set.
      kind: the record of `System` that holds the functions for the task.
      texts: tokenises the data set's texts into ids and masks.
      evaluate: runs the evaluation.
      encoder: the system's function of a batch of videos, which is compiled ahead; None if the task
        makes that function, or the size of its batches, itself.
      draw: draws a figure from (results, gallery, arrays); None if the task has no figure.
    """

    open: Callable[[Any, int], data.Source]  # Any: the `data` part of the kind's class
    kind: type[R]
    texts: Callable[[R, AnyGallery], tuple[np.ndarray, ...]]
    evaluate: Callable[[Run, R], Outcome]
    encoder: Callable[[R], Callable[..., object]] | None = None
    draw: Draw | None = None

    def needed(self, system: System) -> R:
        """The system's functions for the task.

        Raises:
          UserError: if the system does not support the task.
        """
        return system.task(self.kind, f"config.data.dataset={system.config.data.dataset!r}")


def _only(scored: Scored, rows: list[int]) -> Scored:
    """Keeps `rows` of all arrays: those of videos that are not left out."""
    arrays = {name: x[rows] for name, x in vars(scored).items() if isinstance(x, np.ndarray)}
    return dataclasses.replace(scored, **arrays)


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


def _write(run: Run, answers: Answering, writer: Writing) -> Outcome:
    ids, mask, _ = run.texts
    gallery, options = run.source.gallery, expect(run.config.eval, GeneratingOptions)
    written = writing.evaluate(run.context, answers, writer, gallery, (ids, mask), options)
    gallery, rows = run.usable()
    written = _only(written, rows)
    return outcomes.written(written, writer.spell(written.ids), gallery, run.config, run.broken)


def _recognise(run: Run, recognition: Recognition) -> Outcome:
    config, gallery = expect(run.config, common.Recognition), run.source.gallery
    scores = actions.evaluate(
        run.context,
        recognition,
        gallery.videos,
        views=config.data.crops * config.data.clips,
        classes=len(gallery.names),
        batch_size=config.eval.batch_size,
    )
    gallery, rows = run.usable()
    scoring = actions.protocol(config.data)
    return outcomes.actions(_only(scores, rows), gallery, config, run.broken, scoring)


def _prompts(zero_shot: ZeroShot, gallery: Actions) -> tuple[np.ndarray, ...]:
    texts = prompts.about(gallery.names, zero_shot.templates)
    ids, mask = zero_shot.retrieval.tokenize(texts)
    return tuple(rearrange(x, "(k p) l -> k p l", k=len(gallery.names)) for x in (ids, mask))


def _recognise_by_prompts(run: Run, by_prompts: ZeroShot) -> Outcome:
    ids, mask = run.texts
    names, size = run.source.gallery.names, run.config.eval.batch_size
    if all(name.isdecimal() for name in names):
        raise UserError(
            f"config.data.dataset={run.config.data.dataset!r} was prepared without names of its"
            " actions, which prompts need; put a CSV of them (id,name) beside its lists and prepare"
            " it again"
        )
    texts = prompts.about(names, by_prompts.templates)
    by_prompts.retrieval.tokenize.report_cut(texts, "prompts")
    videos = run.source.gallery.videos
    scores = zero_shot.evaluate(run.context, by_prompts, (ids, mask), videos, size)
    gallery, rows = run.usable()
    scoring = {"prompts": ids.shape[1], "score": zero_shot.score(by_prompts)}
    return outcomes.actions(_only(scores, rows), gallery, run.config, run.broken, scoring)


def _draw_confusion(
    results: Mapping[str, Json], gallery: Actions, arrays: Mapping[str, np.ndarray]
) -> Picture:
    from tokmerge_jax.visualize import confusion  # Matplotlib takes a while

    rules, headline = results["protocol"], results["headline"]
    title = f"{rules['dataset']}, {rules['split']}: {headline['name']} {headline['value']:.1f} %"
    return confusion.draw(arrays["confusion"], gallery.names, results["confused"], title)


TASKS: Mapping[str, Task] = {
    "captions": Task(
        data.open_retrieval,
        Retrieval,
        lambda retrieval, gallery: retrieval.tokenize(gallery.texts),
        _retrieve,
        attrgetter("encode_video"),
    ),
    "choices": Task(
        data.open_choices, MultipleChoice, _options, _choose, attrgetter("encode_video")
    ),
    "questions": Task(data.open_questions, Answering, _questions, _answer),
    "actions": Task(
        data.open_actions,
        Recognition,
        lambda *_: (),
        _recognise,
        attrgetter("classify"),
        _draw_confusion,
    ),
}
"""The kind of a data set's records (`DatasetSpec.kind`) -> its evaluation."""

PROMPTED = Task(data.open_actions, ZeroShot, _prompts, _recognise_by_prompts, draw=_draw_confusion)
"""The evaluation of actions by a system that is not trained to recognise them."""
