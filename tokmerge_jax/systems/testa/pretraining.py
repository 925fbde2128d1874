"""TESTA's pretraining on videos and pictures with captions: contrast, matching, and captioning.

After pretraining, the captioning decoder writes captions of any video.

Source: BLIP (ICML 2022), section 3.2, as TESTA (Findings of EMNLP 2023) trains with it.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree

from tokmerge_jax.checkpoints.tables.testa import pretraining_rules
from tokmerge_jax.config import testa
from tokmerge_jax.data.pixels.pretraining import PretrainingAugment
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.evaluation import decoding
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.testa import TESTA
from tokmerge_jax.signatures import Caption, Features
from tokmerge_jax.system import Captioning, System, Weights
from tokmerge_jax.systems import matching, question_answering
from tokmerge_jax.systems.testa import retrieval
from tokmerge_jax.systems.towers.timesformer import TimeSformerTower
from tokmerge_jax.systems.validation import video_checked
from tokmerge_jax.training import optimizer
from tokmerge_jax.training.loop import training_of
from tokmerge_jax.training.objectives import bound
from tokmerge_jax.training.objectives import testa as objective
from tokmerge_jax.types import Params

_DECODER = "decoder"
_OWN = ("attention", "attention_norm")  # parts of a decoder's layer that the encoder does not share


def build(config: testa.Pretraining) -> System:
    """Builds the system of `configs/testa_pretrain.py`, of any size.

    This is TESTA for retrieval (`testa.retrieval`) with a decoder that writes captions.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    vision, train, text = config.model.vision, config.train, config.model.text
    tower, tokenize = TimeSformerTower(config), retrieval.tokenizer(config)
    base, network = retrieval.build(config), retrieval.network_of(tower, config)
    decoder = network.text.clone(predicts_words=True)
    bind = bound(decoder)

    def bind_decoder(params: Params, key: jax.Array) -> Bert:
        return bind(decoder_params(params), key)

    def init(key: jax.Array) -> Params:
        keys = jax.random.split(key)
        return {**base.weights.init(keys[0]), _DECODER: _own(decoder, vision.width, keys[1])}

    return dataclasses.replace(
        base,
        name="testa_pretrain",
        weights=Weights(
            init,
            pretraining_rules(tower.sizes, text.depth),
        ),
        pixels=dataclasses.replace(
            base.pixels, augment=PretrainingAugment(vision.image_size, train.decode_size)
        ),
        training=dataclasses.replace(
            training_of(base),
            loss=partial(
                objective.pretraining,
                bound(network),
                bind_decoder=bind_decoder,
                start=_start(decoder),
                targets=objective.MomentumTargets(train.alpha, train.alpha_epochs),
                parts=train.parts,
                normalise=tower.normalise,
            ),
            optimizer=partial(optimizer.adamw, weight_decay=train.weight_decay, mask=decayed),
        ),
        captioning=Captioning(
            tokenize,
            video_checked(captioner(config.caption, tower, network, decoder, tokenize), config),
            partial(tokenizers.spell, config.data.vocabulary),
        ),
    )


def captioner(
    options: testa.Caption,
    tower: TimeSformerTower,
    network: TESTA,
    decoder: Bert,
    tokenize: tokenizers.Tokenizer,
) -> Caption:
    """Makes the function that captions videos.

    A caption starts at [DEC] and ends at [SEP], as in training; the decoder reads the video's
    tokens in every layer. Source: BLIP (ICML 2022), section 4.

    Args:
      options: the configuration's `caption`.
      tower: the video side of the network.
      network: the network that encodes videos.
      decoder: its text encoder with a head that predicts words.
      tokenize: the tokenizer of captions, which knows the id of [SEP].
    """

    def start_and_options() -> tuple[int, decoding.Options]:
        end = tokenize.id_of(tokenize.rule.end)
        return _start(decoder), decoding.Options(end=end, pad=0, **vars(options))

    write = question_answering.text_writer(decoder, decoder_params, start_and_options)

    def caption(params: Params, video: ArrayLike, keys: jax.Array | None = None) -> Features:
        pixels = tower.normalise(video)
        tokens, _ = matching.run(network, network.encode_video, params, pixels)
        return write(params, matching.run(network, network.memory, params, tokens), keys)

    return caption


def decoder_params(params: Params) -> Params:
    """The decoder's parameters: its own parts, and the text encoder's for all others."""
    shared, own = params["text"], params[_DECODER]
    return {**shared, **{name: {**shared.get(name, {}), **part} for name, part in own.items()}}


def decayed(params: Params) -> PyTree:
    """A mask of weight decay: True except for biases and for the norms of BERT."""

    def marked(path: tuple[PyTree, ...], _: PyTree) -> bool:
        of_text = path[0].key in ("text", _DECODER)
        return path[-1].key != "bias" and not (of_text and path[-1].key == "scale")

    return jax.tree_util.tree_map_with_path(marked, params)


def _start(decoder: Bert) -> int:
    """The id of [DEC], with which every text of the decoder begins."""
    return decoder.vocab_size - 2


def _own(decoder: Bert, context: int, key: jax.Array) -> Params:
    """Random values of the decoder's parameters that the encoder does not share."""

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
