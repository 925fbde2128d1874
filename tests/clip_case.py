"""The goldens of CLIP and TempMe, small and full-size, as our configurations and parameters."""

import flax.linen as nn
import golden
import jax
import numpy as np
import recipe
from ml_collections import ConfigDict

import tokmerge_jax
from configs.base import clip
from tokmerge_jax.systems.inputs import unchecked


def config_of(case) -> ConfigDict:
    """Our configuration of a golden case's network."""
    spec, config = case.config, clip.get_config("b32")
    config.dtype = "float32"
    size = spec["image_resolution"]
    width, text_width = spec["vision_width"], spec.get("text_width", spec.get("transformer_width"))
    config.model.vision.update(
        width=width,
        depth=spec["vision_layers"],
        heads=width // 64,
        patch_size=spec.get("patch_size", spec.get("vision_patch_size")),
        image_size=size,
        frames=spec.get("frames", 1),
    )
    config.model.text.update(
        width=text_width,
        depth=spec.get("text_layers", spec.get("transformer_layers")),
        heads=text_width // 64,
        vocab_size=spec["vocab_size"],
        max_positions=spec["context_length"],
    )
    config.model.embed_dim = spec["embed_dim"]
    config.data.max_text_length = spec.get("max_words", spec["context_length"])
    if "merge_layer" in spec:
        _set_merging(config, spec)
    return config.lock()


def _set_merging(config: ConfigDict, spec) -> None:
    def numbers(text):
        return tuple(int(n) for n in text.split("-"))

    cross, intra = numbers(spec["merge_token_proportion"])
    config.model.lora_rank = spec["lora_dim"]
    config.model.merger.update(name="tempme", r=spec["tome_r"], proportional=spec["prop_attn"])
    config.model.join.update(
        layers=numbers(spec["merge_layer"]),
        clips=numbers(spec["merge_frame_num"]),
        cross=float(cross),
        intra=float(intra),
        positions=bool(spec["frame_pos"]),
    )


def system_of(case):
    """The system of a golden case, whose pixels are normalised, and its parameters."""
    system, weights = unchecked(tokmerge_jax.build(config_of(case))), case.weights()
    return system, golden.parameters(system, weights)


def videos(case, shape=None, seed=None) -> np.ndarray:
    """Normalised clips [B,T,H,W,3] of a TempMe case."""
    text = case.spec["inputs"]["video"]
    numbers = text.removeprefix("recipe.video((").replace("), seed=", ", ").rstrip(")")
    *shape, seed = (int(n) for n in numbers.split(", "))
    return np.moveaxis(recipe.video(tuple(shape), seed=seed), 2, -1)


def images(case) -> np.ndarray:
    """Normalised clips of one frame [B,1,H,W,3] of a CLIP case."""
    text = case.spec["inputs"]["image"].split(":")[0]
    numbers = text.removeprefix("recipe.video((").replace("), seed=", ", ").rstrip(")")
    *shape, seed = (int(n) for n in numbers.split(", "))
    return np.moveaxis(recipe.video(tuple(shape), seed=seed), 1, -1)[:, None]


def record(system, params, video, part="vision"):
    """What the image transformer recorded, by module, traced."""
    run = nn.apply(
        lambda model, x: model.vision(x, trace=True), system.module, mutable=["intermediates"]
    )
    tokens, seen = jax.jit(run)({"params": params}, video)
    return tokens, seen["intermediates"][part]


def close(ours, theirs, tolerance=1e-4):
    """Asserts equality within a share of the largest value."""
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
