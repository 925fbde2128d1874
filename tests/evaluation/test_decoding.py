"""Generated texts are those of the definition, of cases by hand, and of the nucleus."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax import parallel
from tokmerge_jax.evaluation import decoding
from tokmerge_jax.types import UserError

PAD, START, END, A, B, C = 0, 1, 2, 3, 4, 5
MODELS, LENGTH, WORDS = 40, 8, 9


def options(**changes):
    return decoding.Options(**{"end": END, "pad": PAD, "max_length": LENGTH, **changes})


# --- The definition: one text after the other, whole beginnings read again for every word.


def random_models():
    """Toy language models: what the last word and its place say, and what all words before do.

    Some like to end early, some hardly end.
    """
    rng = np.random.default_rng(5)
    shape = (MODELS, LENGTH, WORDS, WORDS)
    last, history = 1.5 * rng.standard_normal(shape), 0.8 * rng.standard_normal(shape)
    last[..., END] += np.linspace(-1, 3, MODELS)[:, None, None]
    return last.astype(np.float32), history.astype(np.float32)


def logits_after(model, text):
    last, history = model
    return last[len(text) - 1, text[-1]] + sum(history[i, word] for i, word in enumerate(text))


def log_softmax(logits):
    return logits - np.log(np.sum(np.exp(logits)))


def allowed(scores, text, how):
    scores = {word: float(score) for word, score in enumerate(scores)}
    for word in set(text):
        times = how.repetition_penalty
        scores[word] = scores[word] * times if scores[word] < 0 else scores[word] / times
    if len(text) < how.min_length:
        del scores[END]
    return scores


def follow(model, text, how):
    """The likeliest word each time -> the text and its score."""
    total = 0.0
    while len(text) < how.max_length and text[-1] != END:
        logits = logits_after(model, text)
        scores = allowed(logits, text, how)
        word = max(scores, key=scores.__getitem__)
        text, total = (*text, word), total + log_softmax(logits)[word]
    return text, total / (len(text) - (text[-1] == END)) ** how.length_penalty


def search(model, prompt, how):
    """Beam search: dictionaries of texts -> the best text and its score."""
    still, ended = {prompt: 0.0}, {}

    def best(texts, count):
        return dict(sorted(texts.items(), key=lambda item: -item[1])[:count])

    for length in range(len(prompt), how.max_length):
        longer = {
            (*text, word): total + score
            for text, total in still.items()
            for word, score in allowed(log_softmax(logits_after(model, text)), text, how).items()
        }
        longer = best(longer, 2 * how.beams)
        leading = list(longer)[: how.beams]
        ended |= {t: longer[t] / length**how.length_penalty for t in leading if t[-1] == END}
        ended = best(ended, how.beams)
        still = best({t: total for t, total in longer.items() if t[-1] != END}, how.beams)
        if len(ended) == how.beams:
            top = max(longer.values()) / length**how.length_penalty
            if min(ended.values()) >= top:
                break
    else:
        ended |= {t: total / how.max_length**how.length_penalty for t, total in still.items()}
    ((text, score),) = best(ended, 1).items()
    return text, score


def generate(models, prompt, how, devices):
    """All models at once; the state is what the words so far say, of every row."""
    mesh = parallel.make_mesh(devices)

    @jax.jit
    def run(models, prompts):
        rows = jnp.arange(len(prompts) * how.beams)
        model = rows // how.beams

        def step(state, ids, at):
            last, history = (x[model, at, ids] for x in models)
            state = {"said": state["said"] + history, "count": state["count"] + 1}
            # A row whose count is not its place has lost its state.
            lost = jnp.where(state["count"] == at + 1, 0, jnp.nan)
            return last + state["said"] + lost[:, None], state

        state = {"said": jnp.zeros((len(rows), WORDS)), "count": jnp.zeros(len(rows), jnp.int32)}
        return decoding.generate(step, state, prompts, how)

    prompts = np.tile(np.array(prompt, np.int32), (MODELS, 1))
    with jax.set_mesh(mesh):
        models = parallel.place(mesh, models)
        return jax.device_get(run(models, parallel.shard(mesh, {"ids": prompts})["ids"]))


@pytest.mark.parametrize(
    ("prompt", "how", "devices"),
    [
        ((START,), options(beams=3, min_length=1), 1),
        ((START, A, B), options(beams=4, length_penalty=2.0, min_length=6), 1),
        ((START,), options(beams=2, length_penalty=-0.5, repetition_penalty=1.4), 8),
        ((START,), options(length_penalty=0.5), 1),
        ((START, A, B), options(min_length=5, repetition_penalty=1.4), 1),
    ],
)
def test_texts_are_those_of_the_definition(prompt, how, devices):
    models = random_models()
    written = generate(models, prompt, how, devices)
    decode = search if how.beams > 1 else follow
    texts, scores = zip(*(decode(m, prompt, how) for m in zip(*models, strict=True)), strict=True)
    padded = [(*text, *[PAD] * (LENGTH - len(text))) for text in texts]
    np.testing.assert_array_equal(written.ids, padded)
    np.testing.assert_array_equal(written.length, [len(text) for text in texts])
    np.testing.assert_allclose(written.score, scores, rtol=1e-5)
    ended = written.length[[text[-1] == END for text in texts]]
    assert how.min_length < min(ended) < LENGTH
    assert len(ended) < MODELS  # both kinds are there


# --- By hand.

READ = []


@functools.cache
def program(how):
    """Texts where a word's probabilities depend on the word before alone; notes what is read."""

    def run(table, prompts):
        def step(state, ids, at):
            jax.debug.callback(lambda at, ids: READ.append((int(at), ids.tolist())), at, ids)
            return jnp.log(table)[ids], state

        return decoding.generate(step, (), prompts, how)

    return jax.jit(run)


def from_table(table, how, *prompts):
    READ.clear()
    prompts = jnp.array(prompts, jnp.int32)
    written = jax.device_get(program(how)(jnp.asarray(table, jnp.float32), prompts))
    jax.effects_barrier()
    return written, dict(READ)


LIKELY_LATER = [  # START -> A 0.6 or B 0.4; A ends with 0.3; B with 0.9
    [1, 0, 0, 0, 0, 0],
    [0, 0, 0, 0.6, 0.4, 0],
    [1, 0, 0, 0, 0, 0],
    [0, 0, 0.3, 0.25, 0.2, 0.25],
    [0, 0, 0.9, 0.02, 0.03, 0.05],
    [0, 0, 0.1, 0.2, 0.4, 0.3],
]


def test_the_likeliest_words():
    """It stops when all texts have ended; the second has while the first goes on."""
    written, read = from_table(LIKELY_LATER, options(pad=C), (START,), (B,))
    assert written.ids.tolist() == [[START, A, END, *[C] * 5], [B, END, *[C] * 6]]
    assert written.length.tolist() == [3, 2]
    np.testing.assert_allclose(written.score, [np.log(0.6 * 0.3) / 2, np.log(0.9)], rtol=1e-6)
    assert read == {0: [START, B], 1: [A, END]}


def test_beams_find_what_the_likeliest_word_misses():
    written, read = from_table(LIKELY_LATER, options(beams=2), (START,))
    assert written.ids.tolist() == [[START, B, END, *[PAD] * 5]]
    np.testing.assert_allclose(written.score, np.log(0.4 * 0.9) / 2, rtol=1e-6)
    # "B end" has log(0.36) / 2 = -0.51, "A end" log(0.18) / 2 = -0.86. The best of three words is
    # "A C B" with log(0.06) / 3 = -0.94: it overtakes neither.
    assert read == {0: [START, START], 1: [A, B], 2: [A, C]}


ONLY_B = np.eye(6)[[PAD, START, END, A, B, C]]
ONLY_B[START, [START, END, B]] = 0, 0.55, 0.45


def test_length_is_what_scores_are_divided_by():
    """B goes on for ever with certainty: per word it is best, in all it is not."""
    by_word, _ = from_table(ONLY_B, options(beams=2), (START,))
    assert by_word.ids.tolist() == [[START, *[B] * 7]]
    assert by_word.length == 8
    np.testing.assert_allclose(by_word.score, np.log(0.45) / 8, rtol=1e-6)
    in_all, _ = from_table(ONLY_B, options(beams=2, length_penalty=0.0), (START,))
    assert in_all.ids.tolist() == [[START, END, *[PAD] * 6]]
    np.testing.assert_allclose(in_all.score, np.log(0.55), rtol=1e-6)


def test_a_search_that_is_done_stays_so_while_others_go_on():
    """After four words B is worse than both texts that ended, per word, and at its end better."""
    table = np.zeros((11, 11))
    table[START, [A, B]] = 0.84, 0.16
    table[A, [END, C]] = 0.5
    for word, following in [(C, END), (B, 6), (6, 7), (7, 8), (8, 9), (9, 10), (10, END)]:
        table[word, following] = 1
    written, read = from_table(table, options(beams=2), (START,), (B,))
    assert written.ids.tolist() == [[START, A, C, END, *[PAD] * 4], [B, 6, 7, 8, 9, 10, END, PAD]]
    np.testing.assert_allclose(written.score, [np.log(0.42) / 3, 0], rtol=1e-6)
    assert len(read) == 7
    assert np.log(0.42) / 2 > np.log(0.16) / 4
    assert np.log(0.42) / 3 < np.log(0.16) / 7


def test_a_prompt_is_read_first_and_counts_in_the_length():
    written, read = from_table(LIKELY_LATER, options(min_length=6), (START, B, C, B))
    assert written.ids.tolist() == [[START, B, C, B, C, B, END, PAD]]  # not "B end" at once
    assert read == {i: [word] for i, word in enumerate([START, B, C, B, C, B])}
    np.testing.assert_allclose(written.score, np.log(0.05 * 0.4 * 0.9) / 6, rtol=1e-6)


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        ((2.0, 1.5, -9.0), [A, B, A, A, A]),  # halved: 1 and 0.75
        ((-1.0, -1.5, -9.0), [A, B, A, A, A]),  # doubled: -2 and -3
        ((0.5, 0.2, -0.1), [A, A, A, A, A]),  # 0.25 is still most
        ((-0.5, -0.6, 0.05), [C, C, C, C, C]),  # signs stay
    ],
)
def test_repetition_costs(logits, words):
    row = np.exp([-9, -9, -9, *logits])  # log gives the logits back
    written, _ = from_table([row] * 6, options(repetition_penalty=2.0, max_length=6), (START,))
    assert written.ids[0, 1:].tolist() == words


# --- The nucleus.

ROWS = 3000
SHARES = np.array([0.05, 0.0, 0.4, 0.3, 0.15, 0.1])  # END is likeliest
EVENLY = np.array([0, 0, 0, 1, 1, 1]) / 3
NUCLEI = [
    ({"top_p": 0.6}, [END, A]),  # 0.4 is not 0.6, 0.7 is more
    ({"top_p": 1.0, "top_k": 0}, [END, A, B, C, PAD]),
    ({"top_p": 0.5, "top_k": 2}, [END]),  # of the two it has 0.57
    ({"top_p": 0.6, "min_length": 2}, [A, B]),  # of those that do not end: 0.5, 0.25
]


@functools.cache
def drawn(seed):
    """A word by each of `NUCLEI`, and three words by chance."""
    return jax.device_get(draw(jax.random.key(seed)))


@jax.jit
def draw(key):
    prompts, keys = jnp.full((ROWS, 1), START, jnp.int32), jax.random.split(key, ROWS)

    def words(shares, **how):
        scores = jnp.broadcast_to(jnp.log(shares)[None], (ROWS, len(shares)))
        return decoding.generate(lambda _, ids, at: (scores, ()), (), prompts, options(**how), keys)

    words_of = [words(SHARES, max_length=2, **how) for how, _ in NUCLEI]
    return words_of, words(EVENLY, max_length=4, top_p=1.0).ids[:, 1:]


@pytest.mark.parametrize("case", range(len(NUCLEI)))
def test_words_are_drawn_from_the_nucleus_in_proportion(case):
    computed, (_, kept) = drawn(3)[0][case], NUCLEI[case]
    words = computed.ids[:, 1]
    count = collections.Counter(words.tolist())
    assert set(count) == set(kept)
    share = SHARES[kept] / SHARES[kept].sum()
    np.testing.assert_allclose([count[word] / ROWS for word in kept], share, atol=0.03)
    lengths = 2 - (words == END)
    np.testing.assert_allclose(computed.score, np.log(SHARES[words]) / lengths, rtol=1e-5)


def test_a_key_decides_every_word():
    one, other = drawn(3)[1], drawn(4)[1]
    np.testing.assert_array_equal(one, jax.device_get(draw(jax.random.key(3)))[1])
    assert 0.64 < np.mean(one != other) < 0.69  # 2/3 by chance
    pairs = collections.Counter(map(tuple, one[:, 1:].tolist()))
    assert len(pairs) == 9  # a word's draw says nothing of the next one's
    assert max(pairs.values()) < ROWS / 9 * 1.2


# --- Bad input.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end": -1}, r"end=-1 must be 0 or more"),
        ({"pad": -2}, r"pad=-2 must be 0 or more"),
        ({"max_length": 1}, r"max_length=1 must be 2 or more"),
        ({"min_length": -1}, r"min_length=-1 must be 0 or more"),
        ({"min_length": 9}, r"min_length=9 must be at most .*max_length=8"),
        ({"beams": 0}, r"beams=0 must be 1 or more"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty=0.0 must be positive"),
        ({"top_p": 1.1}, r"top_p=1.1 must be from 0 to 1"),
        ({"top_p": -0.1}, r"top_p=-0.1 must be from 0 to 1"),
        ({"top_k": -1}, r"top_k=-1 must be 0 or more"),
        ({"top_p": 0.9, "beams": 3}, r"top_p=0.9.*beams=3.*set top_p=0 or beams=1"),
    ],
)
def test_impossible_options(changes, message):
    with pytest.raises(UserError, match=message):
        options(**changes)


@pytest.mark.parametrize(
    ("prompt", "how", "message"),
    [
        ((START,) * 8, options(), r"prompts of 8 words .*max_length=8; .*raise max_length"),
        ((), options(), r"prompts of 0 words .* give at least one word"),
        ((START,), options(top_p=0.9), r"top_p=0.9 draws words, which needs keys"),
        ((START,), options(end=6), r"end=6 and pad=0 must be below 6"),
        ((START,), options(pad=7, beams=2), r"end=2 and pad=7 must be below 6"),
    ],
)
def test_what_cannot_be_generated(prompt, how, message):
    with pytest.raises(UserError, match=message):
        from_table(LIKELY_LATER, how, prompt)
