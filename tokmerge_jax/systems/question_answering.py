"""Question answering by a network that reads questions: `models.answerer`."""

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

from tokmerge_jax.config import testa, umt
from tokmerge_jax.config.evaluation import GeneratingOptions
from tokmerge_jax.data.datasets.galleries import AnswerRow
from tokmerge_jax.data.text.tokenizers import TextRule, Tokenizer, spell
from tokmerge_jax.evaluation import decoding
from tokmerge_jax.evaluation.answering import generation
from tokmerge_jax.layers.block import KeysValues
from tokmerge_jax.models.answerer import Answerer, log_probability
from tokmerge_jax.models.bert import Bert, Cache
from tokmerge_jax.names import RuleSet
from tokmerge_jax.signatures import Features, Memory, Write
from tokmerge_jax.system import Answering, Weights, Writing
from tokmerge_jax.systems.matching import run
from tokmerge_jax.systems.towers import Tower
from tokmerge_jax.systems.validation import text_checked, video_checked
from tokmerge_jax.types import Params, UserError

Config = umt.QuestionAnswering | testa.QuestionAnswering
"""A configuration of either system."""


@dataclasses.dataclass(frozen=True)
class Words:
    """How a system makes ids of questions and answers."""

    questions: Tokenizer
    answers: Tokenizer


def words(config: Config, questions: TextRule, answers: TextRule) -> Words:
    """The tokenizers of a configuration.

    Raises:
      UserError: if there is no room for a piece beside the start, and the end where it stays.
    """
    data, text = config.data, config.model.text
    for key, rule in (("max_text_length", questions), ("max_answer_length", answers)):
        length, least = getattr(data, key), 2 + rule.end_stays
        if length < least:
            raise UserError(f"config.data.{key}={length} must be at least {least}")
    return Words(
        Tokenizer(questions, data.vocabulary, data.max_text_length, text.vocab_size),
        Tokenizer(
            answers, data.vocabulary, data.max_answer_length, text.vocab_size, "max_answer_length"
        ),
    )


def weights(tower: Tower, network: Answerer, words: Words, names: Sequence[RuleSet]) -> Weights:
    """The network's parameters; `names` are the tables of their names in checkpoints."""

    def init(key: jax.Array) -> Params:
        ids = jnp.zeros((1, words.questions.length), jnp.int32)
        answer = jnp.zeros((1, words.answers.length), jnp.int32)
        return network.init(key, tower.example, ids, ids == 0, answer)["params"]

    return Weights(init, names)


def collate(words: Words, rows: Sequence[AnswerRow], weight: float = 1.0) -> dict[str, np.ndarray]:
    """What `objectives.answers` reads of training rows beside their videos.

    Args:
      words: the system's tokenizers.
      rows: the same number of questions in each, and of answers to each.
      weight: of a question, shared out among its answers.
    """
    weights = np.array([row.weights for row in rows], np.float32)  # [B,P,J]
    text_ids, text_mask = words.questions([text for row in rows for text in row.questions])
    answer_ids, _ = words.answers([a for row in rows for answers in row.answers for a in answers])
    videos, _, answers = weights.shape
    return {
        "text_ids": rearrange(text_ids, "(b p) l -> b p l", b=videos),
        "text_mask": rearrange(text_mask, "(b p) l -> b p l", b=videos),
        "answer_ids": rearrange(answer_ids, "(b p j) l -> b p j l", b=videos, j=answers),
        "answer_weights": weight * weights,
    }


def answering(
    tower: Tower, network: Answerer, words: Words, writing: Writing | None = None
) -> Answering:
    """Makes the record of a network that answers questions.

    Args:
      tower: the video side of the network.
      network: reads questions and answers.
      words: the system's tokenizers.
      writing: of systems that write answers as well.
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
        words.questions,
        words.answers,
        video_checked(encode_video, tower.config),
        video_memory,
        text_checked(read, tower.config, axes="BPL"),
        next_piece,
        vocabulary=network.decoder.vocab_size,
        writing=writing,
    )


def writing(
    config: Config, network: Answerer, answers: Tokenizer, options: GeneratingOptions
) -> Writing:
    """Makes the record of a decoder that writes answers, by the `options` of the evaluation.

    It attends to all places of a question, padding included, as in BLIP.
    """
    decoder = network.decoder

    def how() -> tuple[int, decoding.Options]:
        start, end = (answers.id_of(token) for token in (answers.rule.start, answers.rule.end))
        return start, generation(options, end)

    return Writing(
        text_writer(decoder, itemgetter("decoder"), how),
        partial(spell, config.data.vocabulary),
        place_size=2 * decoder.depth * decoder.width,  # a key and a value in each layer
    )


def text_writer(
    decoder: Bert,
    own: Callable[[Params], Params],
    how: Callable[[], tuple[int, decoding.Options]],
) -> Write:
    """Makes the function that writes texts with a decoder.

    Args:
      decoder: a BERT of fusion layers alone, which predicts words.
      own: a system's parameters -> the decoder's.
      how: returns the id that every text starts with, and the options of decoding; called when the
        function is compiled, as it may read the vocabulary.
    """
    empty_cache = nn.apply(Bert.empty_cache, decoder)
    read_word = nn.apply(_read_word, decoder)

    def write(params: Params, memory: Memory, key: jax.Array | None = None) -> Features:
        start, options = how()
        texts = len(jax.tree.leaves(memory)[0])
        variables = {"params": own(params)}

        def step(cache: Memory, ids: jax.Array, position: jax.Array) -> tuple[jax.Array, Memory]:
            return read_word(variables, cache, ids, position, memory)

        cache = empty_cache({}, texts * options.beams, options.max_length)
        prompt = jnp.full((texts, 1), start, jnp.int32)
        written = decoding.generate(step, cache, prompt, options, key)
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
