"""The training loop: fetches batches, runs the compiled step, logs, saves, stops when asked."""

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FrameType
from typing import Protocol, runtime_checkable

import jax

from tokmerge_jax import parallel, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.progress import Progress
from tokmerge_jax.signatures import Augment, Collate, LearningRate
from tokmerge_jax.system import System, Training
from tokmerge_jax.training import optimizer, step
from tokmerge_jax.training.run import Run
from tokmerge_jax.types import Batch, Params, UserError


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a run is trained, in steps. See `config.common.Training` for the keys behind it."""

    steps: int
    warmup_steps: int
    batch_size: int
    learning_rate: float
    min_learning_rate: float
    checkpoint_every: int
    seed: int
    schedule: str
    steps_per_epoch: int
    mesh: Mapping[str, int]

    @classmethod
    def of(cls, config: Config, rows: int) -> "Plan":
        """The plan of a configuration for a data set of `rows`; incomplete batches are left out.

        Raises:
          UserError: if the data set is smaller than a batch.
        """
        train = config.train
        if not 1 <= train.batch_size <= rows:
            raise UserError(
                f"config.train.batch_size={train.batch_size} must be from 1 to the {rows} rows of"
                " the training data"
            )
        per_epoch = rows // train.batch_size
        return cls(
            steps=train.epochs * per_epoch,
            warmup_steps=int(train.warmup_epochs * per_epoch),
            batch_size=train.batch_size,
            learning_rate=train.learning_rate,
            min_learning_rate=train.min_learning_rate,
            checkpoint_every=train.checkpoint_every,
            seed=config.seed,
            schedule=train.schedule,
            steps_per_epoch=per_epoch,
            mesh=config.mesh.to_dict(),
        )

    @property
    def rate(self) -> LearningRate:
        """The learning rate of each step.

        Raises:
          UserError: if there is no such schedule.
        """
        return optimizer.named(
            self.schedule,
            self.learning_rate,
            steps=self.steps,
            warmup_steps=self.warmup_steps,
            min_share=self.min_learning_rate,
            per_epoch=self.steps_per_epoch,
        )


@dataclasses.dataclass(frozen=True)
class Trials:
    """Evaluations while training.

    Attributes:
      every: after so many steps, and after the last one.
      protocol: what is measured, and on what; numbers of another one are not compared with these.
      measure: `(finished steps, params)` -> a number, higher is better.
      keep: `(finished steps, params)` is called with each best so far, the first of equals.
    """

    every: int
    protocol: str
    measure: Callable[[int, Params], float]
    keep: Callable[[int, Params], None]


@dataclasses.dataclass(frozen=True)
class Report:
    """What a sitting did.

    Attributes:
      step: finished steps of the run; less than the plan's if it was asked to stop.
      params: the parameters after `step` steps, to evaluate and to keep.
    """

    step: int
    params: Params


@runtime_checkable
class Rows(Protocol):
    """What is trained on, for example `data.TrainingSource`."""

    def batches(
        self, augment: Augment, collate: Collate, batch_size: int, seed: int, step: int = 0
    ) -> Iterator[Batch]:
        """The endless batches from `step` on."""
        ...


def fit(
    system: System,
    source: Rows,
    plan: Plan,
    run: Run,
    *,
    initial: Callable[[], Params] | None = None,
    trials: Trials | None = None,
) -> Report:
    """Trains to the plan's end, from the run's last checkpoint if it has one.

    The host stays one step ahead of the device: it reads a step's scalars when the next step has
    been sent off. On SIGTERM or SIGINT it finishes the step, saves and returns; a second signal
    acts as usual. It also saves if the batches end in a UserError, which it passes on.

    Args:
      system: what is trained, and how.
      source: the training data.
      plan: how long, at which rate, on which devices.
      run: the folder to log and save to.
      initial: gives the parameters to start with, called only by a run that starts; None = random
        ones.
      trials: evaluations on the way, each after a checkpoint, so that none is lost or repeated.

    Raises:
      UserError: if the system cannot be trained, devices and groups cannot share a batch evenly,
        there is no such schedule, nothing is to be trained, the loss is no longer finite, or a
        batch cannot be had.
    """
    training, mesh = training_of(system), parallel.make_mesh(plan.mesh)
    _check_split(plan.batch_size, mesh.shape["data"], training.grad_accum)
    transformation = training.optimizer(plan.rate)
    begin = partial(
        step.create,
        transformation,
        trainable=training.trainable,
        init_loss_state=training.init_loss_state,
        seed=plan.seed,
    )
    random = partial(jax.jit(system.weights.init), jax.random.key(plan.seed))
    state = _start(run, mesh, begin, initial or random, system.weights.shapes)
    advance = runtime.jit(
        step.make(
            training.loss,
            transformation,
            plan.rate,
            plan.seed,
            training.trainable,
            per_epoch=plan.steps_per_epoch,
            grad_accum=training.grad_accum,
        ),
        donate_argnums=0,
        out_shardings=parallel.whole(mesh),
    )

    def settle(state: step.TrainState) -> Params:
        eval_params = training.eval_params
        return eval_params(state.params, state.memory) if eval_params else state.params

    def batches(start: int) -> Iterator[Batch]:
        augment, size = system.pixels.augment, plan.batch_size
        return source.batches(augment, training.collate, size, plan.seed, start)

    if run.step:
        _try_once(trials, plan, run, settle(state))
    start, log = run.step, _Log(run, plan)
    stream = batches(start) if start < plan.steps else iter(())
    with _stop_signals() as stopping, contextlib.closing(log):
        for done in range(start + 1, plan.steps + 1):
            try:
                batch = next(stream)
            except UserError:
                log.flush()
                run.save(done - 1, state)
                raise
            with jax.set_mesh(mesh):  # attention looks there how a batch lies on the devices
                state, scalars = advance(state, parallel.shard(mesh, batch))
            log.add(done - 1, scalars)
            if stopping or _due(trials, plan, done) or done % plan.checkpoint_every == 0:
                log.flush()
                run.save(done, state)
            if stopping:
                break
            if done == run.step:
                _try_once(trials, plan, run, settle(state))
                log.pause()
    return Report(run.step, settle(state))


def training_of(system: System) -> Training:
    """How the system is trained.

    Raises:
      UserError: if it has no loss.
    """
    if system.training is None:
        raise UserError(
            f"config.system={system.name!r} has no loss to train with; only evaluate it"
        )
    return system.training


def _check_split(rows: int, devices: int, groups: int) -> None:
    if rows % (devices * groups):
        each = f" in config.train.groups={groups} groups" if groups > 1 else ""
        raise UserError(
            f"config.train.batch_size={rows} cannot be split over {devices} devices{each}; take a"
            f" multiple of {devices * groups}, or set --config.mesh.data"
        )


def _due(trials: Trials | None, plan: Plan, done: int) -> bool:
    """Whether `done` steps are all, or enough for a trial."""
    return done == plan.steps or (trials is not None and done % trials.every == 0)


def _try_once(trials: Trials | None, plan: Plan, run: Run, params: Params) -> None:
    """Evaluates the last checkpoint's parameters, if that is due and was not done before."""
    done = run.step
    if trials is None or not _due(trials, plan, done):
        return
    known = run.trials(trials.protocol)
    if done in known:
        return
    value = trials.measure(done, params)
    runtime.finite(value, f"evaluation of step {done}")
    if value > max(known.values(), default=-math.inf):
        trials.keep(done, params)
    run.log_trial(done, value, trials.protocol)


class _Log:
    """Progress bar and metrics, one step behind the device."""

    def __init__(self, run: Run, plan: Plan) -> None:
        self._run, self._plan = run, plan
        self._bar = Progress("training", plan.steps, "step", done=run.step, compiles=True)
        self._pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self._last: float | None = None  # when the last step ended, if nothing came between
        self._seconds, self._steps = 0.0, 0

    def pause(self) -> None:
        """What happens until the next step ends is not training, and not timed."""
        self._last = None

    def add(self, index: int, scalars: Mapping[str, jax.Array]) -> None:
        """Keeps the scalars of a step that has been sent off; logs those of the one before."""
        self.flush()
        self._pending = index, scalars

    def flush(self) -> None:
        """Waits for the step that is pending, if any, and logs it."""
        if self._pending is None:
            return
        index, scalars = self._pending
        values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        self._pending = None
        if not math.isfinite(values["loss"]):
            raise UserError(
                f"the loss of step {index} is {values['loss']}; lower config.train.learning_rate"
                f" (now {self._plan.learning_rate}) and start anew in another --config.output"
            )
        self._run.log(index, values)
        self._show(values)

    def _show(self, values: Mapping[str, float]) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self._seconds += now - self._last
            self._steps += 1
        self._last = now
        speed = self._steps * self._plan.batch_size / max(self._seconds, 1e-9)
        self._bar.set_postfix(
            loss=f"{values['loss']:.3f}",
            lr=f"{values['learning_rate']:.1e}",
            clips_per_s=f"{speed:.1f}",
            refresh=False,
        )
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


def _start(
    run: Run,
    mesh: jax.sharding.Mesh,
    begin: Callable[[Params], step.TrainState],
    initial: Callable[[], Params],
    abstract_params: Params,
) -> step.TrainState:
    """The state of the run's last checkpoint, or a fresh one; on every device of the mesh."""
    sharding = parallel.whole(mesh)
    if not run.step:
        return jax.device_put(begin(initial()), sharding)
    shapes = jax.eval_shape(begin, abstract_params)
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )
    return run.restore(placed)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that the first SIGTERM or SIGINT is put into; the usual handlers are back after."""
    caught: list[int] = []
    usual: dict[int, signal._HANDLER] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        caught.append(number)
        restore()

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        usual[number] = signal.signal(number, handle)
    try:
        yield caught
    finally:
        restore()
