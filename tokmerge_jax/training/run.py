"""The folder of a training run: `config.json`, `checkpoints/`, and logs.

`metrics.jsonl` has one line per step, `trials.jsonl` one line per evaluation during training.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence

from tokmerge_jax import disk, hosts, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.config.parts import flat
from tokmerge_jax.objects import Place
from tokmerge_jax.training import logs
from tokmerge_jax.training.states import states
from tokmerge_jax.training.step import TrainState
from tokmerge_jax.types import Json, UserError

_FREE = ("output", "mesh", "eval", "caption", "data.folder", "data.split", "data.workers",
         "data.answers", "data.labels", "data.clips", "data.crops", "data.on_broken",
         "train.checkpoint_every", "train.keep_checkpoints", "train.log",
         "train.eval_split", "train.eval_epochs", "train.parts", "train.remat")  # fmt: skip
"""Configuration keys that may change when a run resumes: they do not affect the loss curve."""


def identity(config: Config, rows: int) -> dict[str, Json]:
    """The settings that a run's loss curve depends on: config keys, flat, and the data's length."""
    every = flat(config.to_dict())
    free = tuple(f"{name}." for name in _FREE)  # a key, or a part with all its keys
    settings = {key: value for key, value in every.items() if not f"{key}.".startswith(free)}
    return json.loads(json.dumps({**settings, "(rows of the data set)": rows}))


class RunFolder:
    """The folder of one run, which resumes from its last checkpoint.

    Attributes:
      step: number of finished steps at the last checkpoint; 0 without one.
    """

    def __init__(
        self, folder: Place, settings: Mapping[str, Json], *, keep: int, log: str = ""
    ) -> None:
        """Opens or creates `folder`.

        Args:
          folder: the run's folder.
          settings: the settings that must be unchanged to resume, from `identity`.
          keep: number of checkpoints to keep.
          log: where the metrics are copied to, as `logs.copy_for` names it.

        Raises:
          UserError: if the folder holds a run with other settings; the message names them. Also
            if the package of `log` is not installed.
        """
        self._appends = isinstance(folder, pathlib.Path)
        self._folder = folder.resolve() if isinstance(folder, pathlib.Path) else folder
        disk.make(self._folder)
        self._checkpoints = states(self._folder / "checkpoints", keep)
        self.step = hosts.gather(self._checkpoints.latest())[0]
        if not hosts.number():
            self._check_settings(settings)
        self._metrics = self._folder / "metrics.jsonl"
        self._trials = self._folder / "trials.jsonl"
        self._lines = self._cut_metrics()
        self._trial_records()
        self._copy = (
            None if hosts.number() else logs.copy_for(log, self._folder, settings, self.step)
        )

    def restore(self, abstract: TrainState) -> TrainState:
        """Reads the state of the last checkpoint, with the dtypes and shardings of `abstract`.

        Raises:
          UserError: if it is damaged.
        """
        place = self._folder / "checkpoints" / str(self.step)
        try:
            with disk.explained(place):
                return self._checkpoints.restore(self.step, abstract)
        except UserError:
            raise
        except Exception as error:  # orbax, tensorstore and JSON raise errors of their own
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f"{place}, a checkpoint, is damaged ({reason[0]:.120}); remove that folder to"
                " resume from the checkpoint before it, if there is one"
            ) from error

    def save(self, step: int, state: TrainState) -> None:
        """Writes a checkpoint after `step` finished steps; returns when it is stored.

        Every process writes the part of the arrays that it holds.

        Raises:
          UserError: if there is no disk space for it.
        """
        if step != self.step:
            if not (self._appends or hosts.number()):
                _write_lines(self._metrics, self._lines)
            self._checkpoints.save(step, state)
            self.step = step

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Appends the scalars of a step (counted from 0) to `metrics.jsonl`.

        On an object store, where nothing can be appended, `save` writes them.
        """
        if not hosts.number():
            line = json.dumps({"step": step, **scalars}) + "\n"
            if self._appends:
                with self._metrics.open("a") as file:
                    file.write(line)
            else:
                self._lines.append(line.encode())
            if self._copy:
                self._copy(step, scalars)

    def log_trial(self, step: int, value: float, protocol: str) -> None:
        """Appends the result of an evaluation after `step` finished steps to `trials.jsonl`."""
        if not hosts.number():
            record = {"step": step, "value": value, "protocol": protocol}
            lines = [*self._trial_records(), record]
            runtime.write_text(self._trials, "".join(f"{json.dumps(line)}\n" for line in lines))

    def trials(self, protocol: str) -> dict[int, float]:
        """Number of finished steps -> value, of the evaluations under this protocol so far."""
        records = self._trial_records()
        return {r["step"]: r["value"] for r in records if r["protocol"] == protocol}

    def _trial_records(self) -> list[dict[str, Json]]:
        """Reads `trials.jsonl`; raises UserError if a line is damaged."""
        kinds = {"step": int, "value": (int, float), "protocol": str}
        return _records(self._trials, "remove that line: the evaluation is left out", kinds)

    def history(self) -> list[dict[str, Json]]:
        """Reads the log, one record per step."""
        return _records(
            self._metrics, "put a copy of the line before it there", {"step": int, "loss": float}
        )

    def _check_settings(self, settings: Mapping[str, Json]) -> None:
        """Writes the settings of a new run; compares those of a run that resumes."""
        path = self._folder / "config.json"
        if not (self.step and path.exists()):
            runtime.write_text(path, json.dumps(settings, indent=1) + "\n")
            return
        old = _object(path.read_bytes(), {}, f"{path}", "start again in another config.output")
        keys = [k for k in {**old, **settings} if old.get(k) != settings.get(k)]
        if keys:
            changes = ", ".join(f"{k} {old.get(k)!r} -> {settings.get(k)!r}" for k in keys)
            raise UserError(
                f"{self._folder} holds a training run with other settings ({changes}); use the old"
                " values to resume, or another config.output to start a new run"
            )

    def _cut_metrics(self) -> list[bytes]:
        """Removes the log after the last checkpoint, since those steps are run again.

        Returns the lines that are left.
        """
        content = None if hosts.number() else disk.read(self._metrics)
        if content is None:
            return []
        lines = content.splitlines(keepends=True)[: self.step]
        _write_lines(self._metrics, lines)
        self.history()
        return lines


def _write_lines(file: Place, lines: Sequence[bytes]) -> None:
    with disk.replaced(file) as part:
        part.write_bytes(b"".join(lines))


def _records(
    file: Place, cure: str, kinds: Mapping[str, type | tuple[type, ...]]
) -> list[dict[str, Json]]:
    """Reads the objects in a file of JSON lines; none if there is no file."""
    lines = (disk.read(file) or b"").splitlines()
    return [_object(text, kinds, f"{file}, line {i},", cure) for i, text in enumerate(lines, 1)]


def _object(
    text: bytes, kinds: Mapping[str, type | tuple[type, ...]], where: str, cure: str
) -> dict[str, Json]:
    """Parses a JSON object and checks its fields' types; raises UserError if they differ."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and all(isinstance(value.get(k), t) for k, t in kinds.items()):
        return value
    raise UserError(f"{where} is damaged; {cure}")
