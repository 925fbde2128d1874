"""The training loop: fetches batches, runs the compiled step, logs, saves, stops on a signal."""

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import FrameType

import jax
import optax

from tokmerge_jax import hosts, parallel, runtime
from tokmerge_jax.progress import Progress
from tokmerge_jax.system import System, Training
from tokmerge_jax.training import step
from tokmerge_jax.training.plan import Plan
from tokmerge_jax.training.run import RunFolder
from tokmerge_jax.types import Batch, Params, UserError


@dataclasses.dataclass(frozen=True)
class Trials:
    """Evaluations during training.

    Attributes:
      every: number of steps between evaluations; there is also one after the last step.
      protocol: the metric and its data; values of different protocols are not compared.
      measure: `(finished steps, params)` -> a number, higher is better.
      keep: called as `keep(finished steps, params)` for each new best value, not for ties.
    """

    every: int
    protocol: str
    measure: Callable[[int, Params], float]
    keep: Callable[[int, Params], None]


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of `fit`.

    Attributes:
      step: number of finished steps of the run; fewer than the plan's if it was stopped.
      params: the parameters after `step` steps, for evaluation and export; NumPy arrays if several
        processes trained them.
    """

    step: int
    params: Params


Batches = Callable[[int, Sequence[int]], Iterator[Batch]]
"""`(step, rows) ->` these rows of the batches from `step` on, endlessly."""


def fit(
    system: System,
    batches: Batches,
    plan: Plan,
    run: RunFolder,
    *,
    initial: Callable[[], Params] | None = None,
    trials: Trials | None = None,
) -> Report:
    """Trains to the plan's end, from the run's last checkpoint if it has one.

    The host stays one step ahead of the device: it reads a step's scalars after dispatching the
    next step. On SIGTERM or SIGINT it finishes the step, saves and returns; a second signal acts as
    usual. It also saves if reading a batch raises a UserError, and passes the error on. Several
    processes each read their own rows of a batch; a signal or a read error in one of them ends all
    of them after the same step.

    Args:
      system: the system to train.
      batches: the training data, for example `data.TrainingSource.batches` with its settings.
      plan: number of steps, learning rates and devices.
      run: the folder for logs and checkpoints.
      initial: returns the initial parameters, called only by a new run; None = random ones.
      trials: evaluations in between, each after a checkpoint, so that none is lost or repeated.

    Raises:
      UserError: if the system cannot be trained, a batch cannot be split evenly over devices and
        groups, the schedule is unknown, no parameter is trainable, the loss is not finite, or a
        batch cannot be read.
    """
    training, mesh = training_of(system), parallel.make_mesh(**plan.mesh.to_dict())
    check_split(plan.batch_size, mesh.size, training.grad_accum)
    transformation = training.optimizer(plan.rate)
    state = _start(system, plan, run, mesh, transformation, initial)
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
        out_shardings=(parallel.layout(mesh, state), parallel.whole(mesh)),
    )

    def eval_params_of(state: step.TrainState) -> Params:
        eval_params = training.eval_params
        params = eval_params(state.params, state.memory) if eval_params else state.params
        return parallel.fetch(params)

    if run.step:
        _try_once(trials, plan, run, partial(eval_params_of, state))
    start, log = run.step, _Log(run, plan)
    own = parallel.own_rows(mesh, plan.batch_size)
    stream = batches(start, own) if start < plan.steps else iter(())
    with _stop_signals() as stopping, contextlib.closing(log):
        for done in range(start + 1, plan.steps + 1):
            batch, fault = _read(stream)
            fault, stop = _agreed(fault, bool(stopping))
            if fault:
                log.flush()
                run.save(done - 1, state)
                raise fault
            with jax.set_mesh(mesh):  # attention reads from it how a batch is sharded
                state, scalars = advance(state, parallel.shard(mesh, batch))
            log.add(done - 1, scalars)
            if stop or _due(trials, plan, done) or done % plan.checkpoint_every == 0:
                log.flush()
                run.save(done, state)
            if stop:
                break
            if done == run.step:
                _try_once(trials, plan, run, partial(eval_params_of, state))
                log.pause()
    return Report(run.step, eval_params_of(state))


def training_of(system: System) -> Training:
    """The system's training functions.

    Raises:
      UserError: if it has none.
    """
    if system.training is None:
        raise UserError(f"config.system={system.name!r} has no loss, so it can only be evaluated")
    return system.training


def check_split(rows: int, devices: int, groups: int) -> None:
    """Raises UserError unless groups of a batch of `rows` rows can be split over the devices."""
    if rows % (devices * groups):
        each = f" in config.train.groups={groups} groups" if groups > 1 else ""
        raise UserError(
            f"config.train.batch_size={rows} cannot be split over {devices} devices{each}; use a"
            f" multiple of {devices * groups}, or set config.mesh.data"
        )


def _read(stream: Iterator[Batch]) -> tuple[Batch, UserError | None]:
    """The next batch, or the reason why there is none."""
    try:
        return next(stream), None
    except UserError as error:
        return {}, error


def _agreed(fault: UserError | None, stop: bool) -> tuple[UserError | None, bool]:
    """The first fault of any process, and whether any of them is to stop: the same in all."""
    said = hosts.gather([str(fault) if fault else "", stop])
    faults, stops = zip(*said, strict=True)
    first = next(filter(None, faults), None)
    return fault or (UserError(first) if first else None), any(stops)


def _due(trials: Trials | None, plan: Plan, done: int) -> bool:
    """Whether an evaluation is due after `done` steps."""
    return done == plan.steps or (trials is not None and done % trials.every == 0)


def _try_once(
    trials: Trials | None, plan: Plan, run: RunFolder, fetch: Callable[[], Params]
) -> None:
    """Evaluates the last checkpoint's parameters, if that is due and not done yet."""
    done = run.step
    if trials is None or not _due(trials, plan, done):
        return
    known = run.trials(trials.protocol)
    if hosts.gather(done in known)[0]:
        return
    params = fetch()
    value = trials.measure(done, params)
    runtime.finite(value, f"evaluation of step {done}")
    if hosts.number():  # process 0 keeps
        return
    if value > max(known.values(), default=-math.inf):
        trials.keep(done, params)
    run.log_trial(done, value, trials.protocol)


class _Log:
    """The progress bar and the log of metrics, one step behind the device."""

    def __init__(self, run: RunFolder, plan: Plan) -> None:
        self._run, self._plan = run, plan
        self._bar = Progress("training", plan.steps, "step", done=run.step, compiles=True)
        self._pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self._last: float | None = None  # when the last step ended; None after a pause
        self._seconds, self._steps = 0.0, 0

    def pause(self) -> None:
        """Excludes the time until the end of the next step from the measured speed."""
        self._last = None

    def add(self, index: int, scalars: Mapping[str, jax.Array]) -> None:
        """Keeps the scalars of a dispatched step and logs those of the step before."""
        self.flush()
        self._pending = index, scalars

    def flush(self) -> None:
        """Waits for the pending step, if any, and logs it."""
        if self._pending is None:
            return
        index, scalars = self._pending
        values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        self._pending = None
        if not math.isfinite(values["loss"]):
            raise UserError(
                f"the loss of step {index} is {values['loss']}; lower config.train.learning_rate"
                f" (now {self._plan.learning_rate}) and start again in another config.output"
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
    system: System,
    plan: Plan,
    run: RunFolder,
    mesh: jax.sharding.Mesh,
    transformation: optax.GradientTransformation,
    initial: Callable[[], Params] | None,
) -> step.TrainState:
    """The state of the run's last checkpoint, or a new one, placed on the mesh."""
    training = training_of(system)
    begin = partial(
        step.create,
        transformation,
        trainable=training.trainable,
        init_loss_state=training.init_loss_state,
        seed=plan.seed,
    )
    shapes = jax.eval_shape(begin, system.weights.shapes)
    if run.step:
        return run.restore(parallel.abstract(mesh, shapes))
    random = partial(jax.jit(system.weights.init), jax.random.key(plan.seed))
    placed = parallel.place(mesh, (initial or random)())
    return jax.jit(begin, out_shardings=parallel.layout(mesh, shapes))(placed)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Yields a list that receives the first SIGTERM or SIGINT; then handlers are as before."""
    caught: list[int] = []
    usual: dict[int, signal._HANDLER] = {}
    woken = signal.set_wakeup_fd(-1)  # by which a signal would end several processes at once

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        caught.append(number)
        restore()

    def restore() -> None:
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number, handler in usual.items():
            signal.signal(number, handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        usual[number] = signal.signal(number, handle)
    try:
        yield caught
    finally:
        restore()
