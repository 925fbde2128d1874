"""TESTA: paragraph-video retrieval whose blocks merge frames, then patches.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tokmerge_jax import runtime
from tokmerge_jax.checkpoints.tables.testa import rules
from tokmerge_jax.config.testa import Retrieval
from tokmerge_jax.data.datasets.galleries import Row
from tokmerge_jax.data.pixels import normalise
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.testa import TESTA
from tokmerge_jax.system import System, Training, Weights
from tokmerge_jax.systems import reranked, testa_training, timesformer_vision
from tokmerge_jax.types import Params


def build(config: Retrieval) -> System:
    """The system of a retrieval configuration (`config.testa`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    words, train = config.model.text, config.train
    timesformer_vision.check(config)
    network, tokenize = network_of(config), tokenizer(config)

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenize.length), jnp.int32)
        return network.init(key, normalise.example(config), ids, ids == 0)["params"]

    def collate(rows: Sequence[Row]) -> dict[str, np.ndarray]:
        text_ids, text_mask = tokenize([row.caption for row in rows])
        match_id = np.array([row.match_id for row in rows], np.int32)
        return {"text_ids": text_ids, "text_mask": text_mask, "match_id": match_id}

    names = rules(timesformer_vision.sizes(config), words.depth)
    return System(
        name="testa",
        config=config,
        network=network,
        weights=Weights(
            jax.eval_shape(init, jax.random.key(0)),
            init,
            names,
            optional=("decoder/",),  # that of pretraining
        ),
        pixels=timesformer_vision.pixels_of(config),
        merging=timesformer_vision.merging_of(config),
        training=Training(
            testa_training.retrieval_loss(network, train.alpha, train.alpha_epochs, train.parts),
            collate,
            timesformer_vision.optimizer_of(config),
            init_loss_state=testa_training.init_memory(config),
        ),
        retrieval=reranked.retrieval(config, network, timesformer_vision.pixels, tokenize),
        trace_video=timesformer_vision.tracer(config, network),
    )


def tokenizer(config: Retrieval) -> tokenizers.Tokenizer:
    """How captions and paragraphs become ids."""
    return tokenizers.Tokenizer(
        tokenizers.testa_caption(config.data.max_words),
        config.data.vocabulary,
        config.data.max_text_length,
        config.model.text.vocab_size,
    )


def network_of(config: Retrieval) -> TESTA:
    """The network that `config.model` describes."""
    dtype = runtime.compute_dtype(config.dtype)
    return TESTA(
        vision=timesformer_vision.transformer(config),
        text=Bert(
            **vars(config.model.text),
            fusion_layer=0,
            token_types=0,
            dropout=config.model.dropout,
            remat=config.train.remat,
            dtype=dtype,
        ),
        embed_dim=config.model.embed_dim,
        dtype=dtype,
    )
