"""Trains a system on the data set of a configuration.

Example:
  tokmerge train --config demo --export demo.safetensors --half

The run is in `training/` in the configuration's output: settings, checkpoints, loss curve, and at
the end the parameters. With config.train.eval_split it is evaluated in between, and the best
parameters are in `training/best/`. After a stop (Ctrl-C, SIGTERM) or kill, the same command resumes
from the last checkpoint with the same loss curve.
"""

import numpy as np
from absl import flags

from tokmerge_jax import command_line, hosts, objects, registry
from tokmerge_jax.config import Config
from tokmerge_jax.tasks.training import train
from tokmerge_jax.training import export

_EXPORT = flags.DEFINE_string("export", None, "also write the parameters to this .safetensors")
_HALF = flags.DEFINE_bool("half", False, "write the exported parameters as float16")


def main(config: Config) -> None:
    """Trains to the end or until a stop is requested, and prints where the results are."""
    system = registry.build(config)
    target = objects.local(objects.place(_EXPORT.value), "exports") if _EXPORT.value else None
    if target:
        export.check(target)
    folder = command_line.output(config) / "training"
    trained = train(system, folder)
    if hosts.number():  # process 0 exports and reports
        return
    if not trained.finished:
        steps = f"step {trained.step} of {trained.plan.steps}"
        print(f"Stopped after {steps}; run the same command again to continue.")
        return
    if target:
        number_type = np.float16 if _HALF.value else np.float32
        size = export.write(target, trained.params, number_type)
        print(f"{target}: {size / 2**20:.1f} MiB")
    clips = f"{trained.plan.steps} steps of {trained.plan.batch_size} clips"
    print(f"Trained {clips}: {folder / 'parameters'}")
    if trained.trials:
        step, value = max(trained.trials.items(), key=lambda trial: (trial[1], -trial[0]))
        print(
            f"The best on {config.train.eval_split!r}, {value:g} % after {step} steps: "
            f"{folder / 'best'}"
        )


def run() -> None:
    """Runs the command."""
    command_line.run(main, several=True)
