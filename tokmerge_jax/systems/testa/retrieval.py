"""TESTA: paragraph-video retrieval whose blocks merge frames, then patches.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md`.
"""

from functools import partial

import jax
import jax.numpy as jnp

from tokmerge_jax.checkpoints.tables.testa import rules
from tokmerge_jax.config.testa import Retrieval
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.testa import TESTA
from tokmerge_jax.system import System, Training, Weights
from tokmerge_jax.systems import matching
from tokmerge_jax.systems.towers.timesformer import TimeSformerTower
from tokmerge_jax.training import optimizer
from tokmerge_jax.training.objectives import bound, testa
from tokmerge_jax.types import Params


def build(config: Retrieval) -> System:
    """Builds the system of a retrieval configuration (`config.testa`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    train, tower = config.train, TimeSformerTower(config)
    network, tokenize = network_of(tower, config), tokenizer(config)

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenize.length), jnp.int32)
        return network.init(key, tower.example, ids, ids == 0)["params"]

    return System(
        name="testa",
        config=config,
        network=network,
        weights=Weights(
            init,
            rules(tower.sizes, config.model.text.depth),
            optional=("decoder/",),  # a pretrained checkpoint has one
        ),
        pixels=tower.pixels,
        merging=tower.merging,
        training=Training(
            partial(
                testa.retrieval,
                bound(network),
                targets=testa.MomentumTargets(train.alpha, train.alpha_epochs),
                parts=train.parts,
                normalise=tower.normalise,
            ),
            partial(matching.collate, tokenize),
            partial(optimizer.adamw, weight_decay=train.weight_decay, mask=None),
            init_loss_state=partial(
                testa.begin, embed_dim=config.model.embed_dim, queue=train.queue
            ),
        ),
        retrieval=matching.retrieval(tower, network, tokenize),
        trace_video=tower.trace,
    )


def tokenizer(config: Retrieval) -> tokenizers.Tokenizer:
    """Makes the tokenizer of captions and paragraphs."""
    return tokenizers.Tokenizer(
        tokenizers.testa_caption(config.data.max_words),
        config.data.vocabulary,
        config.data.max_text_length,
        config.model.text.vocab_size,
    )


def network_of(tower: TimeSformerTower, config: Retrieval) -> TESTA:
    """Makes the network that `config.model` describes."""
    return TESTA(
        vision=tower.network,
        text=Bert(
            **vars(config.model.text),
            fusion_layer=0,
            token_types=0,
            dropout=config.model.dropout,
            remat=config.train.remat,
            dtype=tower.dtype,
        ),
        embed_dim=config.model.embed_dim,
        dtype=tower.dtype,
    )
