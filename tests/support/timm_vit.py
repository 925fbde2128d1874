"""Image transformers of timm made of our blocks, with any mergers, and their weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import recipe

from tokmerge_jax import merging
from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.functional import patchify
from tokmerge_jax.merging import Merger, Tokens


class ViT(nn.Module):
    """timm's ViT, or DeiT with `special` = 2: patches behind a class and a distillation token.

    Without classes it returns the normed class token in place of logits.
    """

    classes: int
    width: int
    heads: int
    mergers: tuple[Merger | None, ...]
    special: int
    proportional: bool = True
    patch_size: int = 16
    trace: bool = True

    @nn.compact
    def __call__(self, image):
        x = nn.Dense(self.width, name="patch_embedding")(patchify(image[:, None], self.patch_size))
        zeros = nn.initializers.zeros_init()
        first = self.param("first", zeros, (1, self.special, self.width))
        x = jnp.concatenate([jnp.tile(first, (len(x), 1, 1)), x], axis=1)
        x += self.param("positions", zeros, (1, *x.shape[1:]))
        tokens = Tokens.traced(x) if self.trace else Tokens(x)
        for i, merger in enumerate(self.mergers):
            proportional = self.proportional and merging.proportional(self.mergers)
            tokens = Block(self.heads, merger, proportional, name=f"block_{i}")(tokens)
        y = nn.LayerNorm(1e-6, name="norm")(tokens.x)
        if not self.classes:
            return y[:, 0], tokens
        heads = [nn.Dense(self.classes, name=f"head_{i}")(y[:, i]) for i in range(self.special)]
        return sum(heads) / self.special, tokens


def dense(weights, name, part=slice(None)):
    kernel = weights[f"{name}.weight"]
    kernel = kernel.reshape(len(kernel), -1)[part].T
    return {"kernel": kernel, "bias": weights[f"{name}.bias"][part]}


def norm(weights, name):
    return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}


def block(weights, i, width):
    name = f"blocks.{i}"
    thirds = [slice(j * width, (j + 1) * width) for j in range(3)]
    names = zip(("query", "key", "value"), thirds, strict=True)
    attention = {key: dense(weights, f"{name}.attn.qkv", part) for key, part in names}
    attention["out"] = dense(weights, f"{name}.attn.proj")
    return {
        "attention_norm": norm(weights, f"{name}.norm1"),
        "attention": attention,
        "mlp_norm": norm(weights, f"{name}.norm2"),
        "mlp": {
            "hidden": dense(weights, f"{name}.mlp.fc1"),
            "out": dense(weights, f"{name}.mlp.fc2"),
        },
    }


def parameters(weights, width, depth, special):
    """timm's names and layouts to those of `ViT`; patches are read row, column, colour here."""
    kernel = weights["patch_embed.proj.weight"].transpose(2, 3, 1, 0).reshape(-1, width)
    first = [weights[name] for name in ("cls_token", "dist_token")[:special]]
    return {
        "patch_embedding": {"kernel": kernel, "bias": weights["patch_embed.proj.bias"]},
        "first": np.concatenate(first, axis=1),
        "positions": weights["pos_embed"],
        "norm": norm(weights, "norm"),
        **{f"block_{i}": block(weights, i, width) for i in range(depth)},
        **{
            f"head_{i}": dense(weights, name)
            for i, name in enumerate(("head", "head_dist")[:special])
            if f"{name}.weight" in weights
        },
    }


def small(case, mergers):
    """The features of a small ViT of a golden case, and what its blocks recorded."""
    sizes = case.config
    width, heads, patch = (sizes[key] for key in ("width", "heads", "patch"))
    model = ViT(0, width, heads, mergers, 1, patch_size=patch, trace=False)
    params = parameters(case.weights(), width, sizes["depth"], 1)
    shape = (sizes["B"], 3, sizes["image"], sizes["image"])
    images = recipe.video(shape, case.spec["seed"]).transpose(0, 2, 3, 1)
    apply = jax.jit(lambda p, x: model.apply({"params": p}, x, mutable=["intermediates"]))
    (features, _), seen = apply(params, images)
    return features, [seen["intermediates"][f"block_{i}"] for i in range(sizes["depth"])]
