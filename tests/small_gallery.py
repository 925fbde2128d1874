"""A gallery that is scored in a blink: linear towers whose pairs and calls can be counted.

As a program (`python small_gallery.py FOLDER PAUSE`) it evaluates into FOLDER, pausing before each
batch and each match, so that a test can kill it; it then prints how many videos it encoded.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import row_batches

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.config.evaluation import RerankingOptions
from tokmerge_jax.runtime import Stopwatch

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


def encode_text(params, ids, mask):
    states = params["text"][ids] * mask[..., None]
    return {"embedding": unit(states.sum(1)), "states": states}


def video_memory(params, tokens):
    return {"keys": jnp.tanh(tokens @ params["match"])}


def match(params, memory, states, mask):
    return jnp.einsum("gnc,gplc->gp", memory["keys"], states * mask[..., None])


PREDICT: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (encode_video, encode_text, video_memory, match)
}


def batches(size, rows, pause=0.0):
    for batch in row_batches.batches(VIDEO, size, rows):
        time.sleep(pause)
        yield batch


def run(
    folder, *, predict=PREDICT, source=batches, devices=1, batch_size=4, k=3, gib=1.0, left=None
):
    """Scores of the gallery."""
    mesh = parallel.make_mesh({"data": devices})
    options = RerankingOptions(batch_size=batch_size, top_k=k, memory_gib=gib)
    store = evaluation.Store(Path(folder), {"gallery": "small"})
    model = evaluation.Model(predict, PARAMS, mesh)
    how = options, store, Stopwatch()
    return evaluation.evaluate(model, source, VIDEOS, (IDS, MASK), *how, left)


def by_hand(k=3):
    """The same from the definition: every pair alone."""
    video = [encode_video(PARAMS, clip[None]) for clip in VIDEO]
    text = [encode_text(PARAMS, ids[None], MASK[:1]) for ids in IDS]
    similarity, score = np.zeros((2, VIDEOS, TEXTS))
    for v, seen in enumerate(video):
        memory = video_memory(PARAMS, seen["tokens"])
        for q, read in enumerate(text):
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

    def slow_match(*arrays):
        jax.debug.callback(lambda: time.sleep(float(seconds)))
        return match(*arrays)

    scores = run(to, predict={**PREDICT, "match": slow_match}, source=slow, batch_size=2)
    np.savez(Path(to, "out.npz"), t2v=scores.text_to_video, v2t=scores.video_to_text)
    print(len(fetched))
