"""TESTA: paragraph-video retrieval whose blocks merge frames, then patches.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tokmerge_jax import runtime
from tokmerge_jax.config.testa import Retrieval
from tokmerge_jax.convert.tables.testa import rules
from tokmerge_jax.data import text
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.testa import TESTA
from tokmerge_jax.systems import (
    pixels,
    reranked,
    testa_training,
    timesformer_vision,
)
from tokmerge_jax.systems.inputs import checked
from tokmerge_jax.types import Params, System


def build(config: Retrieval) -> System:
    """The system of a retrieval configuration (`config.testa`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    words, train = config.model.text, config.train
    timesformer_vision.check(config)
    module = _module(config)
    tokenize = text.Tokenizer(
        text.testa_caption(config.data.max_words),
        config.data.vocabulary,
        config.data.max_text_length,
        words.vocab_size,
    )

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenize.length), jnp.int32)
        return module.init(key, pixels.example(config), ids, ids == 0)["params"]

    def collate(rows: Sequence[Any]) -> dict[str, np.ndarray]:
        text_ids, text_mask = tokenize([row.caption for row in rows])
        match_id = np.array([row.match_id for row in rows], np.int32)
        return {"text_ids": text_ids, "text_mask": text_mask, "match_id": match_id}

    functions = reranked.functions(module, timesformer_vision.pixels)
    return System(
        name="testa",
        config=config,
        module=module,
        abstract_params=jax.eval_shape(init, jax.random.key(0)),
        init=init,
        predict=checked(config, {**functions, **timesformer_vision.tracer(module)}),
        loss=testa_training.retrieval_loss(module, train.alpha, train.alpha_epochs, train.parts),
        name_rules=rules(timesformer_vision.sizes(config), words.depth),
        tokenize=tokenize,
        collate=collate,
        training_only=("decoder/",),  # that of pretraining
        memory=testa_training.memory(config),
        **timesformer_vision.fields(config),
    )


def _module(config: Retrieval) -> TESTA:
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
