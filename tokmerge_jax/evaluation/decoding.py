"""Autoregressive text generation: greedy decoding, nucleus sampling and beam search.

All shapes are static, and everything runs inside the caller's `jax.jit`; the decoder's key/value
cache is part of the caller's `state`. The rules are those of Hugging Face's transformers 4.21, with
which BLIP (ICML 2022) and TESTA (EMNLP 2023) generate. Sources: nucleus sampling, Holtzman et al.
(ICLR 2020), section 3.1; repetition penalty, CTRL (2019), section 4.1.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from tokmerge_jax.types import UserError

Step = Callable[[PyTree, jax.Array, jax.Array], tuple[jax.Array, PyTree]]
"""`(state, ids int32 [R], position int32 []) -> (logits float32 [R,W], state)`: reads one word of
each row and predicts the next one. The first axis of every leaf of `state` is the rows. Rows whose
texts have ended are computed too, but not used."""

_CLOSED = -1e9  # initial score of all beams but one, since all begin with the same prompt


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of text generation.

    Attributes:
      end: id of the end token.
      pad: id of padding after the end.
      max_length: L, largest number of ids in a text, including its prompt.
      min_length: smallest number of ids before a text may end, including its prompt.
      beams: K, number of beams; 1 = no beam search.
      length_penalty: beam search compares log-likelihood / length ** length_penalty, without the
        end token in the length. Since log-likelihoods are negative, a larger penalty favours longer
        texts.
      repetition_penalty: logits (in beam search, log-probabilities) of words that occurred before
        are divided by it if positive and multiplied by it if negative; 1 = no penalty.
      top_p: words are drawn from the smallest set of likeliest words with this total probability;
        0 = greedy decoding. Not with beams.
      top_k: words are drawn from this number of likeliest words; 0 = from all. The default is that
        of transformers, with which BLIP's captions are drawn.
    """

    end: int
    pad: int
    max_length: int
    min_length: int = 0
    beams: int = 1
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    top_p: float = 0.0
    top_k: int = 50

    def __post_init__(self) -> None:
        at_least = {"end": 0, "pad": 0, "max_length": 2, "min_length": 0, "beams": 1, "top_k": 0}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise UserError(
                    f"generation's {name}={getattr(self, name)} must be {least} or more"
                )
        if self.min_length > self.max_length:
            raise UserError(
                f"generation's min_length={self.min_length} must be at most generation's"
                f" max_length={self.max_length}"
            )
        if self.repetition_penalty <= 0:
            raise UserError(
                f"generation's repetition_penalty={self.repetition_penalty} must be positive"
            )
        if not 0 <= self.top_p <= 1:
            raise UserError(f"generation's top_p={self.top_p} must be from 0 to 1")
        if self.top_p and self.beams > 1:
            raise UserError(
                f"generation draws words (top_p={self.top_p}) or searches (beams={self.beams}); "
                "set top_p=0 or beams=1"
            )


class Texts(NamedTuple):
    """Generated texts.

    Attributes:
      ids: int32 [B,L]: prompt, words, the end token if it was reached, padding.
      length: int32 [B], number of ids without padding.
      score: float32 [B], log-likelihood of the words after the prompt, divided by a power of the
        length (`Options.length_penalty`). With beams it includes the repetition penalty.
    """

    ids: jax.Array
    length: jax.Array
    score: jax.Array


def generate(
    step: Step,
    state: PyTree,
    prompt: Int[Array, "B M"],
    options: Options,
    keys: Key[Array, " B"] | None = None,
) -> Texts:
    """Continues every prompt until all texts have ended.

    Args:
      step: the decoder, see `Step`. Positions are 0, 1, ...
      state: the state before the first word, with R = B * K rows, the K beams of a text adjacent.
      prompt: the beginnings of the texts, at least a start token.
      options: the options of generation.
      keys: a random key for each text, needed if `options.top_p` is not 0.

    Raises:
      UserError: if a prompt is as long as `max_length`, `options` names ids outside the decoder's
        vocabulary, or the keys are missing.
    """
    read = prompt.shape[1]
    if not 0 < read < options.max_length:
        raise UserError(
            f"prompts of {read} words do not fit generation's max_length={options.max_length};"
            " give at least one word, and raise max_length"
        )
    if options.top_p and keys is None:
        raise UserError(f"generation's top_p={options.top_p} draws words, which needs keys")
    ids = jnp.full((len(prompt), options.max_length), options.pad, jnp.int32)
    ids = ids.at[:, :read].set(prompt)
    at = jnp.int32(read - 1)
    if read > 1:
        words = jnp.repeat(prompt[:, :-1], options.beams, axis=0).T
        positions = jnp.arange(read - 1, dtype=jnp.int32)
        state, _ = jax.lax.scan(lambda now, x: (step(now, *x)[1], None), state, (words, positions))
    if options.beams > 1:
        return _search(step, options, at, state, ids)
    return _follow(step, options, keys, at, state, ids)


class _Following(NamedTuple):
    """One text per sample; its score is not yet divided by the length."""

    at: jax.Array  # position of the next word to read
    state: PyTree
    done: jax.Array
    texts: Texts


def _follow(
    step: Step,
    options: Options,
    keys: jax.Array | None,
    at: jax.Array,
    state: PyTree,
    ids: jax.Array,
) -> Texts:
    rows = len(ids)
    begun = Texts(ids, jnp.broadcast_to(at + 1, rows), jnp.zeros(rows, jnp.float32))
    now = _Following(at, state, jnp.zeros(rows, bool), begun)
    now = _until_done(functools.partial(_next_words, step, options, keys), now, options)
    texts, ended = now.texts, now.done
    return texts._replace(score=_relative(texts.score, texts.length - ended, options))


def _next_words(
    step: Step, options: Options, keys: jax.Array | None, now: _Following
) -> _Following:
    at, texts = now.at, now.texts
    logits, state = step(now.state, _column(texts.ids, at), at)
    allowed = _allowed(logits, texts.ids, at + 1, options)
    if keys is None or not options.top_p:
        word = jnp.argmax(allowed, axis=1).astype(jnp.int32)
    else:
        word = _draw(jax.vmap(jax.random.fold_in, (0, None))(keys, at), allowed, options)
    likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), word[:, None], axis=1)[:, 0]
    texts = Texts(
        _write(texts.ids, jnp.where(now.done, options.pad, word), at + 1),
        texts.length + ~now.done,
        texts.score + jnp.where(now.done, 0, likelihood),
    )
    return _Following(at + 1, state, now.done | (word == options.end), texts)


def _draw(
    keys: Key[Array, " R"], scores: Float[Array, "R W"], options: Options
) -> Int[Array, " R"]:
    """Draws a word from each row's nucleus, with probabilities among the `top_k` words."""
    best, words = jax.lax.top_k(scores, min(options.top_k or scores.shape[1], scores.shape[1]))
    if options.top_p < 1:
        sums = jnp.cumsum(jax.nn.softmax(best), axis=1)
        before = jnp.pad(sums[:, :-1], ((0, 0), (1, 0)))
        best = jnp.where(before <= options.top_p, best, -jnp.inf)
    place = jax.vmap(jax.random.categorical)(keys, best)
    return jnp.take_along_axis(words, place[:, None], axis=1)[:, 0]


class _Searching(NamedTuple):
    """K unfinished texts per sample, and the best K finished ones, best first."""

    at: jax.Array
    state: PyTree
    done: jax.Array
    ids: jax.Array  # int32 [B,K,L]
    scores: jax.Array  # float32 [B,K], log-likelihoods
    finished: Texts  # [B,K,...], with score -inf where there is none


def _search(step: Step, options: Options, at: jax.Array, state: PyTree, ids: jax.Array) -> Texts:
    size = (len(ids), options.beams)
    ids = jnp.repeat(ids[:, None], options.beams, axis=1)
    scores = jnp.where(jnp.arange(options.beams) > 0, _CLOSED, 0.0)
    scores = jnp.broadcast_to(scores[None], size)
    none = Texts(ids, jnp.zeros(size, jnp.int32), jnp.full(size, -jnp.inf))
    now = _Searching(at, state, jnp.zeros(len(ids), bool), ids, scores, none)
    now = _until_done(functools.partial(_next_beams, step, options), now, options)
    # A search that is not done has reached the full length: its unfinished texts count too.
    scores = jnp.where(now.done[:, None], -jnp.inf, now.scores)
    scores = _relative(scores, options.max_length, options)
    finished = _best(now.finished, Texts(now.ids, jnp.full(size, options.max_length), scores))
    return jax.tree.map(lambda x: x[:, 0], finished)


def _next_beams(step: Step, options: Options, now: _Searching) -> _Searching:
    at, beams, length = now.at, options.beams, now.at + 1
    logits, state = step(now.state, _column(now.ids, at).reshape(-1), at)
    likelihood = jax.nn.log_softmax(logits)
    likelihood = _allowed(likelihood, now.ids.reshape(-1, options.max_length), length, options)
    total = now.scores[..., None] + likelihood.reshape(*now.scores.shape, -1)
    # At most K of 2 K continuations end a text, one per beam, so at least K remain to continue.
    scores, place = jax.lax.top_k(total.reshape(len(total), -1), 2 * beams)
    parent, word = jnp.divmod(place, total.shape[2])
    ids, ends = _write(_pick(now.ids, parent), word, length), word == options.end
    relative = _relative(scores, length, options)
    ended = jnp.where(ends & ~now.done[:, None], relative, -jnp.inf)[:, :beams]
    longer = jnp.full(ended.shape, length + 1)
    finished = _best(now.finished, Texts(ids[:, :beams], longer, ended))
    # Done if K texts are finished and the best continuation does not beat the worst of them.
    done = now.done | (finished.score[:, -1] >= relative[:, 0])
    still = jnp.argsort(ends, axis=1)[:, :beams]
    ids, scores, parent = (_pick(x, still) for x in (ids, scores, parent))
    # Each of the R = B * K rows takes the state of its parent beam.
    state = jax.tree.map(
        lambda x: _pick(x.reshape(*parent.shape, *x.shape[1:]), parent).reshape(x.shape), state
    )
    return _Searching(length, state, done, ids, scores, finished)


def _best(finished: Texts, more: Texts) -> Texts:
    """The K best texts of both, best first; ties prefer the later text, as in the original."""
    both = jax.tree.map(lambda new, old: jnp.concatenate([new, old], axis=1), more, finished)
    score, place = jax.lax.top_k(both.score, finished.score.shape[1])
    return Texts(_pick(both.ids, place), _pick(both.length, place), score)


def _until_done(body: Callable[[PyTree], PyTree], now: PyTree, options: Options) -> PyTree:
    last = options.max_length - 1
    return jax.lax.while_loop(lambda now: (now.at < last) & ~now.done.all(), body, now)


def _allowed(
    scores: Float[Array, "R W"], ids: Int[Array, "R L"], length: Int[Array, ""], options: Options
) -> Float[Array, "R W"]:
    """Scores for choosing words: repetition is penalised, and no text ends too early."""
    words = scores.shape[1]
    if max(options.end, options.pad) >= words:
        raise UserError(
            f"generation's end={options.end} and pad={options.pad} must be below {words}, the"
            " size of the decoder's vocabulary"
        )
    if options.repetition_penalty != 1:
        read = jnp.where(jnp.arange(ids.shape[1])[None] < length, ids, words)
        # Marks the words that each row contains; ids of `words` or more are ignored.
        mark = jax.vmap(lambda row: jnp.zeros(words, bool).at[row].set(True, mode="drop"))
        penalty = options.repetition_penalty
        penalised = jnp.where(scores < 0, scores * penalty, scores / penalty)
        scores = jnp.where(mark(read), penalised, scores)
    early = (jnp.arange(words) == options.end) & (length < options.min_length)
    return jnp.where(early[None], -jnp.inf, scores)


def _relative(score: jax.Array, length: jax.Array | int, options: Options) -> jax.Array:
    return score / jnp.asarray(length, jnp.float32) ** options.length_penalty


def _column(ids: Int[Array, "*rows L"], at: Int[Array, ""]) -> Int[Array, "*rows"]:
    return jax.lax.dynamic_index_in_dim(ids, at, axis=-1, keepdims=False)


def _write(
    ids: Int[Array, "*rows L"], words: Int[Array, "*rows"], at: Int[Array, ""]
) -> Int[Array, "*rows L"]:
    return jax.lax.dynamic_update_index_in_dim(ids, words, at, axis=-1)


def _pick(x: jax.Array, places: Int[Array, "B M"]) -> jax.Array:
    """[B,K,...] -> [B,M,...]: takes M entries of each sample."""
    return jax.vmap(lambda row, place: row[place])(x, places)
