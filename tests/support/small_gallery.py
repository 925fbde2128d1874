"""A gallery that is scored in a blink: linear towers whose pairs and calls can be counted.

As a program (`python small_gallery.py FOLDER PAUSE`) it evaluates into FOLDER, pausing before each
batch and each match, so that a test can kill it; it then prints how many videos it encoded.
"""

import dataclasses
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import row_batches
from dense import dense

from tokmerge_jax import evaluation, objects, parallel
from tokmerge_jax.config.evaluation import RerankingOptions
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.data.text.tokenizers import Tokenizer
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.system import Matching, Retrieval

VIDEOS, TEXTS, LENGTH, WIDTH = 13, 11, 5, 6
RNG = np.random.default_rng(3)
VIDEO = RNG.standard_normal((VIDEOS, 4, 6), np.float32)
IDS = RNG.integers(1, 20, (TEXTS, LENGTH)).astype(np.int32)
MASK = np.ones((TEXTS, LENGTH), bool)
PARAMS = {
    "video": RNG.standard_normal((6, WIDTH), np.float32),
    "text": RNG.standard_normal((20, WIDTH), np.float32),
    "match": RNG.standard_normal((WIDTH, WIDTH), np.float32),
}


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def encode_video(params, video):
    tokens = video @ params["video"]
    return {"embedding": unit(tokens.mean(1, keepdims=True)), "tokens": tokens}


def encode_text(params, text_ids, text_mask):
    states = params["text"][text_ids] * text_mask[..., None]
    return {"embedding": unit(states.sum(1)), "states": states}


def video_memory(params, tokens):
    return {"keys": jnp.tanh(tokens @ params["match"])}


def match(params, memory, states, text_mask):
    return jnp.einsum("gnc,gplc->gp", memory["keys"], states * text_mask[..., None])


MATCHING = Matching(video_memory, match)
RETRIEVAL = Retrieval(
    Tokenizer(tokenizers.UMT, "none", LENGTH, 20), encode_video, encode_text, MATCHING
)


def matching(**functions):
    """The gallery's functions, some of its matching head replaced."""
    return dataclasses.replace(RETRIEVAL, matching=dataclasses.replace(MATCHING, **functions))


def batches(size, rows, pause=0.0):
    for batch in row_batches.batches(VIDEO, size, rows):
        time.sleep(pause)
        yield batch


def run(
    folder,
    *,
    retrieval=RETRIEVAL,
    source=batches,
    devices=1,
    fsdp=1,
    batch_size=4,
    k=3,
    gib=1.0,
    usable=None,
):
    """Scores of the gallery."""
    mesh = parallel.make_mesh(devices, fsdp, local=True)
    options = RerankingOptions(batch_size=batch_size, top_k=k, memory_gib=gib)
    store = evaluation.Store(objects.place(f"{folder}"), {"gallery": "small"})
    context = evaluation.Context(evaluation.Model(PARAMS, mesh), source, store, Stopwatch())
    scores = evaluation.evaluate(context, retrieval, VIDEOS, (IDS, MASK), options, usable=usable)
    return dense(scores)


def by_hand(k=3):
    """The same from the definition: every pair alone."""
    video = [encode_video(PARAMS, clip[None]) for clip in VIDEO]
    words = [encode_text(PARAMS, ids[None], MASK[:1]) for ids in IDS]
    similarity, score = np.zeros((2, VIDEOS, TEXTS))
    for v, seen in enumerate(video):
        memory = video_memory(PARAMS, seen["tokens"])
        for q, read in enumerate(words):
            similarity[v, q] = (seen["embedding"][0] @ read["embedding"].T)[0, 0]
            score[v, q] = match(PARAMS, memory, read["states"][:, None], MASK[:1, None])[0, 0]
    to_video = np.full((TEXTS, VIDEOS), -100.0)
    to_text = np.full((VIDEOS, TEXTS), -100.0)
    for q in range(TEXTS):
        best = np.argsort(-similarity[:, q])[:k]
        to_video[q, best] = score[best, q]
    for v in range(VIDEOS):
        best = np.argsort(-similarity[v])[:k]
        to_text[v, best] = score[v, best]
    return similarity, to_video, to_text


if __name__ == "__main__":
    _, to, seconds = sys.argv
    fetched = []

    def slow(size, rows):
        for batch in batches(size, rows, float(seconds)):
            fetched.append(batch["index"])
            yield batch

    def slow_match(params, memory, states, text_mask):
        jax.debug.callback(lambda: time.sleep(float(seconds)))
        return match(params, memory, states, text_mask)

    scores = run(to, retrieval=matching(match=slow_match), source=slow, batch_size=2)
    np.savez(Path(to, "out.npz"), t2v=scores.text_to_video, v2t=scores.video_to_text)
    print(len(fetched))
