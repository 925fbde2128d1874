"""Trains a system on the data set of a configuration.

Example:
  python scripts/train.py --config configs/demo.py --export demo.safetensors --half

The run is kept in `training/` under the configuration's output: its settings, checkpoints, loss
curve, and at the end its parameters. With config.train.eval_split it is evaluated on the way, and
the best parameters are kept in `training/best/`. Stopped (Ctrl-C, SIGTERM) or killed, the same
command goes on from the last checkpoint to the same curve.
"""

import shutil
import sys
from pathlib import Path

import common
import jax
import numpy as np
import tasks
from absl import flags

from tokmerge_jax import convert, data, disk, registry
from tokmerge_jax.config import Config
from tokmerge_jax.system import System
from tokmerge_jax.training import curve, export
from tokmerge_jax.training.loop import Plan, Trials, fit, training_of
from tokmerge_jax.training.run import Run, identity
from tokmerge_jax.types import Params, UserError

_EXPORT = flags.DEFINE_string("export", None, "also write the parameters to this .safetensors")
_HALF = flags.DEFINE_bool("half", False, "write the exported parameters as float16")


def main(config: Config) -> None:
    """Trains to the end, or until it is asked to stop, and says where things are."""
    system = registry.build(config)
    training_of(system)
    source = tasks.open_training(system)
    plan = Plan.of(config, len(source))
    folder = common.output(config) / "training"
    evaluations = trials(system, folder, len(source) // plan.batch_size)
    with disk.held(folder):
        run = Run(folder, identity(config, len(source)), keep=config.train.keep_checkpoints)
        report = fit(system, source, plan, run, initial=lambda: initial(system), trials=evaluations)
        found = run.trials(evaluations.protocol) if evaluations else {}
        curve.draw(run.history(), found, folder / "loss.png")
        if report.step < plan.steps:
            print(f"Stopped after step {report.step} of {plan.steps}; the same command goes on.")
            return
        finish(system, report.params, folder)
        print(f"Trained {plan.steps} steps of {plan.batch_size} clips: {folder / 'parameters'}")
    if found:
        step, value = max(found.items(), key=lambda trial: (trial[1], -trial[0]))
        print(
            f"The best on {config.train.eval_split!r}, {value:g} % after {step} steps: "
            f"{folder / 'best'}"
        )


def trials(system: System, folder: Path, steps_per_epoch: int) -> Trials | None:
    """Evaluations on `config.train.eval_split`, if it is set; the best parameters go to `best`."""
    split, epochs = system.config.train.eval_split, system.config.train.eval_epochs
    if not split:
        return None
    if epochs < 1:
        raise UserError(f"config.train.eval_epochs={epochs} must be at least 1")
    source: data.Source = tasks.open_source(system, split)

    def measure(step: int, params: Params) -> float:
        place = folder / "trials" / f"{step:06d}"
        found = tasks.evaluate(f"step {step}", system, params, source, place, split)
        shutil.rmtree(place / "cache")  # features of parameters that training has left behind
        headline = found["headline"]
        print(f"\nAfter {step} steps: {headline['name']} {headline['value']:g} % on {split!r}")
        return headline["value"]

    def keep(step: int, params: Params) -> None:
        part, best = folder / "best.part", folder / "best"
        shutil.rmtree(part, ignore_errors=True)
        convert.save_checkpoint(part, params, system, {"steps": step})
        shutil.rmtree(best, ignore_errors=True)  # only now: a full disk leaves the earlier ones
        part.rename(best)

    protocol = tasks.protocol(system, split)
    return Trials(epochs * steps_per_epoch, protocol, measure, keep)


def initial(system: System) -> Params:
    """The parameters of `config.checkpoint`, or random ones if it is empty."""
    if system.config.checkpoint:
        return convert.load_checkpoint(system.config.checkpoint, system, to_train=True)
    if training_of(system).trainable:
        print(
            "config.checkpoint is empty: what this training freezes stays random; name the weights"
            " to start from",
            file=sys.stderr,
        )
    return jax.jit(system.weights.init)(jax.random.key(system.config.seed))


def finish(system: System, params: Params, folder: Path) -> None:
    """Writes the trained parameters, unless an earlier sitting has done so, and exports them."""
    if not (folder / "parameters" / "constants.json").exists():
        convert.save_checkpoint(folder / "parameters", params, system)
    if _EXPORT.value:
        size = export.write(Path(_EXPORT.value), params, np.float16 if _HALF.value else np.float32)
        print(f"{_EXPORT.value}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    common.run(main)
