"""Compiles an evaluation and a training step for a TPU slice that this machine does not have.

Example, with jax[tpu] installed:
  python -m benchmarks.ahead_of_time --config msrvtt_b16 --topology v5e:4x4

libtpu compiles for a slice by its description. The programs of an evaluation are those of one host,
for its own chips; the step of training is one program for all chips. Nothing runs: memory and
operations of a chip are the compiler's, which does not count the operations of our kernels.
"""

import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import flags
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh
from jaxtyping import PyTree

from benchmarks.training import compiled_step
from tokmerge_jax import command_line, parallel, registry, runtime
from tokmerge_jax.config import Config, expect
from tokmerge_jax.config.common import TextData
from tokmerge_jax.system import System
from tokmerge_jax.tasks.synthetic import encoder, frames_shape
from tokmerge_jax.types import UserError

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:4x4", "the slice, by libtpu's name")
_KERNEL = 'custom_call_target="tpu_custom_call"'
_TEXTS, _PAIRS = 64, 32  # texts encoded at a time, and matched with a video per call
_COLLECTIVES = re.compile(  # of one that starts and ends, the end has the result
    r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-done)?\("
    r"(?:.*?channel_id=(\d+))?"
)
_ARRAY = re.compile(r"(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")  # bits of a number, and the shape

Shape = jax.ShapeDtypeStruct
_Chip = Any  # jaxlib's Device, which pyright takes for a variable


def main(config: Config) -> None:
    """Compiles for the slice, and prints what each program holds, computes and exchanges."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no server of a TPU's metadata
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # a CPU cannot read TPUs' programs
    chips = chips_of(_TOPOLOGY.value)
    if config.dtype == "auto":
        config = config.override({"dtype": "bfloat16"})  # what it means on a TPU
    system = registry.build(config)
    for name, program, count in programs(system, chips):
        print(f"{name}, {count} chips: {figures(program)}", flush=True)  # each takes minutes


def chips_of(topology: str) -> list[_Chip]:
    """The chips of a slice, by libtpu's name of it.

    Raises:
      UserError: if libtpu is missing or does not know the name.
    """
    try:
        return topologies.get_topology_desc(topology, platform="tpu").devices
    except RuntimeError as error:
        raise UserError(
            f"--topology={topology}: {error}; install jax[tpu], and give a name like v5e:4x4"
        ) from error


def programs(system: System, chips: list[_Chip]) -> Iterator[tuple[str, jax.stages.Compiled, int]]:
    """Yields the name of each program, the compiled program and its number of chips."""
    own = mesh(system, [chip for chip in chips if chip.process_index == 0])
    for name, function, arrays in evaluated(system, own.size):
        yield name, compiled(own, function, system, arrays), own.size
    if system.training:
        every = mesh(system, chips)
        yield "a training step", compiled_step(system, every)[2], every.size


def mesh(system: System, chips: list[_Chip]) -> Mesh:
    """The chips as `config.mesh.fsdp` arranges them."""
    shards = system.config.mesh.fsdp
    return Mesh(np.array(chips).reshape(-1, shards), ("data", "fsdp"), (AxisType.Auto,) * 2)


def evaluated(system: System, chips: int) -> Iterator[tuple[str, Callable[..., Any], PyTree]]:
    """Yields name, function and inputs of an evaluation's programs, for a number of chips."""
    config, params = system.config, system.weights.shapes
    clips = -(-config.eval.batch_size // chips) * chips
    video = Shape((clips, *frames_shape(system)), np.uint8)
    yield f"encode {clips} videos", encoder(system), (video,)
    if not system.retrieval:
        return
    retrieval, matching = system.retrieval, system.retrieval.matching
    length = expect(config.data, TextData).max_text_length
    words = Shape((_TEXTS, length), np.int32), Shape((_TEXTS, length), bool)
    yield f"encode {_TEXTS} texts", retrieval.encode_text, words
    if matching:
        seen = jax.eval_shape(retrieval.encode_video, params, video)["tokens"]
        read = jax.eval_shape(retrieval.encode_text, params, *words)["states"]
        tokens = Shape((chips, *seen.shape[1:]), seen.dtype)
        yield f"keys and values of {chips} videos", matching.video_memory, (tokens,)
        memory = jax.eval_shape(matching.video_memory, params, tokens)
        states = Shape((chips, _PAIRS, *read.shape[1:]), read.dtype)
        pairs = memory, states, Shape((chips, _PAIRS, length), bool)
        yield f"match {chips} videos, {_PAIRS} texts each", matching.match, pairs


def compiled(
    on: Mesh, function: Callable[..., PyTree], system: System, arrays: PyTree
) -> jax.stages.Compiled:
    """Compiles a function of a system for a mesh, as `evaluation.Model` does."""
    params = parallel.abstract(on, system.weights.shapes)
    rows = jax.tree.map(lambda x: Shape(x.shape, x.dtype, sharding=parallel.rows(on)), arrays)
    with jax.set_mesh(on):
        program = runtime.jit(lambda params, *rows: function(parallel.gathered(params), *rows))
        return program.lower(params, *rows).compile()


def figures(program: jax.stages.Compiled) -> str:
    """What a chip holds, computes and exchanges, in words."""
    sizes, cost = program.memory_analysis(), program.cost_analysis()
    text = program.as_text()
    assert sizes
    assert cost
    assert text
    exchanged = ", ".join(
        f"{len(each)} {kind} of {sum(each) / 2**20:.1f} MiB"
        for kind, each in collectives(text).items()
    )
    return (
        f"{sizes.argument_size_in_bytes / 2**20:.1f} MiB of arguments,"
        f" {sizes.temp_size_in_bytes / 2**20:.1f} MiB beside them,"
        f" {cost['flops'] / 1e9:.1f} GFLOP,"
        f" {text.count(_KERNEL)} kernels,"
        f" collectives: {exchanged or 'none'}"
    )


def collectives(text: str) -> dict[str, list[int]]:
    """Kind -> bytes that each collective operation of a program gives to a chip.

    An operation in a loop counts once, and so do the copies of one that overlaps with others.
    """
    sizes: dict[str, list[int]] = {}
    channels = set[str]()
    for result, kind, channel in _COLLECTIVES.findall(text):
        if channel and channel in channels:
            continue
        channels.add(channel)
        arrays = _ARRAY.findall(result)
        bits = sum(
            int(each or 8) * math.prod(map(int, filter(None, shape.split(","))))
            for each, shape in arrays
        )
        sizes.setdefault(kind, []).append(bits // 8)
    return sizes


if __name__ == "__main__":
    command_line.run(main)
