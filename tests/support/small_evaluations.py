"""All kinds of evaluations, small ones, by several processes (see test_processes.py).

`python small_evaluations.py FOLDER PAUSE RUN --distributed=...` pauses before each batch, so that a
test can kill it. Each process appends the rows of its batches to FOLDER/seen.NUMBER; process 0
writes FOLDER/out.npz. RUN is the folder of the evaluations.
"""

import sys
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import row_batches
import small_gallery
import small_questions

from tokmerge_jax import command_line, evaluation, hosts, objects, parallel
from tokmerge_jax.evaluation import actions, multiple_choice
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.system import MultipleChoice, Recognition

VIDEOS, OPTIONS, VIEWS = 9, 3, 2
RNG = np.random.default_rng(5)
VIDEO = RNG.integers(0, 9, (VIDEOS, VIEWS, small_gallery.WIDTH)).astype(np.uint8)
IDS = RNG.integers(1, 20, (VIDEOS, OPTIONS, small_gallery.LENGTH)).astype(np.int32)
PARAMS = small_gallery.PARAMS


def encode_video(params, video):
    tokens = video.astype(jnp.float32) @ params["video"]
    return {"embedding": small_gallery.unit(tokens.mean(1, keepdims=True)), "tokens": tokens}


def choose(params, memory, video, text, states, text_mask):
    match = jnp.einsum("vnc,volc->vo", memory["keys"], states * text_mask[..., None])
    cosine = jnp.einsum("vfc,voc->vo", video, text)
    return {"match": match, "contrast": cosine}


CHOOSING = MultipleChoice(
    small_gallery.RETRIEVAL.tokenize,
    encode_video,
    small_gallery.encode_text,
    choose,
    small_gallery.video_memory,
)


def classify(params, video):
    return video.astype(jnp.float32) * params["text"][None, :VIEWS]


def context(folder, source):
    model = evaluation.Model(PARAMS, parallel.make_mesh(local=True))
    store = evaluation.Store(folder, {"videos": "small"})
    return evaluation.Context(model, source, store, Stopwatch())


def run(folder, watched) -> dict[str, Any]:
    """All results, as named arrays; `watched(name, video)` is the source of videos."""
    gallery = small_gallery.run(
        folder / "gallery", source=watched("gallery", small_gallery.VIDEO), batch_size=2
    )
    ranking = small_questions.run(
        folder / "questions", source=watched("questions", small_questions.VIDEO), batch_size=1
    )
    chosen = multiple_choice.evaluate(
        context(folder / "choices", watched("choices", VIDEO)), CHOOSING, (IDS, IDS > 0), 2
    )
    seen = actions.evaluate(
        context(folder / "actions", watched("actions", VIDEO)),
        Recognition(classify),
        [str(row) for row in range(VIDEOS)],
        views=VIEWS,
        classes=VIDEO.shape[2],
        batch_size=1,
    )
    return {
        "similarity": gallery.similarity,
        "text_to_video": gallery.text_to_video,
        "video_to_text": gallery.video_to_text,
        "answers": ranking.answers,
        "answer_scores": ranking.scores,
        "options": chosen.scores,
        "actions": seen.scores,
    }


def main():
    folder, pause, place, where = Path(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]
    objects.BEAT, objects.STALE, objects.PERIOD = 0.1, 2.0, 0.0

    def watched(name, video):
        def batches(size, rows):
            for batch in row_batches.batches(video, size, rows):
                time.sleep(pause)
                with (folder / f"seen.{hosts.number()}").open("a") as log:
                    log.writelines(f"{name} {row}\n" for row in batch["index"] if row >= 0)
                yield batch

        return batches

    with command_line.reported():
        hosts.join(where.removeprefix("--distributed="))
    with hosts.together(), command_line.reported(), hosts.held(objects.place(place)):
        results = run(objects.place(place), watched)
        if not hosts.number():
            np.savez(folder / "out.npz", **results)


if __name__ == "__main__":
    main()
