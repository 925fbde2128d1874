"""Times the forms of attention, and of a merge, side by side for `stages.py`.

The form "whole" holds the map of all heads at once, and is left out where that is above 4 GiB.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree

from benchmarks.cases import Case, Inputs, Sizes, compiled
from tokmerge_jax import kernels, runtime
from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.matching import Matching
from tokmerge_jax.system import System
from tokmerge_jax.types import Params

_MOST_BYTES = 4 * 2**30


def forms(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """Attention and merging of as many random tokens as the first blocks see, and gradients.

    The first way of each stage is the one that the networks take on this machine.
    """
    del params, inputs
    rng = np.random.default_rng(system.config.seed)
    vision, cost = system.config.model.vision, system.merging.cost
    sequences = vision.frames if system.merging.attention == "space" else 1
    lengths = dict.fromkeys(layer.tokens_in // sequences for layer in cost)
    return [
        case
        for count in sizes.clips
        for tokens in list(lengths)[:2]  # before the first merge, and after it
        for case in (
            *_attention(system, rng, count * sequences, tokens),
            *_merging(system, rng, count * sequences, tokens),
        )
    ]


def _attention(system: System, rng: np.random.Generator, count: int, tokens: int) -> Iterator[Case]:
    vision = system.config.model.vision
    dtype, platform = runtime.compute_dtype(system.config.dtype), jax.default_backend()
    width = vision.width // vision.heads
    shape = count, tokens, vision.heads, width
    arrays = [jnp.asarray(rng.standard_normal(shape, np.float32), dtype) for _ in range(3)]
    size = jnp.asarray(rng.integers(1, 4, (count, tokens)), jnp.float32)
    whole = 4 * count * vision.heads * tokens**2
    if whole > _MOST_BYTES:
        too_large = f"attention of {count} x {tokens} tokens: its map is {whole / 2**30:.1f} GiB"
        print(f"{too_large}, more than 4; the form whole is not timed", file=sys.stderr)
    for name, weight, entropy, gradient in (
        ("", None, False, False),
        (", sizes", size, False, False),
        (", sizes, entropy", size, True, False),
        (", gradient", None, False, True),
        (", sizes, gradient", size, False, True),
    ):
        taken = kernels.choose(platform, dtype, tokens, tokens, width, entropy=entropy)
        ways: list[kernels.Form] = [
            form
            for form in kernels.FORMS
            if _runs(form, platform, dtype, entropy) and (form != "whole" or whole <= _MOST_BYTES)
        ]
        for form in sorted(ways, key=lambda form: form != taken):
            attend = partial(kernels.attention, scale=width**-0.5, entropy=entropy, form=form)
            yield compiled(
                f"attention of {count} x {tokens} tokens{name}",
                form,
                partial(_gradient, attend) if gradient else attend,
                (*arrays, weight),
                (7 if gradient else 2) * count * tokens**2 * vision.width,
            )


def _gradient(attend: Callable[..., Any], *arrays: jax.Array | None) -> PyTree:
    """The gradients of queries, keys and values; 5 products beside the forward pass's 2."""

    def total(*arrays: jax.Array | None) -> jax.Array:
        return attend(*arrays)[0].astype(jnp.float32).sum()

    return jax.grad(total, argnums=(0, 1, 2))(*arrays)


def _runs(form: kernels.Form, platform: str, dtype: DTypeLike, entropy: bool) -> bool:
    """Whether a form runs on a platform without being interpreted."""
    if form == "cudnn":
        return platform == "gpu" and not entropy and jnp.dtype(dtype).itemsize == 2
    return form != "pallas" or platform in ("gpu", "tpu")


def _merging(system: System, rng: np.random.Generator, count: int, tokens: int) -> Iterator[Case]:
    """Merges a quarter of the tokens; sums of groups by scattering, or by a product."""
    vision = system.config.model.vision
    r = tokens // 4
    keys = rng.standard_normal((count, tokens, vision.width // vision.heads), np.float32)
    x = rng.standard_normal((count, tokens, vision.width), np.float32)
    pairs = (tokens // 2) * (tokens - tokens // 2)
    match = partial(matching.bipartite, r=r)
    stage = f"merge {r} of {count} x {tokens} tokens"
    yield compiled(f"match, {stage}", "whole map", match, (keys,), count * pairs * keys.shape[2])
    matched = jax.jit(match)(keys)
    yield compiled(
        stage, "scatter", lambda *args: merge.weighted_mean(*args)[0], (matched, x), None
    )
    products = count * r * (tokens - r) * vision.width
    yield compiled(stage, "one-hot product", _by_product, (matched, x), products)


def _by_product(matched: Matching, x: jax.Array) -> jax.Array:
    """`merge.weighted_mean` of tokens of size 1, whose sums are a product with a one-hot matrix."""
    kept, source = (
        jnp.take_along_axis(x, index[..., None], axis=1) for index in (matched.kept, matched.source)
    )
    into = jax.nn.one_hot(matched.target, kept.shape[1])
    size = 1 + into.sum(axis=1)[..., None]
    return (kept + jnp.einsum("brm,brc->bmc", into, source)) / size
