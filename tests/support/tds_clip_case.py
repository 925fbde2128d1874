"""The goldens of TDS-CLIP, Side4Video and merging in them, as our networks and parameters."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import recipe

import tokmerge_jax
from tokmerge_jax import merging
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.tables import tds_clip as table
from tokmerge_jax.config import tds_clip
from tokmerge_jax.models.clip_vit import CLIPViT
from tokmerge_jax.models.tds_clip import TDSCLIP, SideNetwork
from tokmerge_jax.systems.validation import unchecked

SMALL = {
    "vision.width": 64,
    "vision.depth": 2,
    "vision.heads": 1,
    "vision.patch_size": 8,
    "vision.image_size": 32,
    "side.width": 64,
    "side.differences": True,
    "classes": 3,
}
"""Sizes of a network that compiles in a blink, as a checkpoint's are told."""


def weights_of(case) -> dict[str, np.ndarray]:
    """Every tensor of the case by its PyTorch name, running statistics too."""
    stored = {n: x for n, x in case.arrays.items() if n.startswith("weights/")}
    return {**case.weights(), **{n.removeprefix("weights/"): x for n, x in stored.items()}}


def module_of(sizes, r=(), proportional=True) -> TDSCLIP:
    """The network of the sizes that the table tells of a checkpoint, merging `r` in each block."""
    r = tuple(r) or (0,) * sizes["vision.depth"]
    vision = CLIPViT(
        width=sizes["vision.width"],
        heads=sizes["vision.heads"],
        mergers=merging.per_layer("tome", r, 1),
        patch_size=sizes["vision.patch_size"],
        proportional=proportional,
    )
    side = SideNetwork(sizes["side.width"], sizes["vision.patch_size"], sizes["side.differences"])
    return TDSCLIP(vision, side, sizes["classes"])


def config_of(sizes, frames=1) -> tds_clip.Recognition:
    """Our configuration of such a network."""
    return tds_clip.Recognition().override(
        {
            **{f"model.{key}": value for key, value in sizes.items()},
            "model.vision.frames": frames,
            "dtype": "float32",
            "data.scale": sizes["vision.image_size"],
            "train.groups": 1,
        }
    )


def system_of(case):
    """The system of an end-to-end case, whose pixels are normalised, and its parameters."""
    weights = weights_of(case)
    config = config_of(table.sizes(weights), case.config["num_segments"])
    system = unchecked(tokmerge_jax.build(config))
    return system, rules.load(system.weights.names[0], weights, system.weights.shapes)


def tables_of(sizes) -> tuple[rules.RuleSet, ...]:
    """The tables of checkpoints for such a network."""
    return table.rules(
        sizes["vision.depth"],
        sizes["vision.width"],
        sizes["side.width"],
        sizes["vision.patch_size"],
        4 * sizes["side.differences"],
    )


def abstract_params(module, sizes):
    """The one tree of parameters and running statistics that checkpoints hold."""
    size, frames = sizes["vision.image_size"], 5 if sizes["side.differences"] else 1
    video = jax.ShapeDtypeStruct((1, 1, frames, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), video)
    return {**shapes["params"], "batch_stats": shapes["batch_stats"]}


def network_of(case, merged=True):
    """The network of an end-to-end case and its parameters."""
    weights, r = weights_of(case), case.config.get("r", ()) if merged else ()
    sizes = table.sizes(weights)
    r = [r] * sizes["vision.depth"] if isinstance(r, int) else r
    module = module_of(sizes, r, case.config.get("proportional_attention", True))
    table_ = tables_of(sizes)[0]
    return module, rules.load(table_, weights, abstract_params(module, sizes))


def video_of(case) -> np.ndarray:
    """Its input as [B,T,M,H,W,3]."""
    inputs = re.match(r"recipe\.video\(\((.*)\), (\w+)\)", case.spec["inputs"]["video"])
    assert inputs
    shape, seed = inputs.groups()
    seed = case.spec["seed"] if seed == "seed" else int(seed)
    video = recipe.video(tuple(int(n) for n in shape.split(",")), seed=seed)
    video = np.moveaxis(video, -3, -1)
    return video if video.ndim == 6 else video[:, :, None]
