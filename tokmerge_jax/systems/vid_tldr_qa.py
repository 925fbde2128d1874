"""vid-TLDR for video question answering: UMT, with a decoder that tells how likely answers are.

Source: vid-TLDR (CVPR 2024) on Unmasked Teacher (ICCV 2023); `docs/vid_tldr.md`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from tokmerge_jax import runtime
from tokmerge_jax.convert.tables.vid_tldr_qa import rules
from tokmerge_jax.data import text
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.models.umt_qa import UMTQA, log_probability
from tokmerge_jax.systems import pixels, umt_vision
from tokmerge_jax.types import Batch, Loss, Params, Predict, System


def build(config: ConfigDict) -> System:
    """The system of a question-answering configuration (`configs/base/vid_tldr_qa.py`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    vision, words = config.model.vision, config.model.text
    same_width = ("model.vision.width", "equal to", "model.text.width", vision.width == words.width)
    umt_vision.check(config, same_width)  # one table of weights starts both kinds of layers
    module = _module(config)
    vocabulary, size = config.data.vocabulary, words.vocab_size
    tokenize = text.Tokenizer(text.UMT, vocabulary, config.data.max_text_length, size)
    answers = text.Tokenizer(text.UMT_ANSWER, vocabulary, config.data.max_answer_length, size)

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenize.length), jnp.int32)
        answer = jnp.zeros((1, answers.length), jnp.int32)
        return module.init(key, pixels.example(config), ids, ids == 0, answer)["params"]

    def collate(rows: Sequence[Any]) -> dict[str, np.ndarray]:
        weights = np.array([row.weights for row in rows], np.float32)  # [B,P,J]
        text_ids, text_mask = tokenize([text for row in rows for text in row.questions])
        answer_ids, _ = answers([a for row in rows for found in row.answers for a in found])
        return {
            "text_ids": text_ids.reshape((*weights.shape[:2], -1)),
            "text_mask": text_mask.reshape((*weights.shape[:2], -1)),
            "answer_ids": answer_ids.reshape((*weights.shape, -1)),
            "answer_weights": weights,
        }

    return System(
        name="vid_tldr_qa",
        config=config,
        module=module,
        abstract_params=jax.eval_shape(init, jax.random.key(0)),
        init=init,
        predict=_predict(module),
        loss=answer_loss(module),
        name_rules=rules(vision.depth, words.depth, words.fusion_layer),
        tokenize=tokenize,
        tokenize_answers=answers,
        collate=collate,
        **umt_vision.fields(config),
    )


def answer_loss(module: UMTQA) -> Loss:
    """The weighted negative log-likelihood of each question's answers, the questions' mean.

    Args:
      module: the network.

    Returns:
      `(params, batch, key, train) -> (loss, {})`; the batch holds `video`, `text_ids` and
      `text_mask` [B,P,L] of P questions about each video, `answer_ids` int32 [B,P,J,L] and
      `answer_weights` [B,P,J], 0 where there are fewer answers or questions.
    """

    def flat(x: jax.Array) -> jax.Array:
        return x.reshape(-1, x.shape[-1])

    def forward(model: UMTQA, batch: Mapping[str, jax.Array], train: bool) -> jax.Array:
        tokens = model.encode_video(umt_vision.pixels(batch["video"]), train=train)
        ids, mask = (flat(batch[name]) for name in ("text_ids", "text_mask"))
        states = model.read(model.memory(tokens), ids, mask, train=train)
        memory, weights = model.answer_memory(states), batch["answer_weights"]
        logs = model.log_likelihood(memory, mask, flat(batch["answer_ids"]), train=train)
        asked = (weights.sum(axis=-1) > 0).sum()
        return -(weights * logs.reshape(weights.shape)).sum() / asked

    def loss(
        params: Params, batch: Batch, key: jax.Array, *, train: bool = True
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        run = nn.apply(forward, module)
        return run(
            {"params": params}, jax.tree.map(jnp.asarray, batch), train, rngs={"dropout": key}
        ), {}

    return loss


def _predict(module: UMTQA) -> dict[str, Predict]:
    def run(method: str, params: Params, *arrays: Any) -> Any:
        return module.apply({"params": params}, *jax.tree.map(jnp.asarray, arrays), method=method)

    def encode_video(params: Params, video: ArrayLike) -> dict[str, jax.Array]:
        return {"tokens": run("encode_video", params, umt_vision.pixels(video))}

    def video_memory(params: Params, tokens: ArrayLike) -> Any:
        return run("memory", params, tokens)

    def read(params: Params, memory: Any, text_ids: ArrayLike, text_mask: ArrayLike) -> Any:
        length = np.shape(text_ids)[-1]
        flat = jnp.reshape(text_ids, (-1, length)), jnp.reshape(text_mask, (-1, length))
        return run("answer_memory", params, run("read", params, memory, *flat))

    def next_piece(
        params: Params,
        memory: Any,
        text_mask: ArrayLike,
        ids: ArrayLike,
        visible: ArrayLike,
        positions: ArrayLike,
        places: ArrayLike,
        pieces: ArrayLike,
    ) -> jax.Array:
        mask = jnp.reshape(text_mask, (-1, np.shape(text_mask)[-1]))
        logits = run("next_words", params, memory, mask, ids, visible, positions)
        return log_probability(logits, jnp.asarray(places), jnp.asarray(pieces))

    functions = (encode_video, video_memory, read, next_piece)
    predict = {function.__name__: function for function in functions}
    return {**predict, "trace_video": umt_vision.tracer(module)}


def _module(config: ConfigDict) -> UMTQA:
    words, dtype = config.model.text, runtime.compute_dtype(config.dtype)
    settings = {"dropout": config.model.dropout, "remat": config.train.remat, "dtype": dtype}
    answering = {"depth": words.depth - words.fusion_layer, "fusion_layer": 0}
    return UMTQA(
        vision=umt_vision.transformer(config),
        text=Bert(**words, **settings),
        decoder=Bert(**{**words, **answering}, predicts_words=True, **settings),
        dtype=dtype,
    )
