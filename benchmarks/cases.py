"""Cases that `stages.py` times, their inputs, and the stages that encode clips and texts."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tokmerge_jax import checkpoints, runtime
from tokmerge_jax.config import expect, tds_clip, umt
from tokmerge_jax.config.common import BertText, Text, TextData, TextModel
from tokmerge_jax.signatures import Features
from tokmerge_jax.system import System
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.tasks.synthetic import (
    clip_macs,
    encoder,
    fitting,
    frames_shape,
    needed,
    random_weights,
    unmerged,
)
from tokmerge_jax.types import Params, UserError

_PRODUCTS = 12  # matrix products of a run; one alone is too short to time
_TURNS = 40  # times as many on an accelerator: tens of milliseconds
_MOST_ROWS = 8192  # enough to reach the ceiling; more only takes longer
ANSWER_LENGTH = 5  # positions: start, up to three pieces, end


Inputs = dict[str, np.ndarray]
"""Names of a network's inputs -> random arrays (`make_inputs`)."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The numbers of clips, texts, questions and answers that are timed.

    Attributes:
      clips: numbers of clips that are encoded at a time; an evaluation uses the largest.
      gallery: number of videos, and of texts, of re-ranking and of an evaluation.
      questions: number of questions about a video.
      answers: number of answers to choose from.
      train_clips: number of clips of a step of training.
    """

    clips: tuple[int, ...] = (1,)
    gallery: int = 64
    questions: int = 24
    answers: int = 1500
    train_clips: int = 4


class Timed(NamedTuple):
    """The time of one run, a result to compare, and its peak memory in bytes, if measured."""

    seconds: float
    output: np.ndarray
    peak_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to time.

    Attributes:
      stage: the name of the job; cases of one stage do the same job.
      way: who or what does it: "ours", "original, eager", "decord", or a form of a kernel.
      run: runs the job once.
      macs: multiply-accumulates of one run; None if not counted.
      runs: number of such runs in the whole job, by which seconds and GMAC are scaled.
      clips: number of clips in the whole job, if it processes clips.
      compile_seconds: seconds of compilation; None if nothing was compiled before the first run.
      compiles: whether the first run compiles; its extra time is then reported.
      peak_bytes: peak memory of a run in bytes, if known in advance.
      requests: way -> request to the original for the same job (`driver.py`).
      original_macs: multiply-accumulates of the original's run, if not `macs`.
    """

    stage: str
    way: str
    run: Callable[[], Timed]
    macs: int | None = None
    runs: float = 1
    clips: int | None = None
    compile_seconds: float | None = None
    compiles: bool = False
    peak_bytes: int | None = None
    requests: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    original_macs: int | None = None


def weights(system: System) -> Params:
    """The checkpoint's parameters, or random ones, on the device."""
    if system.config.checkpoint:
        return jax.device_put(checkpoints.load_checkpoint(system.config.checkpoint, system))
    return random_weights(system)


def make_inputs(system: System, stages: Sequence[str], sizes: Sizes) -> Inputs:
    """Makes random inputs: videos to encode and to train with, and texts if the system reads them.

    With texts come the inputs of re-ranking (a video's tokens, the texts' states) and answers. The
    gallery's videos, which are large, are made only for the stage that reads them.

    Raises:
      UserError: if there are fewer texts than clips to train with.
    """
    batch = sizes.train_clips
    if "train" in stages and isinstance(system.config.model, TextModel) and batch > sizes.gallery:
        raise UserError(
            f"--train_clips={batch} is more than the {sizes.gallery} texts; raise --gallery"
        )
    rng = np.random.default_rng(system.config.seed)
    shape = frames_shape(system)
    inputs = {
        "video": rng.standard_normal((max(sizes.clips), *shape), np.float32),
        "videos": rng.standard_normal((batch, *shape), np.float32),
    }
    if "evaluation" in stages:
        inputs["gallery"] = rng.standard_normal((sizes.gallery, *shape), np.float32)
    if isinstance(system.config.model, TextModel):
        return {**inputs, **_text_inputs(system, sizes, rng)}
    classes = expect(system.config.model, tds_clip.Model).classes
    return {**inputs, "label": rng.integers(classes, size=batch)}


def _text_inputs(system: System, sizes: Sizes, rng: np.random.Generator) -> Inputs:
    vision, words = system.config.model.vision, expect(system.config.model, TextModel).text
    count, length = sizes.gallery, expect(system.config.data, TextData).max_text_length
    tokens = system.merging.cost[-1].tokens_out
    return {
        "text_ids": rng.integers(1, words.vocab_size, (count, length), dtype=np.int32),
        "text_mask": np.ones((count, length), bool),
        "states": rng.standard_normal((count, length, words.width), np.float32),
        "tokens": rng.standard_normal((1, tokens, vision.width), np.float32),
        "answer_ids": _answer_list(rng, sizes.answers, words.vocab_size),
    }


def _answer_list(rng: np.random.Generator, count: int, vocab_size: int) -> np.ndarray:
    """Random answers, start and end included: 70 % of one piece, 20 % of two, 10 % of three."""
    length = ANSWER_LENGTH
    pieces = rng.choice([1, 2, 3], count, p=[0.7, 0.2, 0.1])[:, None]
    place = np.arange(length)[None]
    ids = rng.integers(5, vocab_size, (count, length))
    ids = np.where(
        place == 0, 1, np.where(place <= pieces, ids, np.where(place == pieces + 1, 2, 0))
    )
    return ids.astype(np.int32)


def compiled(
    stage: str,
    way: str,
    function: Callable[..., Any],
    arguments: Any,
    macs: int | None,
    **more: Any,
) -> Case:
    """A case of ours: `function(*arguments)`, compiled here; its first result is compared.

    Further keywords are attributes of the case.
    """
    arguments = jax.block_until_ready(jax.device_put(arguments))
    start = time.perf_counter()
    program = runtime.jit(function).lower(*arguments).compile()
    seconds, peak = time.perf_counter() - start, program_bytes(program)

    def run() -> Timed:
        start = time.perf_counter()
        output = jax.block_until_ready(program(*arguments))
        seconds = time.perf_counter() - start
        return Timed(seconds, np.asarray(jax.tree.leaves(output)[0]))

    return Case(stage, way, run, macs, compile_seconds=seconds, peak_bytes=peak, **more)


def program_bytes(program: jax.stages.Compiled) -> int | None:
    """Peak memory of a program in bytes: arguments, results and intermediate results.

    None if the compiler does not report it.
    """
    analysis = program.memory_analysis()
    if analysis is None:
        return None
    given, made = analysis.argument_size_in_bytes, analysis.output_size_in_bytes
    return given + made + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes


def ceiling(system: System, clips: int) -> Case:
    """Times plain matrix products with the model's largest shapes: the machine's speed limit.

    There are as many rows as tokens in `clips` clips. The numbers are random, since constants take
    less power and raise a GPU's clock. A pair of matrices rotates the rows, so that numbers keep
    their size over any number of products.
    """
    tokens, width = system.merging.cost[0].tokens_out, system.config.model.vision.width
    rows = min(tokens * clips, _MOST_ROWS)
    dtype = runtime.compute_dtype(system.config.dtype)
    count = _PRODUCTS * (1 if jax.default_backend() == "cpu" else _TURNS)
    rng = np.random.default_rng(system.config.seed)
    x, tall, square = (
        rng.standard_normal((length, width), np.float32) for length in (rows, 4 * width, width)
    )
    up, turn = np.linalg.qr(tall).Q, np.linalg.qr(square).Q
    arrays = [matrix.astype(dtype) for matrix in (x, up.T, up @ turn)]

    def products(x: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count // 2, lambda _, x: x @ a @ b, x, unroll=_PRODUCTS // 2)

    macs = 4 * rows * width**2 * count
    return compiled("ceiling", f"{count} products, {rows} rows", products, arrays, macs)


def encode(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """Encodes clips in each batch size, without merging and with the configuration's merging."""
    cases = []
    for name, each in without_and_with(system):
        read = encoder(unchecked(each))  # clips are normalised noise, as the original's
        for count in sizes.clips:
            case = compiled(
                f"encode {counted(count)}, {name}",
                "ours",
                partial(_embed, read),
                (fitting(params, each), inputs["video"][:count]),
                count * clip_macs(each),
                clips=count,
                requests=requests_for("encode", each, clips=count),
            )
            cases.append(case)
    return cases


def counted(clips: int) -> str:
    """The number of clips with its noun, such as "8 clips"."""
    return f"{clips} clip{'s' * (clips > 1)}"


def _embed(
    encode: Callable[[Params, jax.Array], Features | jax.Array], params: Params, video: jax.Array
) -> jax.Array:
    features = encode(params, video)
    if isinstance(features, jax.Array):
        return features
    return features["embedding"] if "embedding" in features else features["tokens"][:, :1]


def text(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """Encodes the gallery's texts."""
    del sizes
    retrieval = needed(system, system.retrieval)

    def embed(params: Params, ids: jax.Array, mask: jax.Array) -> jax.Array:
        return retrieval.encode_text(params, ids, mask)["embedding"]

    arguments = params, inputs["text_ids"], inputs["text_mask"]
    count, macs = len(inputs["text_ids"]), text_macs(system, inputs)
    requests = requests_for("text", system)
    return [compiled(f"encode {count} texts", "ours", embed, arguments, macs, requests=requests)]


def without_and_with(system: System) -> list[tuple[str, System]]:
    """The system without merging and as configured, each with its name."""
    merger = system.config.model.merger
    if merger.name == "none":
        return [("no merging", system)]
    name = f"r={merger.r}" if merger.name == "vid_tldr" else f"{merger.name}, r={merger.r}"
    return [("no merging", unmerged(system.config)), (name, system)]


def requests_for(stage: str, system: System, **more: Any) -> dict[str, dict[str, Any]]:
    """The requests to the original for a stage, one per form."""
    model, data = system.config.model, system.config.data
    if isinstance(model, tds_clip.Model) and (
        model.merger.name != "none" or not model.side.differences or data.neighbours != 5
    ):
        return {}  # TDS-CLIP's original merges nothing, and reads five frames in place of one
    forms = ("eager", "fused") if stage in ("encode", "train", "evaluate") else ("eager",)
    # vid-TLDR's original takes the tokens merged in each layer, the others "on" or "off".
    how: str | list[int] = "off" if model.merger.name == "none" else "on"
    if isinstance(model, umt.Model):
        how = list(system.merging.schedule.r)
    precision = ""
    if on_gpu():  # where it is not float32 anyway
        narrow = "bfloat16" if stage == "train" else "float16"
        precision = f", {narrow if half(system) else 'float32'}"
    return {
        f"original, {form}{precision}": {"stage": stage, "form": form, "how": how, **more}
        for form in forms
    }


def on_gpu() -> bool:
    """Whether ours runs on a GPU; the original then does as well."""
    return jax.default_backend() == "gpu"


def half(system: System) -> bool:
    """Whether ours computes in half precision."""
    return runtime.compute_dtype(system.config.dtype) == jnp.bfloat16


def text_macs(system: System, inputs: Mapping[str, np.ndarray]) -> int:
    """MACs of all texts in the layers that read only text."""
    words, (count, length) = expect(system.config.model, TextModel).text, inputs["text_ids"].shape
    layers = words.fusion_layer if isinstance(words, umt.Text) else words.depth
    return count * layers * text_layer_macs(words, length, length)


def text_layer_macs(words: Text, length: int, rows: int) -> int:
    """MACs of one layer, with keys and values of `length` positions and `rows` queries."""
    width = words.width
    attention = 2 * (length + rows) * width**2 + 2 * length * rows * width
    hidden = words.mlp_width if isinstance(words, BertText) else 4 * width
    return attention + 2 * rows * width * hidden
