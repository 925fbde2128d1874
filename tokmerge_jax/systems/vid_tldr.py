"""vid-TLDR: UMT video-text retrieval whose first blocks merge background tokens away.

Source: vid-TLDR (CVPR 2024) on Unmasked Teacher (ICCV 2023); `docs/vid_tldr.md`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jax.typing import ArrayLike

from tokmerge_jax import runtime
from tokmerge_jax.checkpoints.tables.vid_tldr import rules
from tokmerge_jax.config.umt import Retrieval
from tokmerge_jax.data.datasets.galleries import Row
from tokmerge_jax.data.pixels import normalise
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.umt import UMT
from tokmerge_jax.signatures import Choose, Features, Loss, Memory
from tokmerge_jax.system import MultipleChoice, System, Training, Weights
from tokmerge_jax.systems import reranked, umt_vision
from tokmerge_jax.training import losses
from tokmerge_jax.types import Batch, NegativeSampler, Params, UserError


def build(config: Retrieval) -> System:
    """The system of a retrieval configuration (`config.umt`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    words = config.model.text
    network = _network(config)
    if config.model.vision.keep_temporal and any(network.vision.mergers):
        raise UserError(
            "config.model.vision.keep_temporal pools the tokens of each frame, which merging mixes;"
            " switch one of them off (config.model.merger.name=none)"
        )
    tokenize = tokenizers.Tokenizer(
        tokenizers.UMT, config.data.vocabulary, config.data.max_text_length, words.vocab_size
    )

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, min(config.data.max_text_length, words.max_positions)), jnp.int32)
        return network.init(key, normalise.example(config), ids, ids == 0)["params"]

    def collate(rows: Sequence[Row]) -> dict[str, np.ndarray]:
        text_ids, text_mask = tokenize([row.caption for row in rows])
        match_id = np.array([row.match_id for row in rows], np.int32)
        return {"text_ids": text_ids, "text_mask": text_mask, "match_id": match_id}

    mask_id = partial(tokenize.id_of, "[MASK]")
    names = rules(
        config.model.vision.depth, words.depth, words.fusion_layer, _predicts_words(config)
    )
    retrieval = reranked.retrieval(config, network, umt_vision.pixels, tokenize)
    return System(
        name="vid_tldr",
        config=config,
        network=network,
        weights=Weights(
            jax.eval_shape(init, jax.random.key(0)), init, (names,), optional=("text/word_head/",)
        ),
        pixels=umt_vision.pixels_of(config),
        merging=umt_vision.merging_of(config),
        training=Training(
            retrieval_loss(network, config.train.losses.to_dict(), mask_id=mask_id),
            collate,
            umt_vision.optimizer_of(config),
        ),
        retrieval=retrieval,
        multiple_choice=MultipleChoice(
            tokenize,
            retrieval.encode_video,
            retrieval.encode_text,
            reranked.matching(network).video_memory,
            _choice(network),
        ),
        trace_video=umt_vision.tracer(config, network),
    )


def retrieval_loss(
    network: UMT,
    weights: Mapping[str, float] = FrozenDict(vtc=1.0, vtm=1.0, mlm=0.0),
    sampler: NegativeSampler = losses.categorical,
    mask_id: Callable[[], int] = lambda: 0,
) -> Loss:
    """The weighted sum of UMT's losses; those of weight 0 are not computed.

    Args:
      network: encodes and matches.
      weights: of "vtc" (contrast), "vtm" (matching, with hard negatives) and "mlm" (words that
        were masked, read with the video).
      sampler: draws a negative video for each text and a negative text for each video.
      mask_id: gives the word that stands for a masked one.

    Returns:
      `(params, batch, key, train) -> (loss, its parts)`; the batch holds `video`, `text_ids`,
      `text_mask` and `match_id` (equal = a true pair).
    """

    def word_prediction(
        model: UMT, ids: jax.Array, seen: reranked.Seen, key: jax.Array, train: bool
    ) -> jax.Array:
        masked, chosen = losses.mask_words(key, ids, seen.mask, mask_id(), model.text.vocab_size)
        states = model.text.encode_text(masked, seen.mask, train=train)
        states = model.text.fuse(states, seen.mask, seen.memory, train=train)
        return losses.word_prediction(model.text.words(states), ids, chosen)

    def forward(
        model: UMT, batch: Mapping[str, jax.Array], key: jax.Array, train: bool
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        ids, mask, match_id = batch["text_ids"], batch["text_mask"], batch["match_id"]
        tokens, video = model.encode_video(umt_vision.pixels(batch["video"]), train=train)
        states, words = model.encode_text(ids, mask, train=train)
        seen = reranked.Seen(tokens, model.memory(tokens), states, mask)
        parts = {}
        parts["vtc"], similarity = losses.contrastive(video, words, match_id, model.temperature)
        negatives, words_key = jax.random.split(key)
        if weights["vtm"]:
            weigh = losses.hard_negative_weights(similarity, match_id)
            parts["vtm"] = reranked.matching_loss(
                model, seen, weigh, sampler, negatives, train=train
            )
        if weights["mlm"]:
            parts["mlm"] = word_prediction(model, ids, seen, words_key, train)
        total = jnp.stack([weights[name] * value for name, value in parts.items()]).sum()
        return total, parts

    def loss(
        params: Params, batch: Batch, key: jax.Array, *, train: bool = True
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        coins, dropout = jax.random.split(key)
        run = nn.apply(forward, network)
        return run(
            {"params": params},
            jax.tree.map(jnp.asarray, batch),
            coins,
            train,
            rngs={"dropout": dropout},
        )

    return loss


def _choice(network: UMT) -> Choose:
    def choose(
        params: Params,
        memory: Memory,
        video: ArrayLike,
        words: ArrayLike,
        states: ArrayLike,
        text_mask: ArrayLike,
    ) -> Features:
        logits = reranked.match_logits(network, params, memory, states, text_mask)
        cosine = jnp.einsum("vfe,vpe->vpf", video, words).mean(axis=-1)
        return {
            "match": jax.nn.softmax(logits)[..., 1],
            "contrast": jax.nn.softmax(cosine / params["temperature"]),
        }

    return choose


def _network(config: Retrieval) -> UMT:
    dtype = runtime.compute_dtype(config.dtype)
    return UMT(
        vision=umt_vision.transformer(config),
        text=Bert(
            **vars(config.model.text),
            predicts_words=_predicts_words(config),
            dropout=config.model.dropout,
            remat=config.train.remat,
            dtype=dtype,
        ),
        embed_dim=config.model.embed_dim,
        keep_temporal=config.model.vision.keep_temporal,
        dtype=dtype,
    )


def _predicts_words(config: Retrieval) -> bool:
    return config.train.losses.mlm > 0
