"""A training run's folder: `config.json`, `checkpoints/`, a line a step in `metrics.jsonl`.

Evaluations on the way have a line each in `trials.jsonl`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from tokmerge_jax import runtime
from tokmerge_jax.training.step import TrainState
from tokmerge_jax.types import UserError

_FREE = ("output", "mesh", "eval", "caption", "data.folder", "data.split", "data.workers",
         "data.answers", "data.labels", "data.clips", "data.crops", "data.on_broken",
         "train.checkpoint_every", "train.keep_checkpoints", "train.eval_split",
         "train.eval_epochs", "train.parts", "train.remat")  # fmt: skip
"""Keys that may change between two sittings: they do not touch the loss curve."""


def identity(config: ConfigDict, rows: int) -> dict[str, Any]:
    """What a run's loss curve depends on: the data set's length and the config's keys, flat."""
    flat = _flatten(config.to_dict())
    kept = {key: value for key, value in flat.items() if not _within(key, _FREE)}
    return json.loads(json.dumps({**kept, "(rows of the data set)": rows}))


class Run:
    """The folder of one run; opened again, it goes on from its last checkpoint.

    Attributes:
      step: finished steps of the last checkpoint, 0 if there is none.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, keep: int) -> None:
        """Opens or makes `folder`.

        Args:
          folder: the run's.
          settings: what must be equal for the run to go on, from `identity`.
          keep: how many checkpoints are kept.

        Raises:
          UserError: if the folder holds a run of other settings, naming them.
        """
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True, enable_async_checkpointing=False
        )
        self._checkpoints = ocp.CheckpointManager(self._folder / "checkpoints", options=options)
        self.step = self._checkpoints.latest_step() or 0
        self._settle(settings)
        self._metrics = self._folder / "metrics.jsonl"
        self._trials = self._folder / "trials.jsonl"
        self._cut_metrics()

    def restore(self, abstract: TrainState) -> TrainState:
        """The state of the last checkpoint, with the dtypes and shardings of `abstract`."""
        restored = self._checkpoints.restore(self.step, args=ocp.args.StandardRestore(abstract))
        assert isinstance(restored, TrainState)
        return restored

    def save(self, step: int, state: TrainState) -> None:
        """Writes a checkpoint after `step` finished steps; returns when it is on disk."""
        if step != self.step:
            self._checkpoints.save(step, args=ocp.args.StandardSave(state), force=True)
            self.step = step

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Appends the scalars of a step (counted from 0) to `metrics.jsonl`."""
        if jax.process_index() == 0:
            with self._metrics.open("a") as file:
                file.write(json.dumps({"step": step, **scalars}) + "\n")

    def log_trial(self, step: int, value: float, protocol: str) -> None:
        """Appends the outcome of an evaluation after `step` finished steps to `trials.jsonl`."""
        if jax.process_index() == 0:
            record = {"step": step, "value": value, "protocol": protocol}
            lines = [*self._trial_lines(), json.dumps(record)]
            runtime.write_text(self._trials, "".join(f"{line}\n" for line in lines))

    def trials(self, protocol: str) -> dict[int, float]:
        """The outcomes so far, under this protocol, by finished steps."""
        records = [json.loads(line) for line in self._trial_lines()]
        return {r["step"]: r["value"] for r in records if r["protocol"] == protocol}

    def _trial_lines(self) -> list[str]:
        return self._trials.read_text().splitlines() if self._trials.exists() else []

    def history(self) -> list[dict[str, float]]:
        """What has been logged, one record a step."""
        return [json.loads(line) for line in self._metrics.read_text().splitlines()]

    def _settle(self, settings: Mapping[str, Any]) -> None:
        """Writes the settings of a run that starts; compares those of one that goes on."""
        path = self._folder / "config.json"
        if not (self.step and path.exists()):
            runtime.write_text(path, json.dumps(settings, indent=1) + "\n")
            return
        old = json.loads(path.read_text())
        keys = [k for k in {**old, **settings} if old.get(k) != settings.get(k)]
        if keys:
            changes = ", ".join(f"{k} {old.get(k)!r} -> {settings.get(k)!r}" for k in keys)
            raise UserError(
                f"{self._folder} holds a training run of other settings ({changes}); take the old"
                " values to go on, or another --config.output to start anew"
            )

    def _cut_metrics(self) -> None:
        """Drops what was logged after the last checkpoint: those steps will be run again."""
        if self._metrics.exists() and jax.process_index() == 0:
            lines = self._metrics.read_bytes().splitlines(keepends=True)
            os.truncate(self._metrics, sum(map(len, lines[: self.step])))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat.update(_flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


def _within(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)
