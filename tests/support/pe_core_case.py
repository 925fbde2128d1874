"""The goldens of PE-Core, small and full-size, as our configurations, networks and parameters."""

import dataclasses
import re

import flax.linen as nn
import golden
import jax
import numpy as np
import recipe

import tokmerge_jax
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import clip, pe_core
from tokmerge_jax.merging.merger import find
from tokmerge_jax.merging.tempme import Join
from tokmerge_jax.systems.validation import unchecked

_NO_TEXT = {"width": 64, "layers": 1, "heads": 1, "vocab_size": 8, "context_length": 4}


def config_of(case) -> pe_core.Retrieval:
    """Our configuration of a golden case's network; most cases have no text transformer."""
    spec = case.config
    vision, text = spec["vision"], spec["text"] if _reads(case) else _NO_TEXT
    model = pe_core.Model(
        vision=pe_core.Vision(
            width=vision["width"],
            depth=vision["layers"],
            heads=vision["heads"],
            patch_size=vision["patch_size"],
            image_size=vision["image_size"],
            frames=1,
            mlp_width=int(vision["width"] * vision["mlp_ratio"]),
            class_token=vision["use_cls_token"],
            grid=vision["image_size"] // vision["patch_size"],
        ),
        text=clip.Text(
            width=text["width"],
            depth=text["layers"],
            heads=text["heads"],
            vocab_size=text["vocab_size"],
            max_positions=text["context_length"],
        ),
        embed_dim=vision["output_dim"],
        merger=pe_core.Merger(
            proportional=spec.get("proportional", True),
            pool_sizes=spec.get("pool_sizes", True),
            position=spec.get("position", "mean"),
        ),
    )
    data = pe_core.Data(max_text_length=text["context_length"])
    return pe_core.Retrieval(dtype="float32", model=model, data=data)


def system_of(case):
    """The system of a golden case, whose pixels are normalised, and its parameters."""
    system = unchecked(tokmerge_jax.build(config_of(case)))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), system.weights.shapes)
    weights, texts = case.weights(), {}
    if not _reads(case):
        texts = rules.unload(system.weights.names[0], zeros)
        weights = {name: x for name, x in weights.items() if name.startswith("visual.")}
    system = dataclasses.replace(system, network=_merging(system.network, case.config))
    return system, golden.parameters(system, texts | weights)


def _reads(case) -> bool:
    return "inputs/text" in case.arrays


def _merging(network, spec):
    """The network with the mergers and joins of a case."""
    if "r" not in spec:
        return network
    name = "tome_rotated" if spec.get("metric") == "rotated" else spec.get("merger", "tome")
    depth, count = len(spec["r"]), int(network.vision.class_token)
    mergers, joins = [], []
    for i, r in enumerate(spec["r"]):
        k, across = spec.get("joins", {i: (1, 0)})[i]
        joins.append(Join(k, count, across) if k > 1 else None)
        count *= k
        mergers.append(find(name).at(i, depth, r, count) if r else None)
    vision = network.vision.clone(mergers=tuple(mergers), joins=tuple(joins), join_positions=False)
    return network.clone(vision=vision)


def videos(case) -> np.ndarray:
    """Normalised clips [B,T,H,W,3] of a case; images are clips of one frame."""
    inputs = case.spec["inputs"]
    drawn = inputs.get("image") or inputs["video"]
    *shape, seed = (int(n) for n in re.findall(r"\d+", drawn.split(":")[0]))
    pixels = np.moveaxis(recipe.video(tuple(shape), seed=seed), -3, -1)
    return pixels if "video" in inputs else pixels[:, None]


def record(system, params, video):
    """What the image side computes: tokens, all of them normed, pooled, features, and the rest."""

    def run(model, video):
        tokens = model.vision(video, trace=True)
        normed = model.vision_norm(tokens.x)
        pooled = model.pool(normed, tokens.size if model.pool_sizes else None)
        return tokens, normed, pooled, model.vision_projection(pooled)

    apply = nn.apply(
        run,
        system.network,
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: module.name in ("input_norm", "query", "key"),
    )
    outputs, seen = jax.jit(apply)({"params": params}, video)
    return (*outputs, seen["intermediates"]["vision"])
