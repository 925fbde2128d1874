"""The goldens of InternVideo2-CLIP as our configurations, networks, parameters and inputs."""

import re

import flax.linen as nn
import golden
import jax
import numpy as np
import recipe

import tokmerge_jax
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import clip, internvideo2
from tokmerge_jax.models.internvideo2 import InternVideo2
from tokmerge_jax.systems.validation import unchecked

_NO_TEXT = {"width": 64, "layers": 1, "heads": 1, "vocab_size": 8, "context_length": 4}


def config_of(case, **changes) -> internvideo2.Retrieval:
    """Our configuration of a golden case's network; merging cases have no text transformer."""
    spec = case.config
    vision, text = spec["vision"], spec.get("text", _NO_TEXT)
    frames, size = (
        vision.get(f"checkpoint_{name}", vision[name]) for name in ("frames", "image_size")
    )
    model = internvideo2.Model(
        vision=internvideo2.Vision(
            width=vision["width"],
            depth=vision["depth"],
            heads=vision["heads"],
            frames=spec.get("input_frames", vision["frames"]),
            image_size=vision["image_size"],
            table_frames=frames,
            grid=size // vision["patch_size"],
        ),
        text=clip.Text(
            width=text["width"],
            depth=text["layers"],
            heads=text["heads"],
            vocab_size=text["vocab_size"],
            max_positions=text["context_length"],
        ),
        pool_heads=vision["pool_heads"],
        pool_width=vision["clip_embed_dim"],
        embed_dim=spec["embed_dim"],
        activation="gelu_tanh" if spec["gelu"] == "tanh" else "gelu",
        merger=_merger(spec),
    )
    data = internvideo2.Data(max_text_length=text["context_length"])
    config = internvideo2.Retrieval(dtype="float32", model=model, data=data)
    return config.override({f"model.{key}": value for key, value in changes.items()})


def _merger(spec) -> internvideo2.Merger:
    if "r" not in spec:
        return internvideo2.Merger()
    tokens, r = 1 + spec["vision"]["frames"] * (spec["vision"]["image_size"] // 14) ** 2, []
    for wanted in spec["r"]:  # some are beyond what can merge
        r.append(min(wanted, (tokens - 1) // 2))
        tokens -= r[-1]
    return internvideo2.Merger(
        name=spec["merger"],
        r=tuple(r),
        proportional=spec["proportional"],
        pool_sizes=spec["pool_by_size"],
    )


def system_of(case, **changes):
    """The system of a golden case, whose pixels are normalised, and its parameters."""
    system = unchecked(tokmerge_jax.build(config_of(case, **changes)))
    weights = case.weights()
    if "text" not in case.config:
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), system.weights.shapes)
        texts = rules.unload(system.weights.names[0], zeros)
        weights |= {name: x for name, x in texts.items() if name.startswith("text_encoder.")}
    return system, golden.parameters(system, weights)


def videos(case) -> np.ndarray:
    """Normalised clips [B,T,H,W,3] of a case."""
    drawn = case.spec["inputs"]["video"]
    numbers = [int(n) for n in re.findall(r"\d+", drawn.replace("100*i", ""))]
    *shape, seed = numbers[:5]
    count = numbers[5] if "i <" in drawn else 1
    clips = [recipe.video(tuple(shape), seed=seed + 100 * i) for i in range(count)]
    return np.moveaxis(np.stack(clips), 2, -1)


def record(system, params, video):
    """What the video side computes: tokens, pooled, embeddings, and what each block records."""

    def run(model: InternVideo2, video):
        tokens = model.vision(video, trace=True)
        pooled = model.pool(tokens.x, tokens.size if model.pool_sizes else None)
        return tokens, pooled, model.vision_projection(model.vision_norm(pooled))

    names = ("query_norm", "key_norm")
    apply = nn.apply(
        run,
        system.network,
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: module.name in names,
    )
    outputs, seen = jax.jit(apply)({"params": params}, video)
    return (*outputs, seen["intermediates"]["vision"])
