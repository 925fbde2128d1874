"""Tasks and training of networks that embed videos and texts separately, as CLIP does."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jax.typing import ArrayLike

from tokmerge_jax.config import clip
from tokmerge_jax.data.datasets.galleries import Row
from tokmerge_jax.layers.functional import unit
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.signatures import Features, LearningRate, Memory, Tokenize
from tokmerge_jax.system import MultipleChoice, Retrieval, Training, ZeroShot
from tokmerge_jax.systems import matching
from tokmerge_jax.systems.towers import Tower
from tokmerge_jax.systems.validation import text_checked, video_checked
from tokmerge_jax.training import optimizer
from tokmerge_jax.training.objectives import clip as objective
from tokmerge_jax.types import Params


@runtime_checkable
class Network(matching.Network, Protocol):
    """A Flax module that embeds videos and texts; not bound, so it has no parameters."""

    def encode_video(self, video: jax.Array) -> jax.Array:
        """Encodes frames to embeddings [B,F,E], of any norm."""
        ...

    def encode_text(self, ids: jax.Array) -> jax.Array:
        """Encodes texts to embeddings [B,E], of any norm."""
        ...


def training(
    tower: Tower,
    train: clip.Training,
    bind: Callable[[Params, jax.Array], objective.Encoder],
    tokenize: Tokenize,
    added: Sequence[str],
) -> Training:
    """The record of contrastive training by AdamW.

    Args:
      tower: the video side of the network.
      train: the configuration's part.
      bind: `(params, key) ->` the bound network (`objectives.bound`).
      tokenize: captions -> ids.
      added: regexes of the parameters that are trained at the configured rate; the others are
        trained at a share of it, `train.backbone_rate`, or not at all.
    """

    def collate(rows: Sequence[Row]) -> dict[str, np.ndarray]:
        text_ids, text_mask = tokenize([row.caption for row in rows])
        return {"text_ids": text_ids, "text_mask": text_mask}

    loss = partial(objective.retrieval, bind, parts=train.parts, normalise=tower.normalise)
    trainable = () if train.backbone_rate else tuple(added)
    return Training(loss, collate, _optimizer(train, added), trainable=trainable)


def retrieval(
    tower: Tower,
    network: Network,
    tokenize: Tokenize,
    embed: Callable[[jax.Array], jax.Array],
) -> Retrieval:
    """The record of the network without LoRA, which is added to the parameters first.

    Args:
      tower: the video side of the network.
      network: the network.
      tokenize: captions -> ids.
      embed: embeddings of clips [B,F,E] -> those of videos [B,E].
    """
    config = tower.config

    def encode_video(params: Params, video: ArrayLike) -> Features:
        folded, pixels = merge_lora(params), tower.normalise(video)
        frames = matching.run(network, network.encode_video, folded, pixels)
        return {"embedding": embed(frames)[:, None]}

    def encode_text(params: Params, text_ids: ArrayLike, text_mask: ArrayLike) -> Features:
        del text_mask  # the id of the end token marks the end
        embedding = matching.run(network, network.encode_text, merge_lora(params), text_ids)
        return {"embedding": unit(embedding)}

    return Retrieval(
        tokenize, video_checked(encode_video, config), text_checked(encode_text, config)
    )


def multiple_choice(
    retrieval: Retrieval, temperature: Callable[[Params], jax.Array]
) -> MultipleChoice:
    """The record of multiple choice by the cosines of retrieval, softmax over a video's options.

    Args:
      retrieval: the record of retrieval.
      temperature: parameters -> the number that divides cosines.
    """

    def choose(
        params: Params,
        memory: Memory,
        video: ArrayLike,
        text: ArrayLike,
        states: ArrayLike | None,
        text_mask: ArrayLike,
    ) -> Features:
        del memory, states, text_mask
        return {"contrast": matching.contrast(video, text, temperature(params))}

    return MultipleChoice(retrieval.tokenize, retrieval.encode_video, retrieval.encode_text, choose)


def zero_shot(
    tower: Tower, network: Network, tokenize: Tokenize, templates: Sequence[str]
) -> ZeroShot:
    """The record of actions by prompts as CLIP does: unit vectors of mean frames and mean prompts.

    Args:
      tower: the video side of the network.
      network: the network.
      tokenize: prompts -> ids.
      templates: sentences about an action, whose name replaces {}.
    """
    of_frames = retrieval(tower, network, tokenize, lambda frames: unit(frames.mean(axis=1)))
    return ZeroShot(of_frames, templates, unit_actions=True)


def _optimizer(
    train: clip.Training, added: Sequence[str]
) -> Callable[[LearningRate], optax.GradientTransformation]:
    """AdamW; parameters that are not `added`, if they are trained, have their own learning rate."""

    def rate_share(name: str) -> float:
        return 1.0 if any(re.search(pattern, name) for pattern in added) else train.backbone_rate

    def make(rate: LearningRate) -> optax.GradientTransformation:
        return optimizer.clipped_adamw(
            rate,
            train.weight_decay,
            clip_norm=train.clip_norm,
            gradient_scale=train.gradient_scale,
            rate_share=rate_share,
        )

    return make
