"""The training stages of `stages.py`: the time of a step, and the memory of training."""

import dataclasses
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from benchmarks.cases import Case, Inputs, Sizes, Timed, counted, program_bytes
from benchmarks.encoding import text_macs, without_and_with
from benchmarks.peer import requests_for
from tokmerge_jax import parallel, runtime
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import expect
from tokmerge_jax.config.common import QuestionData, TextData
from tokmerge_jax.config.tds_clip import Recognition
from tokmerge_jax.system import System
from tokmerge_jax.systems.tds_clip import TDSTower
from tokmerge_jax.systems.towers.clip import ClipTower
from tokmerge_jax.tasks.synthetic import clip_macs, fitting, frames_shape
from tokmerge_jax.training import step
from tokmerge_jax.training.loop import check_split, training_of
from tokmerge_jax.types import Params

_READ = ("video", "label", "text_ids", "text_mask")  # by the losses that are timed


def train(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """A step of training on a few clips, without merging and with it."""
    rows, count = {**inputs, "video": inputs["videos"]}, sizes.train_clips
    batch = {name: rows[name][:count] for name in _READ if name in rows}
    cases = []
    for stage, each in without_and_with(system):
        state = _begin(each, jax.tree.map(jnp.array, fitting(params, each)))  # to be given away
        begun = time.perf_counter()
        program = _compile(each, state, batch)
        case = Case(
            f"train a step, {counted(count)}, {stage}",
            "ours",
            _Steps(program, state, batch),
            _macs(each, batch),
            clips=count,
            compile_seconds=time.perf_counter() - begun,
            peak_bytes=program_bytes(program),
            requests=requests_for("train", each, batch=count),
        )
        cases.append(case)
    return cases


def memory(system: System) -> list[dict[str, Any]]:
    """Returns the bytes of training on one device, with and without merging.

    The device is one of `config.mesh`. Nothing runs.

    Returns:
      Rows of:
      stage: without or with merging.
      clips, parts: number of clips of a step, and of the parts in which they are processed.
      parameters: all parameters.
      trained: the parameters that have gradients.
      optimiser: the optimiser's state.
      remembered: what the loss remembers between steps.
      batch: a batch.
      arguments: all of these that the compiled step reads.
      step: the most that a step holds beside its arguments: activations, gradients, intermediate
        results.

    Raises:
      UserError: if the system cannot be trained.
    """
    rows = []
    for stage, each in without_and_with(system):
        training = training_of(each)
        mesh = parallel.make_mesh(**each.config.mesh.to_dict())
        state, batch, program = compiled_step(each, mesh)
        sizes = program.memory_analysis()
        assert sizes
        named = rules.flatten(state.params)
        pattern = "|".join(training.trainable)  # "" matches all names
        trained = [x for name, x in named.items() if re.search(pattern, name)]
        parts = max(each.config.train.parts, training.grad_accum)
        rows.append(
            {
                "stage": stage,
                "clips": len(batch["video"]),
                "parts": parts,
                "parameters": _bytes(state.params),
                "trained": _bytes(trained),
                "optimiser": _bytes(state.moments),
                "remembered": _bytes(state.memory),
                "batch": _bytes(batch),
                "arguments": sizes.argument_size_in_bytes,
                "step": sizes.temp_size_in_bytes,
            }
        )
    return rows


def compiled_step(
    system: System, mesh: jax.sharding.Mesh
) -> tuple[step.TrainState, dict[str, jax.ShapeDtypeStruct], jax.stages.Compiled]:
    """Returns the shapes of the state and of a batch, and the step that is compiled for them.

    Raises:
      UserError: if the system cannot be trained, or a batch not be split over the mesh.
    """
    groups = training_of(system).grad_accum
    check_split(system.config.train.batch_size, mesh.size, groups)
    shapes = jax.eval_shape(lambda params: _begin(system, params), system.weights.shapes)
    state, batch = parallel.abstract(mesh, shapes), _shapes(system, parallel.rows(mesh))
    with jax.set_mesh(mesh):
        return state, batch, _compile(system, state, batch, groups)


@dataclasses.dataclass
class _Steps:
    """Steps of training, one after the other, each from the state that the one before has left."""

    program: Callable[..., Any]
    state: Any
    batch: Any

    def __call__(self) -> Timed:
        start = time.perf_counter()
        self.state, scalars = jax.block_until_ready(self.program(self.state, self.batch))
        return Timed(time.perf_counter() - start, np.asarray(scalars["loss"]))


def _begin(system: System, params: Params) -> step.TrainState:
    """The state before the first step, whose leaves may be shapes alone."""
    training = training_of(system)
    transformation = training.optimizer(_no_rate)
    return step.create(transformation, params, training.trainable, training.init_loss_state)


def _compile(
    system: System, state: step.TrainState, batch: PyTree, grad_accum: int = 1
) -> jax.stages.Compiled:
    training = training_of(system)
    advance = step.make(
        training.loss,
        training.optimizer(_no_rate),
        _no_rate,
        0,
        training.trainable,
        grad_accum=grad_accum,
    )
    layout = jax.tree.map(lambda x: x.sharding, state)
    program = runtime.jit(advance, donate_argnums=0, out_shardings=(layout, None))
    return program.lower(state, batch).compile()


def _no_rate(index: Any) -> jax.Array:
    """A rate so small that a step takes its full time and leaves the weights as they are."""
    del index
    return jnp.float32(1e-12)


def _shapes(system: System, sharding: jax.sharding.Sharding) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of the configuration's size, with everything that any loss reads."""
    data, sizes = system.config.data, system.config.train
    rows = sizes.batch_size
    shapes = {
        "video": ((rows, *frames_shape(system)), np.uint8),
        "label": ((rows,), np.int32),
        "match_id": ((rows,), np.int32),
    }
    if system.retrieval or system.answering:
        asked = (rows, sizes.questions_per_video) if system.answering else (rows,)
        length = expect(data, TextData).max_text_length
        shapes["text_ids"] = (*asked, length), np.int32
        shapes["text_mask"] = (*asked, length), bool
    if system.answering:
        shapes["answer_ids"] = (*asked, 1, expect(data, QuestionData).max_answer_length), np.int32
        shapes["answer_weights"] = (*asked, 1), np.float32
    return {name: jax.ShapeDtypeStruct(*each, sharding=sharding) for name, each in shapes.items()}


def _bytes(tree: Any) -> int:
    """Bytes of a tree's arrays on one device."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)
    )


def _macs(system: System, batch: Mapping[str, np.ndarray]) -> int:
    """MACs of a step.

    A trained layer costs three products: forward, and the gradients of its weights and its input.
    """
    rows, forward = len(batch["video"]), clip_macs(system)
    frozen = training_of(system).trainable
    if system.recognition and frozen:
        trained, first = _side_macs(system)
        return rows * (forward + 2 * trained - first)
    forward *= rows
    if not system.recognition:
        forward += text_macs(system, {"text_ids": batch["text_ids"]})
    return forward * (2 if frozen else 3)  # LoRA trains no weights of CLIP


def _side_macs(system: System) -> tuple[int, int]:
    """Returns MACs of (TDS-CLIP's side network, its layers whose inputs need no gradient)."""
    config = expect(system.config, Recognition)
    tower, side, width = TDSTower(config), config.model.side, config.model.vision.width
    frozen = ClipTower(config).cost(tower.r)
    places = config.model.vision.frames * tower.patches
    stem = 3 * tower.patch_inputs * places * (1 + tower.differences)
    taps = width * sum(layer.tokens_out for layer in frozen[1:])
    beside = clip_macs(system) - sum(layer.macs for layer in frozen)
    return beside, (stem + taps) * side.width
