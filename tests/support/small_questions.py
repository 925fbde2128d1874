"""Questions answered in a blink: what comes next depends on a question and all read so far.

As a program (`python small_questions.py FOLDER PAUSE`) it answers into FOLDER, pausing before each
batch, so that a test can kill it.
"""

import itertools
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import row_batches

from tokmerge_jax import evaluation, objects, parallel
from tokmerge_jax.config.evaluation import AnsweringOptions
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.data.text.tokenizers import Tokenizer
from tokmerge_jax.evaluation import answering
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.system import Answering
from tokmerge_jax.types import Questions

WORDS, WIDTH, LENGTH = 12, 5, 5
ABOUT = (0, 0, 0, 1, 3, 3, 3, 3, 3, 5, 6)  # video 2 and 4 have no question
RNG = np.random.default_rng(8)
VIDEO = RNG.standard_normal((7, 3, WIDTH), np.float32)
IDS = RNG.integers(1, WORDS, (len(ABOUT), 4)).astype(np.int32)
MASK = np.ones(IDS.shape, bool)
PARAMS = {
    "word": RNG.standard_normal((WORDS, WIDTH), np.float32),
    "place": RNG.standard_normal((LENGTH, WIDTH), np.float32),
    "head": RNG.standard_normal((WIDTH, WORDS), np.float32),
}
START, END = 1, 2
ANSWERS = np.array(  # some begin alike, one twice, one without room for its end
    [
        [START, 3, END, 0, 0],
        [START, 3, 4, END, 0],
        [START, 5, END, 0, 0],
        [START, 3, 4, 6, END],
        [START, 3, 4, 6, 7],
        [START, 5, END, 0, 0],
        [START, 8, 3, END, 0],
        [START, 9, END, 0, 0],
    ],
    np.int32,
)
QUESTIONS = Questions(
    videos=tuple("abcdefg"),
    ids=tuple(map(str, range(len(ABOUT)))),
    texts=("what?",) * len(ABOUT),
    about=ABOUT,
    truths=(("x",),) * len(ABOUT),
    answers=tuple("pqrstuvw"),
)


def encode_video(params, video):
    return {"tokens": video}


def video_memory(params, tokens):
    return tokens.mean(1)


def read(params, memory, text_ids, text_mask):
    states = memory[:, None] + (params["word"][text_ids] * text_mask[..., None]).sum(2)
    return states.reshape(-1, WIDTH)


def next_piece(params, memory, text_mask, *, ids, visible, positions, places, pieces):
    del text_mask
    x = params["word"][ids] * jnp.cos(params["place"][positions])
    seen = jnp.tanh(memory[:, None] + jnp.einsum("grs,gsc->grc", visible.astype(x.dtype), x))
    logs = jax.nn.log_softmax(seen @ params["head"])
    return logs[jnp.arange(len(ids))[:, None], places, pieces]


TOKENIZE = Tokenizer(tokenizers.UMT, "none", LENGTH, WORDS)
ANSWERING = Answering(
    TOKENIZE, TOKENIZE, encode_video, video_memory, read, next_piece, vocabulary=WORDS
)


def batches(size, rows, pause=0.0):
    for batch in row_batches.batches(VIDEO, size, rows):
        time.sleep(pause)
        yield batch


def run(
    folder,
    *,
    answers=ANSWERING,
    source=batches,
    devices=1,
    batch_size=3,
    k=4,
    gib=1.0,
    first_piece=2,
):
    """The ranking."""
    model = evaluation.Model(PARAMS, parallel.make_mesh(devices, local=True))
    options = AnsweringOptions(
        batch_size=batch_size, top_k=k, memory_gib=gib, first_piece=first_piece
    )
    store = evaluation.Store(objects.place(f"{folder}"), {"questions": "small"})
    context = evaluation.Context(model, source, store, Stopwatch())
    return answering.evaluate(context, answers, QUESTIONS, (IDS, MASK), ANSWERS, options)


def by_hand(k=4, first_piece=2):
    """Best answers and scores of each question from the definition, every answer alone."""
    ranked = []
    for question, video in enumerate(ABOUT):
        memory = VIDEO[video].mean(0) + PARAMS["word"][IDS[question]].sum(0)
        first, whole = [], []
        for answer in ANSWERS:
            logs, seen = [], memory
            for place, (piece, following) in enumerate(itertools.pairwise(answer)):
                seen = seen + PARAMS["word"][piece] * np.cos(PARAMS["place"][place])
                logits = np.tanh(seen) @ PARAMS["head"]
                if following:
                    logs.append(logits[following] - np.log(np.exp(logits).sum()))
            first.append(logs[0])
            whole.append(sum(logs))
        kept = sorted(range(len(ANSWERS)), key=lambda a: -first[a])[:k]
        score = [(first_piece - 1) * a + b for a, b in zip(first, whole, strict=True)]
        kept = sorted(sorted(kept), key=lambda a: -score[a])
        ranked.append((kept, [score[a] for a in kept]))
    answers, scores = zip(*ranked, strict=True)
    return np.array(answers), np.array(scores)


if __name__ == "__main__":
    _, to, seconds = sys.argv
    fetched = []

    def slow(size, rows):
        for batch in batches(size, rows, float(seconds)):
            fetched.append(batch["index"])
            yield batch

    ranking = run(to, source=slow, batch_size=1)
    np.savez(Path(to, "out.npz"), answers=ranking.answers, scores=ranking.scores)
    print(len(fetched))
