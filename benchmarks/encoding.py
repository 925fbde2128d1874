"""The stages of `stages.py` that encode clips and texts, and the machine's ceiling beside them."""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import numpy as np

from benchmarks.cases import Case, Inputs, Sizes, compiled, counted
from benchmarks.peer import encoding_macs, requests_for
from tokmerge_jax import runtime
from tokmerge_jax.config import expect, umt
from tokmerge_jax.config.common import BertText, Text, TextModel
from tokmerge_jax.signatures import Features
from tokmerge_jax.system import System
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.tasks.synthetic import clip_macs, encoder, fitting, needed, unmerged
from tokmerge_jax.types import Params

_PRODUCTS = 12  # matrix products of a run; one alone is too short to time
_TURNS = 40  # times as many on an accelerator: tens of milliseconds
_MOST_ROWS = 8192  # enough to reach the ceiling; more only takes longer


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
                original_macs=count * encoding_macs(each),
            )
            cases.append(case)
    return cases


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
