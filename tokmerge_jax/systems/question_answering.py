"""Question answering by a network that reads questions and scores answers: `models.answerer`."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike

from tokmerge_jax.config.common import QuestionData
from tokmerge_jax.config.evaluation import GeneratingOptions
from tokmerge_jax.data.datasets.galleries import AnswerRow
from tokmerge_jax.data.text.tokenizers import TextRule, Tokenizer, spell
from tokmerge_jax.evaluation import decoding
from tokmerge_jax.evaluation.answering import generation
from tokmerge_jax.layers.attention import KeysValues
from tokmerge_jax.models.answerer import Answerer, log_probability
from tokmerge_jax.models.bert import Bert, Cache
from tokmerge_jax.names import RuleSet
from tokmerge_jax.signatures import Features, Memory, Write
from tokmerge_jax.system import Answering, Weights, Writing
from tokmerge_jax.systems.matching import run
from tokmerge_jax.systems.towers import Tower
from tokmerge_jax.systems.validation import text_checked, video_checked
from tokmerge_jax.types import Params, UserError


@dataclasses.dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of questions and of answers."""

    questions: Tokenizer
    answers: Tokenizer


def tokenizers_of(
    data: QuestionData, vocab_size: int, questions: TextRule, answers: TextRule
) -> Tokenizers:
    """Makes the tokenizers of a configuration.

    Args:
      data: the configuration's `data` part.
      vocab_size: number of rows of the network's word embedding.
      questions: the system's rule for questions.
      answers: the system's rule for answers.

    Raises:
      UserError: if a length has no room for one word piece beside the start token, and beside the
        end token where the rule keeps that in cut texts.
    """

    def tokenizer(rule: TextRule, key: str) -> Tokenizer:
        length, least = getattr(data, key), 2 + rule.end_stays
        if length < least:
            raise UserError(f"config.data.{key}={length} must be at least {least}")
        return Tokenizer(rule, data.vocabulary, length, vocab_size, key)

    return Tokenizers(
        tokenizer(questions, "max_text_length"), tokenizer(answers, "max_answer_length")
    )


def weights(
    tower: Tower, network: Answerer, tokenizers: Tokenizers, names: Sequence[RuleSet]
) -> Weights:
    """Makes the record of a network's parameters.

    Args:
      tower: the video side of the network.
      network: the network.
      tokenizers: the system's tokenizers.
      names: the tables of the parameters' names in checkpoints.
    """

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, tokenizers.questions.length), jnp.int32)
        answer = jnp.zeros((1, tokenizers.answers.length), jnp.int32)
        return network.init(key, tower.example, ids, ids == 0, answer)["params"]

    return Weights(init, names)


def collate(
    tokenizers: Tokenizers, rows: Sequence[AnswerRow], weight: float = 1.0
) -> dict[str, np.ndarray]:
    """Makes the arrays that `objectives.answers` reads beside the videos.

    Args:
      tokenizers: the system's tokenizers.
      rows: training rows, with the same number of questions each, and of answers per question.
      weight: weight of a question, divided among its answers.
    """
    weights = np.array([row.weights for row in rows], np.float32)  # [B,P,J]
    text_ids, text_mask = tokenizers.questions([text for row in rows for text in row.questions])
    answer_ids, _ = tokenizers.answers(
        [answer for row in rows for answers in row.answers for answer in answers]
    )
    videos, _, answers = weights.shape
    return {
        "text_ids": rearrange(text_ids, "(b p) l -> b p l", b=videos),
        "text_mask": rearrange(text_mask, "(b p) l -> b p l", b=videos),
        "answer_ids": rearrange(answer_ids, "(b p j) l -> b p j l", b=videos, j=answers),
        "answer_weights": weight * weights,
    }


def answering(
    tower: Tower, network: Answerer, tokenizers: Tokenizers, writing: Writing | None = None
) -> Answering:
    """Makes the record of a network that answers questions.

    Args:
      tower: the video side of the network.
      network: the network.
      tokenizers: the system's tokenizers.
      writing: the record of the decoder that writes answers; None if it only ranks them.
    """

    def encode_video(params: Params, video: ArrayLike) -> Features:
        return {"tokens": run(network, network.encode_video, params, tower.normalise(video))}

    def video_memory(params: Params, tokens: ArrayLike) -> Memory:
        return run(network, network.memory, params, tokens)

    def read(params: Params, memory: Memory, text_ids: ArrayLike, text_mask: ArrayLike) -> Memory:
        ids, mask = (rearrange(jnp.asarray(x), "b p l -> (b p) l") for x in (text_ids, text_mask))
        states = run(network, network.read, params, memory, ids, mask)
        return run(network, network.answer_memory, params, states)

    def next_piece(
        params: Params,
        memory: Memory,
        text_mask: ArrayLike,
        *,
        ids: ArrayLike,
        visible: ArrayLike,
        positions: ArrayLike,
        places: ArrayLike,
        pieces: ArrayLike,
    ) -> jax.Array:
        mask = rearrange(jnp.asarray(text_mask), "b p l -> (b p) l")
        logits = run(network, network.next_words, params, memory, mask, ids, visible, positions)
        return log_probability(logits, jnp.asarray(places), jnp.asarray(pieces), network.smoothing)

    return Answering(
        tokenizers.questions,
        tokenizers.answers,
        video_checked(encode_video, tower.config),
        video_memory,
        text_checked(read, tower.config, axes="BPL"),
        next_piece,
        vocabulary=network.decoder.vocab_size,
        writing=writing,
    )


def writing(network: Answerer, answers: Tokenizer, options: GeneratingOptions) -> Writing:
    """Makes the record of a decoder that writes answers.

    As in BLIP, the decoder attends to all places of a question, padding included.

    Args:
      network: the network.
      answers: the tokenizer of answers, whose vocabulary spells them.
      options: the options of the evaluation.
    """
    decoder = network.decoder

    def start_and_options() -> tuple[int, decoding.Options]:
        start, end = (answers.id_of(token) for token in (answers.rule.start, answers.rule.end))
        return start, generation(options, end)

    return Writing(
        text_writer(decoder, itemgetter("decoder"), start_and_options),
        partial(spell, answers.vocabulary),
        place_size=2 * decoder.depth * decoder.width,  # a key and a value in each layer
    )


def text_writer(
    decoder: Bert,
    decoder_params: Callable[[Params], Params],
    start_and_options: Callable[[], tuple[int, decoding.Options]],
) -> Write:
    """Makes the function that writes texts with a decoder.

    Args:
      decoder: a BERT that consists of fusion layers and predicts words.
      decoder_params: a system's parameters -> the decoder's.
      start_and_options: returns the id that every text starts with, and the options of decoding;
        called when the function is compiled, as it may read the vocabulary.
    """
    empty_cache = nn.apply(Bert.empty_cache, decoder)
    read_word = nn.apply(_read_word, decoder)

    def write(params: Params, memory: Memory, keys: jax.Array | None = None) -> Features:
        start, options = start_and_options()
        texts = len(jax.tree.leaves(memory)[0])
        variables = {"params": decoder_params(params)}

        def step(cache: Memory, ids: jax.Array, position: jax.Array) -> tuple[jax.Array, Memory]:
            return read_word(variables, cache, ids, position, memory)

        cache = empty_cache({}, texts * options.beams, options.max_length)
        prompt = jnp.full((texts, 1), start, jnp.int32)
        written = decoding.generate(step, cache, prompt, options, keys)
        return {"ids": written.ids, "score": written.score}

    return write


def _read_word(
    decoder: Bert,
    cache: tuple[Cache, ...],
    ids: jax.Array,
    position: jax.Array,
    memory: tuple[KeysValues, ...],
) -> tuple[jax.Array, tuple[Cache, ...]]:
    """Reads the next word of each text; returns logits of the one after it, and the new cache."""
    states, cache = decoder.step(cache, ids, position, memory)
    return decoder.words(states), cache
