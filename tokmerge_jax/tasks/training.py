"""Trains a system on its configuration's data set, with evaluations in between."""

import dataclasses
import math
import sys
from collections.abc import Mapping
from functools import partial

import jax

from tokmerge_jax import checkpoints, data, disk, hosts, parallel
from tokmerge_jax.objects import Place
from tokmerge_jax.system import System
from tokmerge_jax.tasks import evaluation
from tokmerge_jax.training import curve
from tokmerge_jax.training.loop import Trials, fit, training_of
from tokmerge_jax.training.plan import Plan
from tokmerge_jax.training.run import RunFolder, identity
from tokmerge_jax.types import Params


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of a training that has ended or was stopped.

    Attributes:
      params: the parameters so far, for evaluation and export.
      step: number of finished steps; fewer than the plan's if training was stopped.
      plan: the plan of the whole training.
      trials: evaluations in between: number of finished steps -> headline value.
    """

    params: Params
    step: int
    plan: Plan
    trials: Mapping[int, float]

    @property
    def finished(self) -> bool:
        """Whether all steps are finished."""
        return self.step == self.plan.steps


def train(system: System, folder: Place) -> Trained:
    """Trains to the end or until a stop is requested; the same call resumes from there.

    Args:
      system: the system to train, on its configuration's data.
      folder: holds the run: settings, checkpoints, `loss.png`; at the end `parameters/`, and, with
        `config.train.eval_split`, the best parameters in `best/`.

    Raises:
      UserError: if the system has no loss, something is missing, `folder` holds a run with other
        settings or is in use, or the loss is not finite any more.
    """
    collate = training_of(system).collate
    source = evaluation.open_training(system)
    plan = Plan.of(system.config, len(source))
    batches = partial(source.batches, system.pixels.augment, collate, plan.batch_size, plan.seed)
    trials = _trials(system, folder, len(source) // plan.batch_size)
    with hosts.held(folder):
        run = RunFolder(
            folder,
            identity(system.config, len(source)),
            keep=system.config.train.keep_checkpoints,
            log=system.config.train.log,
        )
        if not hosts.number():
            _replace_best(folder)
        report = fit(system, batches, plan, run, initial=lambda: _initial(system), trials=trials)
        values = run.trials(trials.protocol) if trials else {}
        trained = Trained(report.params, report.step, plan, values)
        if not hosts.number():
            _write(trained, run, system, folder)
    return trained


def _write(trained: Trained, run: RunFolder, system: System, folder: Place) -> None:
    """Draws the curve and, at the end of the plan, writes the parameters."""
    curve.draw(run.history(), trained.trials, folder / "loss.png")
    if trained.finished and not (folder / "parameters" / "constants.json").exists():
        with disk.filled(folder / "parameters") as target:
            checkpoints.save_checkpoint(target, trained.params, system)


def _trials(system: System, folder: Place, steps_per_epoch: int) -> Trials | None:
    """Evaluations on `config.train.eval_split`, or None; the best parameters go to `best/`."""
    split, epochs = system.config.train.eval_split, system.config.train.eval_epochs
    if not split:
        return None
    source: data.Source = evaluation.open_source(system, split)
    evaluated = _on_own_devices(system)

    def measure(step: int, params: Params) -> float:
        place = folder / "trials" / f"{step:06d}"
        results = evaluation.evaluate(f"step {step}", evaluated, params, source, place, split=split)
        if not hosts.number():
            disk.remove(place / "cache")  # features of parameters that change with the next step
        headline = results["headline"]
        print(f"\nAfter {step} steps: {headline['name']} {headline['value']:g} % on {split!r}")
        return headline["value"]

    def keep(step: int, params: Params) -> None:
        part = folder / "best.part"
        disk.remove(part)
        with disk.filled(part) as target:
            checkpoints.save_checkpoint(target, params, system, {"steps": step})
        _replace_best(folder)

    protocol = evaluation.protocol(system, split)
    return Trials(epochs * steps_per_epoch, protocol, measure, keep)


def _replace_best(folder: Place) -> None:
    """Replaces `best` by `best.part`, if that is complete; also ends what a kill left half done.

    At any moment, one of the two is complete.
    """
    part, best = folder / "best.part", folder / "best"
    last = part / "constants.json"  # of what a checkpoint writes
    if last.exists():
        disk.remove(best)
        disk.copy(part, best)
        last.unlink()
    disk.remove(part)


def _on_own_devices(system: System) -> System:
    """The system with a mesh of one process, as an evaluation has, if there are several."""
    if hosts.count() == 1:
        return system
    ways = parallel.make_mesh(**system.config.mesh.to_dict()).shape["fsdp"]
    own = {"mesh.data": -1, "mesh.fsdp": math.gcd(ways, jax.local_device_count())}
    return dataclasses.replace(system, config=system.config.override(own))


def _initial(system: System) -> Params:
    """The parameters of `config.checkpoint`, or random ones if it is empty."""
    if system.config.checkpoint:
        return checkpoints.load_checkpoint(system.config.checkpoint, system, to_train=True)
    if training_of(system).trainable:
        print(
            "config.checkpoint is empty: the parameters that this training freezes stay random;"
            " name the weights to start from",
            file=sys.stderr,
        )
    return jax.jit(system.weights.init)(jax.random.key(system.config.seed))
