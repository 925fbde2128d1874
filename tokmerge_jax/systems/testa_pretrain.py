"""TESTA's pretraining on videos and pictures with captions: contrast, matching, and captioning.

The decoder that learns to caption writes captions, too.

Source: BLIP (ICML 2022), section 3.2, as TESTA (Findings of EMNLP 2023) trains with it.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tokmerge_jax.checkpoints.tables.testa import pretraining_rules
from tokmerge_jax.config.testa import Pretraining
from tokmerge_jax.data.pixels.pretraining import PretrainingAugment
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.evaluation import decoding
from tokmerge_jax.layers.attention import KeysValues
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.testa import TESTA
from tokmerge_jax.signatures import Caption, Features, StatefulLoss
from tokmerge_jax.system import Captioning, System, Weights
from tokmerge_jax.systems import (
    answered,
    reranked,
    testa,
    testa_training,
    timesformer_vision,
)
from tokmerge_jax.systems.inputs import video_checked
from tokmerge_jax.training import losses, momentum, optimizer
from tokmerge_jax.training.loop import training_of
from tokmerge_jax.training.momentum import Memory
from tokmerge_jax.types import Batch, NegativeSampler, Params

_DECODER = "decoder"
_OWN = ("attention", "attention_norm")  # of a decoder's layer; all else is the encoder's
_FLOOR = 1e-4  # the least weight of a negative


def build(config: Pretraining) -> System:
    """The system of `configs/testa_pretrain.py`, any size.

    It is TESTA for retrieval (`systems.testa`) with a decoder, which writes captions (`caption`).

    Raises:
      UserError: naming the key whose value cannot work.
    """
    vision, train, words = config.model.vision, config.train, config.model.text
    base, network, tokenize = testa.build(config), testa.network_of(config), testa.tokenizer(config)
    decoder = network.text.clone(predicts_words=True)

    def init(key: jax.Array) -> Params:
        keys = jax.random.split(key)
        return {**base.weights.init(keys[0]), _DECODER: _own(decoder, vision.width, keys[1])}

    return dataclasses.replace(
        base,
        name="testa_pretrain",
        weights=Weights(
            jax.eval_shape(init, jax.random.key(0)),
            init,
            pretraining_rules(timesformer_vision.sizes(config), words.depth),
        ),
        pixels=dataclasses.replace(
            base.pixels, augment=PretrainingAugment(vision.image_size, train.decode_size)
        ),
        training=dataclasses.replace(
            training_of(base),
            loss=pretraining_loss(network, decoder, train.alpha, train.alpha_epochs, train.parts),
            optimizer=partial(optimizer.adamw, weight_decay=train.weight_decay, mask=decayed),
        ),
        captioning=Captioning(
            tokenize,
            video_checked(captioner(config, network, decoder, tokenize), config),
            partial(tokenizers.spell, config.data.vocabulary),
        ),
    )


def captioner(
    config: Pretraining, network: TESTA, decoder: Bert, tokenize: tokenizers.Tokenizer
) -> Caption:
    """`signatures.Caption`, as `config.caption` describes it.

    A caption starts at [DEC] and ends at [SEP], as in training; the decoder reads the video's
    tokens in every layer. Source: BLIP (ICML 2022), section 4.

    Args:
      config: the system's.
      network: encodes videos.
      decoder: its text encoder with a head that predicts words.
      tokenize: knows the end.
    """
    options = partial(decoding.Options, pad=0, **vars(config.caption))

    def how() -> tuple[int, decoding.Options]:
        return _start(decoder), options(end=tokenize.id_of(tokenize.rule.end))

    write = answered.text_writer(decoder, decoder_params, how)

    def caption(params: Params, video: ArrayLike, key: jax.Array | None = None) -> Features:
        pixels = timesformer_vision.pixels(video)
        tokens, _ = reranked.run(network, network.encode_video, params, pixels)
        return write(params, reranked.run(network, network.memory, params, tokens), key)

    return caption


def pretraining_loss(
    network: TESTA,
    decoder: Bert,
    alpha: float = 0.4,
    alpha_epochs: float = 2.0,
    in_parts: int = 1,
    sampler: NegativeSampler = losses.categorical,
) -> StatefulLoss:
    """The sum of contrast ("ita"), matching ("itm") and captioning ("lm"), over the whole batch.

    A row matches no other, whatever it shows.

    Args:
      network: encodes and matches.
      decoder: its text encoder with a head that predicts words.
      alpha: the share of contrast's targets that slow copies give.
      alpha_epochs: it rises from 0 for so many.
      in_parts: the videos are encoded in so many parts, one after the other, to the same gradient.
      sampler: draws a negative video for each text and a negative text for each video.

    Returns:
      `(params, state, batch, key, epoch, train) -> (loss, its parts, state)`; the batch holds
      `video`, `text_ids` and `text_mask`.
    """
    run = testa_training.Contrast(network, alpha, alpha_epochs, in_parts)

    def read(
        model: TESTA,
        tokens: jax.Array,
        states: jax.Array,
        mask: jax.Array,
        weights: tuple[jax.Array, jax.Array],
        key: jax.Array,
        *,
        train: bool,
    ) -> tuple[jax.Array, tuple[KeysValues, ...]]:
        """The matching loss, and what the videos are to all that reads them."""
        seen = reranked.Seen(tokens, model.memory(tokens), states, mask)
        matching = reranked.matching_loss(model, seen, weights, sampler, key, train=train)
        return matching, seen.memory

    def loss(
        params: Params,
        state: Memory,
        batch: Batch,
        key: jax.Array,
        epoch: jax.Array,
        *,
        train: bool = True,
    ) -> tuple[jax.Array, Mapping[str, jax.Array], Memory]:
        arrays = jax.tree.map(jnp.asarray, batch)
        mask, temperature = arrays["text_mask"], params["temperature"]
        coins, *keys, read_key, tell_key = jax.random.split(key, 5)
        rows = jnp.arange(len(mask))
        unknown = jnp.full_like(rows, momentum.NO_ID)
        pairs, ita, state = run(
            params,
            state,
            arrays,
            match_id=rows,
            kept_id=unknown,
            keys=keys,
            epoch=epoch,
            train=train,
        )
        weights = (
            negative_weights(pairs.text @ pairs.slow_video.T / temperature),
            negative_weights(pairs.video @ pairs.slow_text.T / temperature),
        )
        itm, videos = nn.apply(read, network)(
            {"params": params},
            pairs.tokens,
            pairs.states,
            mask,
            weights,
            coins,
            train=train,
            rngs={"dropout": read_key},
        )
        lm = nn.apply(_captioning, decoder)(
            {"params": decoder_params(params)},
            arrays["text_ids"],
            mask,
            videos,
            train,
            rngs={"dropout": tell_key},
        )
        return ita + itm + lm, {"ita": ita, "itm": itm, "lm": lm}, state

    return loss


def negative_weights(similarity: Float[Array, "B B"]) -> Float[Array, "B B"]:
    """How likely each other row is to be drawn: its softmax among the row's, and 1e-4.

    No gradient flows through them.
    """
    share = jax.nn.softmax(jax.lax.stop_gradient(similarity)) + _FLOOR
    return jnp.where(jnp.eye(len(share), dtype=bool), 0, share)


def decoder_params(params: Params) -> Params:
    """The decoder's parameters: its own, and the text encoder's for all the rest."""
    shared, own = params["text"], params[_DECODER]
    return {**shared, **{name: {**shared.get(name, {}), **part} for name, part in own.items()}}


def decayed(params: Params) -> PyTree:
    """True where weight decay applies: everywhere but on biases and the norms of texts."""

    def marked(path: tuple[PyTree, ...], _: PyTree) -> bool:
        of_text = path[0].key in ("text", _DECODER)
        return path[-1].key != "bias" and not (of_text and path[-1].key == "scale")

    return jax.tree_util.tree_map_with_path(marked, params)


def _captioning(
    decoder: Bert,
    ids: jax.Array,
    mask: jax.Array,
    memory: tuple[KeysValues, ...],
    train: bool,
) -> jax.Array:
    """How well each text is told word by word, from [DEC] on, of its video."""
    ids = ids.at[:, 0].set(_start(decoder))
    visible = jnp.tril(jnp.ones((1, *2 * ids.shape[1:]), bool)) & mask[:, None]
    states = decoder.encode_text(ids, visible, train=train)
    states = decoder.fuse(states, visible, memory, train=train)
    return losses.language_model(decoder.words(states), ids, mask)[0]


def _start(decoder: Bert) -> int:
    """The id of [DEC], which every text of the decoder begins with."""
    return decoder.vocab_size - 2


def _own(decoder: Bert, context: int, key: jax.Array) -> Params:
    """Random parameters of the decoder, those that the encoder does not share."""

    def run(model: Bert, ids: jax.Array, videos: jax.Array) -> jax.Array:
        return model.words(model(ids, ids == 0, videos))

    ids, videos = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, context))
    params = decoder.init(key, ids, videos, method=run)["params"]
    layers = {
        name: {part: layer[part] for part in _OWN}
        for name, layer in params.items()
        if name.startswith("layer_")
    }
    return {**layers, "word_head": params["word_head"]}
