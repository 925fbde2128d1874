"""The memory of encoding a video, read from UMT-B/16's compiled program (nothing runs)."""

import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from tokmerge_jax import merging
from tokmerge_jax.models.umt import UMTViT

HEADS, DEPTH, TOKENS = 12, 12, 12 * 196


def _compile(r: tuple[int, ...]) -> jax.stages.Compiled:
    r = r + (0,) * (DEPTH - len(r))
    model = UMTViT(
        width=768,
        heads=HEADS,
        mergers=merging.per_layer("vid_tldr", r),
        patch_size=16,
        table_frames=12,
    )
    video = jax.ShapeDtypeStruct((1, 12, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), video)
    return (
        jax.jit(nn.apply(lambda model, video: model(video).x, model))
        .lower(variables, video)
        .compile()
    )


@pytest.mark.slow
@pytest.mark.parametrize("r", [(), (600, 200, 100)], ids=["off", "merging"])
def test_no_layer_holds_the_attention_of_all_heads(r: tuple[int, ...]) -> None:
    program = _compile(r)
    fewest = TOKENS - sum(r)
    attention = HEADS * fewest**2  # numbers in the smallest layer's map over all heads
    shapes = re.findall(r"\b(?:f|bf|s|u)\d+\[([\d,]+)\]", str(program.as_text()))
    largest = max(math.prod(int(axis) for axis in shape.split(",")) for shape in shapes)
    assert fewest * 4 * 768 <= largest < attention  # the MLP's hidden layer is there to be seen
    memory = program.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 4 * HEADS * TOKENS**2
