"""UMT's BERT in its three modes against the original's states."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import umt_case
from umt_case import close


def run(case, vision, vision_mask=None):
    """Text states, fused states and multi_modal states of a golden case."""
    spec, ids = case.config, case.arrays["inputs/ids"]
    mask = jnp.arange(ids.shape[1])[None] < jnp.asarray(spec["lengths"])[:, None]
    ids, vision = jnp.asarray(ids), jnp.asarray(vision)
    system, params = umt_case.system_of(case, only="text_encoder")
    module = system.module.text

    @jax.jit
    def states(params):
        def apply(method, *args):
            return module.apply({"params": params}, *args, method=method)

        text = apply("encode_text", ids, mask)
        memory = apply("memory", vision)
        return {
            "text": text,
            "fusion": apply("fuse", text, mask, memory),
            "masked": apply("fuse", text, mask, memory, vision_mask),
            "first": module.apply(
                {"params": params}, text, mask, memory, first_only=True, method="fuse"
            ),
            "multi_modal": apply("__call__", ids, mask, vision, vision_mask),
        }

    return states(params["text"])


def test_tiny_states_of_every_mode():
    case = golden.load("bert-tiny")
    lengths = jnp.asarray(case.config["vision_lengths"])
    vision = recipe.video((3, 17, 48), seed=4)
    states = run(case, vision, jnp.arange(17)[None] < lengths[:, None])
    expected = case.arrays
    close(states["text"], expected["text/hidden_1"])
    close(states["fusion"], expected["fusion/hidden_3"])
    close(states["masked"], expected["fusion_masked/last_hidden"])
    close(states["multi_modal"], expected["multi_modal/last_hidden"])
    close(states["first"][:, 0], expected["fusion/hidden_3"][:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("size", ["base", "large"])
def test_full_size_states(size):
    case = golden.load(f"bert-{size}")
    width = case.config["hidden_size"]
    states = run(case, recipe.video((2, 200, width), seed=case.spec["seed"] + 1))
    for mode in ("text", "fusion"):
        ours = np.asarray(states[mode])
        close(ours[:, [0, 1, 24]], case.arrays[f"{mode}/tokens"])
        close(np.linalg.norm(ours, axis=-1), case.arrays[f"{mode}/norms"])
        close(ours.mean(-1), case.arrays[f"{mode}/means"])
