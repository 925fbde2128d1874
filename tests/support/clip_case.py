"""The goldens of CLIP and TempMe, small and full-size, as our configurations and parameters."""

import flax.linen as nn
import golden
import jax
import numpy as np
import recipe

import tokmerge_jax
from tokmerge_jax.config import clip
from tokmerge_jax.systems.validation import unchecked


def config_of(case) -> clip.Retrieval:
    """Our configuration of a golden case's network."""
    spec = case.config
    width, text_width = spec["vision_width"], spec.get("text_width", spec.get("transformer_width"))
    model = clip.Model(
        vision=clip.Vision(
            width=width,
            depth=spec["vision_layers"],
            heads=width // 64,
            patch_size=spec.get("patch_size", spec.get("vision_patch_size")),
            image_size=spec["image_resolution"],
            frames=spec.get("frames", 1),
        ),
        text=clip.Text(
            width=text_width,
            depth=spec.get("text_layers", spec.get("transformer_layers")),
            heads=text_width // 64,
            vocab_size=spec["vocab_size"],
            max_positions=spec["context_length"],
        ),
        embed_dim=spec["embed_dim"],
        **(_merging(spec) if "merge_layer" in spec else {}),
    )
    length = spec.get("max_words", spec["context_length"])
    return clip.Retrieval(dtype="float32", model=model, data=clip.Data(max_text_length=length))


def _merging(spec):
    def numbers(text):
        return tuple(int(n) for n in text.split("-"))

    cross, intra = numbers(spec["merge_token_proportion"])
    return {
        "lora_rank": spec["lora_dim"],
        "merger": clip.Merger(name="tempme", r=spec["tome_r"], proportional=spec["prop_attn"]),
        "join": clip.Join(
            layers=numbers(spec["merge_layer"]),
            clips=numbers(spec["merge_frame_num"]),
            cross=float(cross),
            intra=float(intra),
            positions=bool(spec["frame_pos"]),
        ),
    }


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
    """Returns the records of the traced image transformer, by module."""
    run = nn.apply(
        lambda model, x: model.vision(x, trace=True), system.network, mutable=["intermediates"]
    )
    tokens, seen = jax.jit(run)({"params": params}, video)
    return tokens, seen["intermediates"][part]


def close(ours, theirs, tolerance=1e-4):
    """Asserts equality within a share of the largest value."""
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
