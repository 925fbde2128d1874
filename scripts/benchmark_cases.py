"""What `benchmark.py` times: a matrix product, and the stages of an evaluation in several ways."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from tokmerge_jax import convert, evaluation, parallel, registry, runtime
from tokmerge_jax.convert import rules
from tokmerge_jax.evaluation import answering
from tokmerge_jax.evaluation.answers import Answers
from tokmerge_jax.types import Params, Predict, System

_GALLERY = flags.DEFINE_integer("gallery", 64, "videos, and as many texts, of the re-ranking")
_QUESTIONS = flags.DEFINE_integer("questions", 24, "questions about a video")
_CLIPS = flags.DEFINE_integer("clips", 1, "clips that are encoded at a time", lower_bound=1)
_ANSWERS = flags.DEFINE_integer("answers", 1500, "answers to choose from")

_PRODUCTS = 12  # a single one is too short to time
BATCH = 4
"""Clips of a step of training."""

_PAIRS = 32  # timed where each pair is scored anew: a batch of the original's evaluation


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to time.

    Attributes:
      stage: what is done; cases of one stage do the same job.
      way: how.
      run: does it once -> (seconds, result to compare).
      macs: of one run.
      runs: how many such runs the whole job takes.
      compile_seconds: what compiling took.
      requests: how to ask the original for the same (`benchmark_original.py`), once for each way.
    """

    stage: str
    way: str
    run: Callable[[], tuple[float, np.ndarray]]
    macs: int
    runs: float = 1
    compile_seconds: float = 0
    requests: tuple[Mapping[str, Any], ...] = ()


def weights(system: System) -> Params:
    """The checkpoint's parameters, or random ones."""
    if system.config.checkpoint:
        return convert.load_checkpoint(system.config.checkpoint, system)
    return jax.jit(system.init)(jax.random.key(system.config.seed))


def make_inputs(system: System) -> dict[str, np.ndarray]:
    """Videos to encode and to train with; of systems that read texts also a gallery's.

    Of these also what re-ranking is given, a video's tokens and the texts' states, and answers.
    """
    rng = np.random.default_rng(system.config.seed)
    frames, *rest = frames_shape(system)
    inputs = {
        "video": rng.standard_normal((_CLIPS.value, frames, *rest), np.float32),
        "videos": rng.standard_normal((BATCH, frames, *rest), np.float32),
    }
    if "text" in system.config.model:
        return {**inputs, **_text_inputs(system, rng)}
    return {**inputs, "label": rng.integers(system.config.model.classes, size=BATCH)}


def frames_shape(system: System) -> tuple[int, ...]:
    """Of a clip as the network reads it: frames, their neighbours among them, and pixels."""
    vision = system.config.model.vision
    frames = vision.frames * system.config.data.get("neighbours", 1)
    return frames, vision.image_size, vision.image_size, 3


def _text_inputs(system: System, rng: np.random.Generator) -> dict[str, np.ndarray]:
    vision, words = system.config.model.vision, system.config.model.text
    count, length = _GALLERY.value, system.config.data.max_text_length
    tokens = system.cost[-1].tokens_out
    return {
        "text_ids": rng.integers(1, words.vocab_size, (count, length), dtype=np.int32),
        "text_mask": np.ones((count, length), bool),
        "states": rng.standard_normal((count, length, words.width), np.float32),
        "tokens": rng.standard_normal((1, tokens, vision.width), np.float32),
        "answer_ids": _answer_list(rng, words.vocab_size),
    }


def _answer_list(rng: np.random.Generator, vocab_size: int) -> np.ndarray:
    """Random answers, start and end included: 70 % of one piece, 20 % of two, 10 % of three."""
    count, length = _ANSWERS.value, 5
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
    macs: int,
    runs: float = 1,
    requests: tuple[Mapping[str, Any], ...] = (),
) -> Case:
    """A case of ours: `function(*arguments)`, compiled here; its first result is compared."""
    arguments = jax.block_until_ready(jax.device_put(arguments))
    start = time.perf_counter()
    program = runtime.jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - start

    def run() -> tuple[float, np.ndarray]:
        start = time.perf_counter()
        output = jax.block_until_ready(program(*arguments))
        seconds = time.perf_counter() - start
        return seconds, np.asarray(jax.tree.leaves(output)[0])

    return Case(stage, way, run, macs, runs, compile_seconds, requests)


def ceiling(system: System) -> Case:
    """Matrix products of the model's shapes, as fast as they go here."""
    rows, width = system.cost[0].tokens_out, system.config.model.vision.width
    shapes = (rows, width), (width, 4 * width), (4 * width, width)
    dtype = runtime.compute_dtype(system.config.dtype)
    arrays = [np.full(shape, 1 / width, dtype) for shape in shapes]

    def products(x: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        for _ in range(_PRODUCTS // 2):
            x = x @ a @ b
        return x

    macs = 4 * rows * width**2 * _PRODUCTS
    return compiled("ceiling", f"{_PRODUCTS} matrix products", products, arrays, macs)


def encode(system: System, params: Params, inputs: dict[str, np.ndarray]) -> list[Case]:
    """A clip, without merging and with the configuration's."""
    cases = []
    for stage, each in without_and_with(system):
        embed = each.predict.get("classify") or partial(_embed, each.predict["encode_video"])
        macs = len(inputs["video"]) * sum(layer.macs for layer in each.cost)
        requests = requests_for("encode", each)
        arguments = fitting(params, each), inputs["video"]
        cases.append(
            compiled(f"encode, {stage}", "ours", embed, arguments, macs, requests=requests)
        )
    return cases


def _embed(encode: Predict, params: Params, video: jax.Array) -> jax.Array:
    seen = encode(params, video)
    return seen["embedding"] if "embedding" in seen else seen["tokens"][:, :1]


def text(system: System, params: Params, inputs: dict[str, np.ndarray]) -> list[Case]:
    """The gallery's texts."""

    def embed(params: Params, ids: jax.Array, mask: jax.Array) -> jax.Array:
        return system.predict["encode_text"](params, ids, mask)["embedding"]

    arguments = params, inputs["text_ids"], inputs["text_mask"]
    count, macs = len(inputs["text_ids"]), text_macs(system, inputs)
    requests = requests_for("text", system)
    return [compiled(f"{count} texts", "ours", embed, arguments, macs, requests=requests)]


def fitting(params: Params, system: System) -> Params:
    """The parameters that a system has, from those of one that has more."""
    flat, wanted = rules.flatten(params), rules.flatten(system.abstract_params)
    return unflatten_dict({name: flat[name] for name in wanted}, sep="/")


def without_and_with(system: System) -> list[tuple[str, System]]:
    """The system without merging, and as it is, each with what it is called."""
    config = system.config.copy_and_resolve_references()
    with config.unlocked():
        config.model.merger.name = "none"
    merger = system.config.model.merger
    if merger.name == "none":
        return [("no merging", system)]
    name = f"r={merger.r}" if merger.name == "vid_tldr" else f"{merger.name}, r={merger.r}"
    return [("no merging", registry.build(config)), (name, system)]


def requests_for(stage: str, system: System, **more: Any) -> tuple[Mapping[str, Any], ...]:
    """How to ask the original for a stage, in each of its forms."""
    if not _original_can(system):
        return ()
    how = _how(system)
    forms = ("eager", "fused") if stage in ("encode", "train") else ("eager",)
    return tuple({"stage": stage, "form": form, "how": how, **more} for form in forms)


def _original_can(system: System) -> bool:
    """TDS-CLIP's merges nothing, and reads five frames in place of one."""
    model, data = system.config.model, system.config.data
    return system.name != "tds_clip" or (
        model.merger.name == "none" and model.side.differences and data.neighbours == 5
    )


def _how(system: System) -> Any:
    """How the original is to merge: by so many tokens in its layers, or as the job says."""
    if system.name.startswith("vid_tldr"):
        return list(system.schedule.r)
    return "off" if system.config.model.merger.name == "none" else "on"


def text_macs(system: System, inputs: Mapping[str, np.ndarray]) -> int:
    """Of all texts' layers that read text alone."""
    words, (count, length) = system.config.model.text, inputs["text_ids"].shape
    words = {"fusion_layer": words.depth, "mlp_width": 4 * words.width, **words}
    layer = _text_layer_macs(ConfigDict(words), length, length)
    return count * words["fusion_layer"] * layer


def rerank(system: System, params: Params, inputs: dict[str, np.ndarray]) -> list[Case]:
    """All texts on one video with keys and values shared, and each pair for itself."""
    count, length, width = inputs["states"].shape
    words, tokens = system.config.model.text, inputs["tokens"]
    states, mask = inputs["states"][None], inputs["text_mask"][None]
    stage = f"re-rank {count} x {count}"

    def shared(params: Params, tokens: jax.Array, states: jax.Array, mask: jax.Array) -> jax.Array:
        memory = system.predict["video_memory"](params, tokens)
        return system.predict["match"](params, memory, states, mask)

    fusing = words.depth - words.get("fusion_layer", 0)
    memory = 2 * fusing * tokens.shape[1] * tokens.shape[2] * width
    full, last = (_fusion_layer_macs(words, length, rows, tokens.shape[1]) for rows in (length, 1))
    pair = (fusing - 1) * full + last
    pairs = min(_PAIRS, count)
    anew = np.repeat(tokens, pairs, 0), states[0, :pairs, None], mask[0, :pairs, None]
    request = {"stage": "rerank", "form": "eager", "how": _how(system), "pairs": pairs}
    return [
        compiled(
            stage, "ours", shared, (params, tokens, states, mask), memory + count * pair, count
        ),
        compiled(
            stage,
            "each pair and direction anew",
            shared,
            (params, *anew),
            pairs * (memory + pair),
            2 * count**2 / pairs,
            (request,),
        ),
    ]


def answer(system: System, params: Params, inputs: dict[str, np.ndarray]) -> list[Case]:
    """All questions about a video as evaluation does them, and each answer for itself."""
    count, most = _QUESTIONS.value, min(system.config.eval.top_k, _ANSWERS.value)
    stage = f"{count} questions, {_ANSWERS.value} answers, {most} whole"
    ids, mask = (np.resize(inputs[name], (count, *inputs[name].shape[1:]))
                  for name in ("text_ids", "text_mask"))  # fmt: skip
    model = evaluation.Model(system.predict, params, parallel.make_mesh({"data": 1}))
    answers, remember = Answers(inputs["answer_ids"]), model.compiled("video_memory")
    first_piece: Any = system.config.eval.first_piece
    ranker = answering.Ranker(model, (ids, mask), answers, most, first_piece)
    asked = np.arange(count).reshape(1, -1, 8) if count % 8 == 0 else np.arange(count)[None, None]

    def ours() -> tuple[float, np.ndarray]:
        start = time.perf_counter()
        memory = remember(inputs["tokens"])
        scores = [ranker(memory, asked[:, part])[1] for part in range(asked.shape[1])]
        return time.perf_counter() - start, np.concatenate(scores, axis=1)[0, 0]

    begun = time.perf_counter()
    ours()
    compile_seconds = time.perf_counter() - begun
    nodes = [len(answers.tree(np.arange(most)).ids)] * count
    read, piece = _answering_macs(system, inputs)
    ours_macs = read["video"] + count * (read["question"] + read["memory"]) + sum(nodes) * piece
    anew_macs = read["video"] + read["question"] + (most + 1) * read["memory"] + most * 5 * piece
    request = {"stage": "answer", "form": "eager", "how": [0], "k": most}
    anew = _each_anew(system, params, most)
    first = ids[:1, None], mask[:1, None]
    return [
        Case(stage, "ours", ours, ours_macs, compile_seconds=compile_seconds),
        compiled(
            stage,
            "each question and answer anew",
            anew,
            (params, inputs["tokens"], *first, inputs["answer_ids"]),
            anew_macs,
            count,
            (request,),
        ),
    ]


def _each_anew(system: System, params: Params, most: int) -> Callable[..., jax.Array]:
    """The straightforward order: states repeated for each answer, rows of whole answers."""

    def answer(
        params: Params, tokens: jax.Array, ids: jax.Array, mask: jax.Array, answers: jax.Array
    ) -> jax.Array:
        def call(method: str, *arrays: jax.Array) -> Any:
            return system.module.apply({"params": params}, *arrays, method=method)

        states = call("read", call("memory", tokens), ids[0], mask[0])
        see = jnp.ones((1, 1, 1), bool)
        logits = call("next_words", call("answer_memory", states), mask[0], answers[:1, :1], see)
        first, kept = jax.lax.top_k(jax.nn.log_softmax(logits[0, 0])[answers[:, 1]], most)
        repeated = [jnp.repeat(x, most, axis=0) for x in (states, mask[0])]
        memory = call("answer_memory", repeated[0])
        whole = call("log_likelihood", memory, repeated[1], answers[kept])
        return jax.lax.top_k(first + whole, most)[0]

    return answer


def _answering_macs(system: System, inputs: dict[str, np.ndarray]) -> tuple[Mapping[str, int], int]:
    """Of a video's keys and values, reading a question, its keys and values; of one position."""
    words, (_, tokens, width) = system.config.model.text, inputs["tokens"].shape
    length, deep = inputs["text_ids"].shape[1], words.depth - words.fusion_layer
    question = words.fusion_layer * _text_layer_macs(words, length, length)
    question += deep * _fusion_layer_macs(words, length, length, tokens)
    layer = _text_layer_macs(words, 5, 5) // 5 + 2 * words.width**2 + 2 * length * words.width
    return (
        {
            "video": 2 * deep * tokens * width * words.width,
            "question": question,
            "memory": 2 * deep * length * words.width**2,
        },
        deep * layer + words.width**2 + words.width * words.vocab_size,
    )


def _text_layer_macs(words: ConfigDict, length: int, rows: int) -> int:
    """One layer's, where keys and values of `length` positions serve `rows` queries."""
    width = words.width
    attention = 2 * (length + rows) * width**2 + 2 * length * rows * width
    return attention + 2 * rows * width * words.mlp_width


def _fusion_layer_macs(words: ConfigDict, length: int, rows: int, tokens: int) -> int:
    """The same with cross-attention to `tokens` keys and values that exist already."""
    cross = 2 * rows * words.width**2 + 2 * rows * tokens * words.width
    return _text_layer_macs(words, length, rows) + cross
