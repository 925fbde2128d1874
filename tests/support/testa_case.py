"""The goldens of TESTA's systems as our configurations, parameters and inputs."""

import golden
import numpy as np
import recipe

import tokmerge_jax
from tokmerge_jax.config import testa
from tokmerge_jax.merging import testa_settings
from tokmerge_jax.systems.validation import unchecked


def config_of(case) -> testa.Retrieval:
    """Our configuration of a golden case's network."""
    config = sized(testa.Retrieval(), case)
    sizes = {"model.embed_dim": "embed_dim", "data.max_text_length": "max_words"}
    return config.override({key: case.config[name] for key, name in sizes.items()})


def sized(config, case):
    """A configuration with a golden case's sizes."""
    sizes = case.config
    changes = {
        "dtype": "float32",
        "model.vision": {
            "width": sizes["width"],
            "depth": sizes["depth"],
            "heads": sizes["heads"],
            "image_size": sizes["image_size"],
            "patch_size": sizes["patch_size"],
            "frames": sizes["num_frames"],
        },
        "model.text": {
            "width": sizes["hidden"],
            "depth": sizes["layers"],
            "heads": sizes["text_heads"],
            "mlp_width": sizes["intermediate"],
            "vocab_size": sizes["vocab"],
            "max_positions": sizes["max_pos"],
        },
    }
    if sizes["merging_type"]:
        merged = testa_settings.translate(sizes["merging_type"], sizes["testa_r"], sizes["depth"])
        changes |= dict(zip(("model.merger.frames", "model.merger.r"), merged, strict=True))
    return config.override(changes)


def system_of(case):
    """The system of a golden case, whose pixels are normalised, and its parameters."""
    system = unchecked(tokmerge_jax.build(config_of(case)))
    return system, golden.parameters(system, case.weights())


def videos(case):
    """Normalised clips [V,T,H,W,3]."""
    sizes = case.config
    edge = sizes["image_size"]
    shape = (sizes["n_video"], sizes["num_frames"], 3, edge, edge)
    return np.moveaxis(recipe.video(shape, case.spec["seed"]), 2, -1)
