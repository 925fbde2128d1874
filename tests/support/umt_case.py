"""The goldens of UMT, small and full-size, as our configurations, parameters and inputs."""

import re
from dataclasses import replace

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import recipe

import tokmerge_jax
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import umt
from tokmerge_jax.systems.validation import unchecked

TOLERANCE = 2e-4


def close(ours, theirs, tolerance=TOLERANCE):
    """Asserts equality within a share of the largest value."""
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def most_likely(key, weights):
    """A sampler of negatives without chance: the column of each row's largest weight."""
    del key
    return jnp.argmax(weights, axis=1).astype(jnp.int32)


def config_of(case):
    """Our configuration of a golden case's network."""
    spec = case.config
    answers = case.name.startswith(("umtqa", "bert-decoder"))
    config = umt.QuestionAnswering() if answers else umt.Retrieval()
    if case.name.startswith("bert"):
        vision = umt.Vision(width=spec["encoder_width"], depth=1, heads=4, image_size=16)
        text, further = text_of(spec), {}
        if case.name.startswith("bert-decoder"):  # a network whose fusion layers it has all of
            text = replace(text, depth=1 + spec["num_hidden_layers"], fusion_layer=1)
    else:
        vision = umt.Vision(
            width=spec["vision"]["width"],
            depth=spec["vision"]["depth"],
            heads=spec["vision"]["heads"],
            image_size=spec["vision"]["img_size"],
            patch_size=spec["patch_size"],
            frames=spec["frames"],
            table_frames=max(spec.get("ckpt_num_frame", 0), 0),
            keep_temporal=spec.get("keep_temporal", False),
        )
        text = text_of(spec["text"])
        further = {"merger": umt.Merger(r=tuple(spec["vidtldr_r"] or (0,)))}
        if not answers:
            further["embed_dim"] = spec["embed_dim"]
    return replace(
        config,
        dtype="float32",
        model=replace(config.model, vision=vision, text=text, **further),
        data=replace(config.data, max_text_length=min(32, text.max_positions)),
    )


def text_of(text: dict) -> umt.Text:
    """Our sizes of a golden case's BERT."""
    return umt.Text(
        width=text["hidden_size"],
        depth=text["num_hidden_layers"],
        heads=text["num_attention_heads"],
        mlp_width=text["intermediate_size"],
        fusion_layer=text["fusion_layer"],
        vocab_size=text["vocab_size"],
        max_positions=text["max_position_embeddings"],
    )


def system_of(case, only: str = "", words: bool = False):
    """The system of a golden case, whose pixels are normalised, and its parameters.

    With `only`, a prefix of PyTorch names, the case has these weights alone and the rest is zero.
    With `words`, the network predicts masked words if the case does.
    """
    config = config_of(case)
    if words and any(".cls." in name for name in case.spec["shapes"]):
        config = config.override({"train.losses.mlm": 1.0})
    system = unchecked(tokmerge_jax.build(config))
    weights = {name.replace("_encoder.bert.", "_encoder."): w for name, w in case.weights().items()}
    if only:
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), system.weights.shapes)
        weights = {name: w for name, w in weights.items() if name.startswith(only)}
        weights = {**rules.unload(system.weights.names[0], zeros), **weights}
    return system, golden.parameters(system, weights)


def videos(case, count: int, seed: int | None = None) -> np.ndarray:
    """Normalised clips [V,T,H,W,3] of a case; the first one's seed is in its index, if not given.

    Each further one's is 100 more.
    """
    size = case.config["vision"]["img_size"]
    shape = (case.config["frames"], 3, size, size)
    if seed is None:
        seed = int(re.findall(r"seed=(\d+)", case.spec["inputs"]["video"])[0])
    clips = [recipe.video(shape, seed=seed + 100 * i) for i in range(count)]
    return np.stack(clips).transpose(0, 1, 3, 4, 2)


def record(system, params, video):
    """Returns the records of each vision block (a list of dicts) and the final tokens [V,N,C]."""
    run = nn.apply(
        lambda model, x: model.vision(x, trace=True), system.network, mutable=["intermediates"]
    )
    tokens, seen = jax.jit(run)({"params": params}, video)
    seen = seen["intermediates"]["vision"]
    blocks = [{k: v[0] for k, v in seen[f"block_{i}"].items()} for i in range(len(seen))]
    return blocks, tokens.x
