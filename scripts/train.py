"""Trains a system on the data set of a configuration.

Example:
  python scripts/train.py --config configs/demo.py --export demo.safetensors --half

The run is kept in `training/` under the configuration's output: its settings, checkpoints, loss
curve, and at the end its parameters. Stopped (Ctrl-C, SIGTERM) or killed, the same command goes on
from the last checkpoint to the same curve.
"""

from collections.abc import Iterator
from pathlib import Path

import common
import jax
import numpy as np
import tasks
from absl import flags
from ml_collections import ConfigDict

from tokmerge_jax import convert, parallel, registry
from tokmerge_jax.training import curve, export
from tokmerge_jax.training.loop import Plan, fit
from tokmerge_jax.training.run import Run, identity
from tokmerge_jax.types import Batch, Params, System, UserError

_EXPORT = flags.DEFINE_string("export", None, "also write the parameters to this .safetensors")
_HALF = flags.DEFINE_bool("half", False, "write the exported parameters as float16")


def main(config: ConfigDict) -> None:
    """Trains to the end, or until it is asked to stop, and says where things are."""
    system = registry.build(config)
    if system.loss is None:
        raise UserError(
            f"config.system={config.system!r} has no loss to train with; only evaluate it"
        )
    source = tasks.open_training(system)
    plan = Plan.of(config, len(source))
    folder = common.output(config) / "training"
    keep = config.train.keep_checkpoints
    run = Run(folder, identity(config, len(source)), keep=keep)

    def batches(step: int) -> Iterator[Batch]:
        return source.batches(system.augment, system.collate, plan.batch_size, plan.seed, step)

    report = fit(
        plan,
        run,
        parallel.make_mesh(config.mesh),
        system.loss,
        batches,
        lambda: initial(system),
        system.abstract_params,
    )
    curve.draw(run.history(), folder / "loss.png")
    if report.step < plan.steps:
        print(f"Stopped after step {report.step} of {plan.steps}; the same command goes on.")
        return
    finish(system, report.params, folder)
    print(f"Trained {plan.steps} steps of {plan.batch_size} clips.")


def initial(system: System) -> Params:
    """The parameters of `config.checkpoint`, or random ones if it is empty."""
    if system.config.checkpoint:
        return convert.load_checkpoint(system.config.checkpoint, system, to_train=True)
    return jax.jit(system.init)(jax.random.key(system.config.seed))


def finish(system: System, params: Params, folder: Path) -> None:
    """Writes the trained parameters."""
    convert.save_checkpoint(folder / "parameters", params, system)
    if _EXPORT.value:
        size = export.write(Path(_EXPORT.value), params, np.float16 if _HALF.value else np.float32)
        print(f"{_EXPORT.value}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    common.run(main)
