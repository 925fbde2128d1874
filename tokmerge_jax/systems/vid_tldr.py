"""vid-TLDR: UMT video-text retrieval whose first blocks merge background tokens away.

Source: vid-TLDR (CVPR 2024) on Unmasked Teacher (ICCV 2023); `docs/vid_tldr.md`.
"""

from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from tokmerge_jax import merging, runtime
from tokmerge_jax.convert.tables.vid_tldr import rules
from tokmerge_jax.data import text, transforms
from tokmerge_jax.merging import schedule
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.umt import UMT
from tokmerge_jax.models.umt_vit import UMTViT
from tokmerge_jax.training import losses
from tokmerge_jax.types import Batch, Loss, NegativeSampler, Params, Predict, System, UserError

MEAN = (0.485, 0.456, 0.406)  # ImageNet's
STD = (0.229, 0.224, 0.225)


def build(config: ConfigDict) -> System:
    """The system of a retrieval configuration (`configs/base/vid_tldr.py`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    vision, words = config.model.vision, config.model.text
    _check(config)
    tokens = vision.frames * (vision.image_size // vision.patch_size) ** 2
    merger = config.model.merger
    r = schedule.resolve(0 if merger.name == "none" else merger.r, vision.depth, tokens)
    if vision.keep_temporal and any(r):
        raise UserError(
            "config.model.vision.keep_temporal pools the tokens of each frame, which merging mixes;"
            " switch one of them off (config.model.merger.name=none)"
        )
    module = _module(config, merging.per_layer(merger.name, r))

    def init(key: jax.Array) -> Params:
        return module.init(key, *_example(config))["params"]

    return System(
        name="vid_tldr",
        config=config,
        module=module,
        abstract_params=jax.eval_shape(init, jax.random.key(0)),
        init=init,
        predict=_predict(module),
        loss=retrieval_loss(module),
        name_rules=rules(vision.depth, words.depth, words.fusion_layer),
        constants={
            "mean": MEAN,
            "std": STD,
            "image_size": vision.image_size,
            "frames": vision.frames,
        },
        transform=transforms.Resize(vision.image_size),
        augment=transforms.RandomResizedCrop(
            vision.image_size, min_scale=config.train.image_size_min_scale, flip=config.train.flip
        ),
        tokenize=text.Tokenizer(
            text.UMT, config.data.vocabulary, config.data.max_text_length, words.vocab_size
        ),
        cost=schedule.vit_cost(r, tokens, vision.width, 3 * vision.patch_size**2),
    )


def retrieval_loss(module: UMT, sampler: NegativeSampler = losses.categorical) -> Loss:
    """Video-text contrastive loss plus matching loss with hard negatives.

    Args:
      module: the network.
      sampler: draws a negative video for each text and a negative text for each video.

    Returns:
      `(params, batch, key, train) -> (loss, {"vtc", "vtm"})`; the batch holds `video`, `text_ids`,
      `text_mask` and `match_id` (equal = a true pair).
    """

    def forward(
        model: UMT, batch: Mapping[str, jax.Array], key: jax.Array, train: bool
    ) -> tuple[jax.Array, Any]:
        tokens, video = model.encode_video(_pixels(batch["video"]), train=train)
        mask = batch["text_mask"]
        states, words = model.encode_text(batch["text_ids"], mask, train=train)
        vtc, similarity = losses.contrastive(video, words, batch["match_id"], model.temperature)
        to_video, to_text = losses.hard_negative_weights(similarity, batch["match_id"])
        video_key, text_key = jax.random.split(key)
        other_video, other_text = sampler(video_key, to_video), sampler(text_key, to_text)
        memory = model.memory(tokens)
        match = partial(model.match, train=train)
        logits = [
            match(memory, states, mask),
            match(jax.tree.map(lambda x: x[other_video], memory), states, mask),
            match(memory, states[other_text], mask[other_text]),
        ]
        vtm = losses.matching(jnp.concatenate(logits))
        return vtc + vtm, {"vtc": vtc, "vtm": vtm}

    def loss(
        params: Params, batch: Batch, key: jax.Array, *, train: bool = True
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        coins, dropout = jax.random.split(key)
        run = nn.apply(forward, module)
        return run({"params": params}, batch, coins, train, rngs={"dropout": dropout})

    return loss


def _predict(module: UMT) -> dict[str, Predict]:
    def run(method: str, params: Params, *arrays: Any) -> Any:
        return module.apply({"params": params}, *jax.tree.map(jnp.asarray, arrays), method=method)

    def encode_video(params: Params, video: ArrayLike) -> dict[str, jax.Array]:
        tokens, embedding = run("encode_video", params, _pixels(video))
        return {"embedding": embedding, "tokens": tokens}

    def encode_text(params: Params, text_ids: ArrayLike, text_mask: ArrayLike) -> dict[str, Any]:
        states, embedding = run("encode_text", params, text_ids, text_mask)
        return {"embedding": embedding, "states": states}

    def video_memory(params: Params, tokens: ArrayLike) -> Any:
        return run("memory", params, tokens)

    def match(params: Params, memory: Any, states: ArrayLike, text_mask: ArrayLike) -> jax.Array:
        videos, texts, length, width = np.shape(states)
        flat = jnp.reshape(states, (-1, length, width)), jnp.reshape(text_mask, (-1, length))
        logits = run("match", params, memory, *flat)
        return logits[:, 1].reshape(videos, texts)

    def trace_video(params: Params, video: ArrayLike) -> dict[str, list[jax.Array]]:
        trace = nn.apply(
            lambda model, x: model.vision(x, trace=True), module, mutable=["intermediates"]
        )
        _, record = trace({"params": params}, _pixels(video))
        return _trace(record["intermediates"]["vision"])

    functions = (encode_video, encode_text, video_memory, match, trace_video)
    return {function.__name__: function for function in functions}


def _trace(blocks: Mapping[str, Any]) -> dict[str, list[jax.Array]]:
    """What each merging block recorded, in order: saliency of its input, origin, size after it."""
    trace: dict[str, list[jax.Array]] = {"saliency": [], "origin": [], "size": []}
    for i in range(len(blocks)):
        block = blocks[f"block_{i}"]
        if "after_merging" not in block:
            continue
        (evidence,), (tokens,) = block["evidence"], block["after_merging"]
        if evidence.entropy is not None:
            trace["saliency"].append(merging.saliency.foreground(evidence.entropy))
        trace["origin"].append(tokens.origin)
        trace["size"].append(tokens.size)
    return trace


def _pixels(video: ArrayLike) -> jax.Array:
    """uint8 frames -> normalised float32; floats are taken to be normalised already."""
    video = jnp.asarray(video)
    if video.dtype != jnp.uint8:
        return video
    mean, std = np.reshape(MEAN, (1, 1, 1, 1, 3)), np.reshape(STD, (1, 1, 1, 1, 3))
    return (video.astype(jnp.float32) / 255 - np.float32(mean)) / np.float32(std)


def _module(config: ConfigDict, mergers: tuple[merging.Merger | None, ...]) -> UMT:
    vision, words = config.model.vision, config.model.text
    dtype = runtime.compute_dtype(config.dtype)
    return UMT(
        vision=UMTViT(
            width=vision.width,
            heads=vision.heads,
            mergers=mergers,
            patch_size=vision.patch_size,
            table_frames=vision.table_frames or vision.frames,
            drop_path=config.model.drop_path,
            dtype=dtype,
        ),
        text=Bert(**words, dropout=config.model.dropout, dtype=dtype),
        embed_dim=config.model.embed_dim,
        keep_temporal=vision.keep_temporal,
        dtype=dtype,
    )


def _example(config: ConfigDict) -> tuple[jax.Array, ...]:
    """A batch of one, of the shapes that the parameters are initialised for."""
    vision = config.model.vision
    pixels = (1, vision.frames, vision.image_size, vision.image_size, 3)
    words = (1, min(config.data.max_text_length, config.model.text.max_positions))
    return jnp.zeros(pixels), jnp.zeros(words, jnp.int32), jnp.ones(words, bool)


def _check(config: ConfigDict) -> None:
    """Sizes are positive; each row: two keys, their relation, and whether it holds."""
    for part in ("vision", "text"):
        for key, size in config.model[part].items():
            if key not in ("keep_temporal", "table_frames") and size < 1:
                raise UserError(f"config.model.{part}.{key}={size} must be at least 1")
    vision, words, length = config.model.vision, config.model.text, config.data.max_text_length
    rows = (
        ("model.vision.image_size", "a multiple of", "model.vision.patch_size",
         vision.image_size % vision.patch_size == 0),
        ("model.vision.width", "a multiple of", "model.vision.heads",
         vision.width % vision.heads == 0),
        ("model.text.width", "a multiple of", "model.text.heads", words.width % words.heads == 0),
        ("model.text.fusion_layer", "less than", "model.text.depth",
         words.fusion_layer < words.depth),
        ("data.max_text_length", "at most", "model.text.max_positions",
         length <= words.max_positions),
    )  # fmt: skip
    for key, relation, other, holds in rows:
        if not holds:
            value, limit = (attrgetter(name)(config) for name in (key, other))
            raise UserError(f"config.{key}={value} must be {relation} config.{other}={limit}")
