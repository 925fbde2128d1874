"""vid-TLDR: video-text retrieval with UMT, whose first blocks merge background tokens.

Source: vid-TLDR (CVPR 2024) on Unmasked Teacher (ICCV 2023); `docs/vid_tldr.md`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tokmerge_jax.checkpoints.tables.vid_tldr import rules, starts
from tokmerge_jax.config import expect
from tokmerge_jax.config.umt import Retrieval
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.umt import UMT
from tokmerge_jax.signatures import Choose, Features, Memory
from tokmerge_jax.system import MultipleChoice, System, Training, Weights
from tokmerge_jax.systems import matching
from tokmerge_jax.systems.towers.umt import UMTTower
from tokmerge_jax.systems.vid_tldr import training
from tokmerge_jax.training.objectives import bound, umt
from tokmerge_jax.types import Params, UserError


def build(config: Retrieval) -> System:
    """Builds the system of a retrieval configuration (`config.umt`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    text, tower = config.model.text, UMTTower(config)
    network = _network(tower, config)
    if config.model.vision.keep_temporal and any(network.vision.mergers):
        raise UserError(
            "config.model.vision.keep_temporal pools the tokens of each frame, which merging mixes;"
            " switch one of them off (config.model.merger.name=none)"
        )
    tokenize = tokenizers.Tokenizer(
        tokenizers.UMT, config.data.vocabulary, config.data.max_text_length, text.vocab_size
    )

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, min(config.data.max_text_length, text.max_positions)), jnp.int32)
        return network.init(key, tower.example, ids, ids == 0)["params"]

    names = rules(config.model.vision.depth, text.depth, text.fusion_layer, _predicts_words(config))
    retrieval = matching.retrieval(tower, network, tokenize)
    return System(
        name="vid_tldr",
        config=config,
        network=network,
        weights=Weights(init, (names, *starts(names)), optional=("text/word_head/",)),
        pixels=tower.pixels,
        merging=tower.merging,
        training=_training(tower, network, tokenize),
        retrieval=retrieval,
        multiple_choice=MultipleChoice(
            tokenize,
            retrieval.encode_video,
            retrieval.encode_text,
            _choice(network),
            matching.matching(network).video_memory,
        ),
        trace_video=tower.trace,
    )


def _training(tower: UMTTower, network: UMT, tokenize: tokenizers.Tokenizer) -> Training:
    train = expect(tower.config, Retrieval).train
    loss = partial(
        umt.retrieval,
        bound(network),
        weights=train.losses.to_dict(),
        mask_id=partial(tokenize.id_of, "[MASK]"),
        normalise=tower.normalise,
    )
    return training.record(train, loss, partial(matching.collate, tokenize))


def _choice(network: UMT) -> Choose:
    def choose(
        params: Params,
        memory: Memory,
        video: ArrayLike,
        text: ArrayLike,
        states: ArrayLike | None,
        text_mask: ArrayLike,
    ) -> Features:
        assert states is not None
        logits = matching.match_logits(network, params, memory, states, text_mask)
        return {
            "match": jax.nn.softmax(logits)[..., 1],
            "contrast": matching.contrast(video, text, params["temperature"]),
        }

    return choose


def _network(tower: UMTTower, config: Retrieval) -> UMT:
    return UMT(
        vision=tower.network,
        text=Bert(
            **vars(config.model.text),
            predicts_words=_predicts_words(config),
            dropout=config.model.dropout,
            remat=config.train.remat,
            dtype=tower.dtype,
        ),
        embed_dim=config.model.embed_dim,
        keep_temporal=config.model.vision.keep_temporal,
        dtype=tower.dtype,
    )


def _predicts_words(config: Retrieval) -> bool:
    return config.train.losses.mlm > 0
