"""Training a system on its configuration's data set, and evaluating it on the way."""

import dataclasses
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import jax

from tokmerge_jax import checkpoints, data, disk
from tokmerge_jax.system import System
from tokmerge_jax.tasks import evaluation
from tokmerge_jax.training import curve
from tokmerge_jax.training.loop import Plan, Trials, fit, training_of
from tokmerge_jax.training.run import Run, identity
from tokmerge_jax.types import Params


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a sitting of a training leaves.

    Attributes:
      params: the parameters so far, to evaluate and to keep.
      step: finished steps; fewer than the plan's if it was asked to stop.
      plan: the whole training.
      trials: evaluations on the way: the headline by finished steps.
    """

    params: Params
    step: int
    plan: Plan
    trials: Mapping[int, float]

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step == self.plan.steps


def train(system: System, folder: Path) -> Trained:
    """Trains to the end, or until it is asked to stop; the same call goes on from there.

    Args:
      system: what to train, on its configuration's data.
      folder: keeps the run: settings, checkpoints, `loss.png`; at the end `parameters/`, and with
        `config.train.eval_split` the best ones in `best/`.

    Raises:
      UserError: if the system has no loss, something is missing, `folder` holds a run of other
        settings or is in use, or the loss is no longer finite.
    """
    training_of(system)
    source = evaluation.open_training(system)
    plan = Plan.of(system.config, len(source))
    trials = _trials(system, folder, len(source) // plan.batch_size)
    with disk.held(folder):
        run = Run(
            folder,
            identity(system.config, len(source)),
            keep=system.config.train.keep_checkpoints,
        )
        report = fit(system, source, plan, run, initial=lambda: _initial(system), trials=trials)
        values = run.trials(trials.protocol) if trials else {}
        curve.draw(run.history(), values, folder / "loss.png")
        trained = Trained(report.params, report.step, plan, values)
        if trained.finished and not (folder / "parameters" / "constants.json").exists():
            checkpoints.save_checkpoint(folder / "parameters", report.params, system)
    return trained


def _trials(system: System, folder: Path, steps_per_epoch: int) -> Trials | None:
    """Evaluations on `config.train.eval_split`, if it is set; the best parameters go to `best`."""
    split, epochs = system.config.train.eval_split, system.config.train.eval_epochs
    if not split:
        return None
    source: data.Source = evaluation.open_source(system, split)

    def measure(step: int, params: Params) -> float:
        place = folder / "trials" / f"{step:06d}"
        results = evaluation.evaluate(f"step {step}", system, params, source, place, split=split)
        shutil.rmtree(place / "cache")  # features of parameters that training has left behind
        headline = results["headline"]
        print(f"\nAfter {step} steps: {headline['name']} {headline['value']:g} % on {split!r}")
        return headline["value"]

    def keep(step: int, params: Params) -> None:
        part, best = folder / "best.part", folder / "best"
        shutil.rmtree(part, ignore_errors=True)
        checkpoints.save_checkpoint(part, params, system, {"steps": step})
        shutil.rmtree(best, ignore_errors=True)  # only now: a full disk leaves the earlier ones
        part.rename(best)

    protocol = evaluation.protocol(system, split)
    return Trials(epochs * steps_per_epoch, protocol, measure, keep)


def _initial(system: System) -> Params:
    """The parameters of `config.checkpoint`, or random ones if it is empty."""
    if system.config.checkpoint:
        return checkpoints.load_checkpoint(system.config.checkpoint, system, to_train=True)
    if training_of(system).trainable:
        print(
            "config.checkpoint is empty: what this training freezes stays random; name the weights"
            " to start from",
            file=sys.stderr,
        )
    return jax.jit(system.weights.init)(jax.random.key(system.config.seed))
