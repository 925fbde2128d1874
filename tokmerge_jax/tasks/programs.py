"""The functions of a system that can be exported: each reads arrays with one leading axis."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from tokmerge_jax.config import expect
from tokmerge_jax.config.common import QuestionData, TextData
from tokmerge_jax.system import Answering, System
from tokmerge_jax.types import Params, UserError

Function = Callable[..., Mapping[str, jax.Array]]
"""(params, named arrays of B rows) -> named arrays of B rows."""


class Program(NamedTuple):
    """A function and what it reads.

    Attributes:
      function: the function; it treats rows independently.
      inputs: for each of its arrays, the shape and dtype of one row.
    """

    function: Function
    inputs: Mapping[str, jax.ShapeDtypeStruct]

    def by_row(self, params: Params, **arrays: jax.Array) -> Mapping[str, jax.Array]:
        """Calls the function for each row, so that no shape in it depends on their number."""

        def of_row(row: Mapping[str, jax.Array]) -> PyTree:
            result = self.function(params, **{name: x[None] for name, x in row.items()})
            return jax.tree.map(lambda x: x[0], result)

        return jax.vmap(of_row)(arrays)


def programs(system: System) -> dict[str, Program]:
    """The programs of a system, by name.

    Retrieval has "encode_video" and "encode_text", and with a matching head "match", which scores
    pairs of both; action recognition has "classify"; question answering has "encode_video",
    "score_answer" and, if the system generates answers, "write_answer"; captioning adds "caption"
    to those of retrieval.

    Raises:
      UserError: if the system has none of these, or a vocabulary that it needs is missing.
    """
    named = {**_retrieval(system), **_answering(system), **_clips(system)}
    if not named:
        raise UserError(
            f"the system {system.name!r} has no encoder that can be exported; give it a record of"
            " retrieval, answering, recognition or captioning"
        )
    return named


def _clips(system: System) -> dict[str, Program]:
    """The programs that read nothing but videos."""
    named, video = {}, {"video": _video(system)}
    if recognition := system.recognition:
        named["classify"] = Program(
            lambda params, video: {"logits": recognition.classify(params, video)}, video
        )
    if captioning := system.captioning:
        named["caption"] = Program(captioning.caption, video)
    return named


def _retrieval(system: System) -> dict[str, Program]:
    retrieval = system.retrieval
    if not retrieval:
        return {}
    texts = _texts(expect(system.config.data, TextData).max_text_length)
    named = {
        "encode_video": Program(retrieval.encode_video, {"video": _video(system)}),
        "encode_text": Program(retrieval.encode_text, texts),
    }
    if matching := retrieval.matching:

        def match(
            params: Params, tokens: jax.Array, states: jax.Array, text_mask: jax.Array
        ) -> dict[str, jax.Array]:
            memory = matching.video_memory(params, tokens)
            scores = matching.match(params, memory, states[:, None], text_mask[:, None])
            return {"score": scores[:, 0]}

        tokens, states = (
            _result(system, named[name])[part]
            for name, part in (("encode_video", "tokens"), ("encode_text", "states"))
        )
        pair = {"tokens": tokens, "states": states, "text_mask": texts["text_mask"]}
        named["match"] = Program(match, pair)
    return named


def _answering(system: System) -> dict[str, Program]:
    answering = system.answering
    if not answering:
        return {}
    data = expect(system.config.data, QuestionData)
    encode = Program(answering.encode_video, {"video": _video(system)})
    question = {"tokens": _result(system, encode)["tokens"], **_texts(data.max_text_length)}
    answer = jax.ShapeDtypeStruct((data.max_answer_length,), np.int32)
    named = {
        "encode_video": encode,
        "score_answer": Program(_scorer(answering), {**question, "answer_ids": answer}),
    }
    if writing := answering.writing:

        def write(
            params: Params, tokens: jax.Array, text_ids: jax.Array, text_mask: jax.Array
        ) -> Mapping[str, jax.Array]:
            memory = answering.video_memory(params, tokens)
            asked = answering.read(params, memory, text_ids[:, None], text_mask[:, None])
            return writing.write(params, asked)

        named["write_answer"] = Program(write, question)
    return named


def _scorer(answering: Answering) -> Function:
    """Makes the function that computes log p of an answer to a question about a video."""

    def score(
        params: Params,
        tokens: jax.Array,
        text_ids: jax.Array,
        text_mask: jax.Array,
        answer_ids: jax.Array,
    ) -> dict[str, jax.Array]:
        memory, mask = answering.video_memory(params, tokens), text_mask[:, None]
        asked = answering.read(params, memory, text_ids[:, None], mask)
        prefixes, pieces = answer_ids[:, :-1], answer_ids[:, 1:]
        places = jnp.broadcast_to(jnp.arange(prefixes.shape[1]), prefixes.shape)
        visible = places[:, :, None] >= places[:, None]
        steps = answering.next_piece(
            params,
            asked,
            mask,
            ids=prefixes,
            visible=visible,
            positions=places,
            places=places,
            pieces=pieces,
        )
        return {"log_likelihood": jnp.where(pieces != 0, steps, 0).sum(axis=1)}

    return score


def _video(system: System) -> jax.ShapeDtypeStruct:
    """A video's frames; of action recognition, those of one view, with their neighbours."""
    size = system.pixels.image_size
    frames = system.pixels.frames * system.config.data.neighbours
    return jax.ShapeDtypeStruct((frames, size, size, 3), np.uint8)


def _texts(length: int) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        "text_ids": jax.ShapeDtypeStruct((length,), np.int32),
        "text_mask": jax.ShapeDtypeStruct((length,), np.bool_),
    }


def _result(system: System, program: Program) -> Mapping[str, jax.ShapeDtypeStruct]:
    """The shapes of one row of a program's results."""
    one = {name: jax.ShapeDtypeStruct((1, *x.shape), x.dtype) for name, x in program.inputs.items()}
    result = jax.eval_shape(program.by_row, system.weights.shapes, **one)
    return {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in result.items()}
