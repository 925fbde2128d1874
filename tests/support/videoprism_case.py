"""The goldens of VideoPrism as our configurations, networks and parameters."""

import dataclasses
import re

import flax.linen as nn
import golden
import jax
import numpy as np
import recipe

import tokmerge_jax
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import videoprism
from tokmerge_jax.systems.validation import unchecked

_ENCODER = {"encoder": "params/", "classifier": "params/encoder/"}
_CAPTURED = ("patch_embedding", "query", "key", "norm", "temporal_norm", "auxiliary", "pool")


def config_of(case) -> videoprism.Retrieval:
    """Our configuration of a golden case's network and of what merges in it."""
    spec = case.config
    frames, grid, _ = spec["pos_emb_shape"]
    _, given, edge, _, _ = shape(case)
    width, heads = spec["model_dim"], spec["num_heads"]
    vision = videoprism.Vision(
        width=width,
        depth=spec["num_spatial_layers"],
        heads=heads,
        patch_size=spec["patch_size"],
        image_size=edge,
        frames=given,
        mlp_width=spec["mlp_dim"],
        temporal_depth=spec["num_temporal_layers"],
        auxiliary_depth=spec.get("num_auxiliary_layers", 1),
        grid=grid,
        table_frames=frames,
    )
    text = videoprism.Text(
        width=width,
        depth=spec.get("num_unimodal_layers", 1),
        heads=heads,
        vocab_size=spec.get("vocabulary_size", 8),
    )
    merge = dict(spec.get("merge", {"kind": "none", "r": (0,)}))
    name = {"vidtldr": "vid_tldr"}.get(kind := merge.pop("kind"), kind)
    merger = videoprism.Merger(**{**merge, "name": name, "r": tuple(merge["r"])})
    return videoprism.Retrieval(
        dtype="float32", model=videoprism.Model(vision=vision, text=text, merger=merger)
    )


def shape(case) -> tuple[int, ...]:
    """[B,T,H,W,3] of a case's video."""
    inside = re.findall(r"\((\([\d, ]+\)), seed", case.spec["inputs"]["video"])[0]
    return tuple(int(n) for n in re.findall(r"\d+", inside))


def video(case) -> np.ndarray:
    """A case's video."""
    return recipe.video(shape(case), seed=case.spec["seed"])


def weights(case) -> dict[str, np.ndarray]:
    """The weights of a case by the names of VideoPrism-LvT, as far as it has them."""
    drawn, prefix = case.weights(), _ENCODER.get(case.config["kind"])
    if prefix is None:
        return drawn
    return {
        f"params/vision_encoder/{name.removeprefix(prefix)}": array
        for name, array in drawn.items()
        if name.startswith(prefix)
    }


def system_of(case):
    """The system of a golden case, whose pixels are in [0,1], and its parameters.

    What the case lacks (texts; all that comes after the plain encoder) is 0.
    """
    system = unchecked(tokmerge_jax.build(config_of(case)))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), system.weights.shapes)
    named = rules.unload(system.weights.names[0], zeros) | weights(case)
    cap, network = case.config["atten_logit_cap"], system.network
    parts = ("vision", "temporal", "auxiliary", "text")
    capped = network.clone(**{part: getattr(network, part).clone(logit_cap=cap) for part in parts})
    return dataclasses.replace(system, network=capped), golden.parameters(system, named)


def record(system, params, video):
    """What the video side computes: embeddings, dense tokens, and what is recorded on the way."""
    frames = video.shape[1]

    def run(model, video):
        x, tokens = model.encode(video, trace=True)
        return model.embed(x, tokens, frames), model.dense(x, tokens, frames)

    apply = nn.apply(
        run,
        system.network,
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: module.name in _CAPTURED,
    )
    outputs, seen = jax.jit(apply)({"params": params}, video)
    return (*outputs, seen["intermediates"])
