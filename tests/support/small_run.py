"""A run small enough to be trained in a blink: a linear two-tower model with noisy inputs.

As a program (`python small_run.py FOLDER STEPS PAUSE`) it trains in FOLDER, pausing before each
batch, so that a test can kill it.
"""

import dataclasses
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import small_system

from tokmerge_jax import objects
from tokmerge_jax.config.common import Mesh
from tokmerge_jax.layers.functional import unit
from tokmerge_jax.system import Training, Weights
from tokmerge_jax.training import losses, momentum, optimizer
from tokmerge_jax.training.loop import Report, fit
from tokmerge_jax.training.plan import Plan
from tokmerge_jax.training.run import RunFolder

ROWS = 8
PLAN = Plan(
    steps=10,
    warmup_steps=3,
    batch_size=ROWS,
    learning_rate=0.05,
    min_learning_rate=0.01,
    checkpoint_every=4,
    seed=3,
    schedule="cosine",
    steps_per_epoch=5,
    mesh=Mesh(data=1),
)

OPTIMIZE = partial(optimizer.adamw, weight_decay=0.02)


def loss(params, batch, key, *, train=True):
    """Contrast and matching, negatives drawn over the whole batch, noisy inputs."""
    coins, noise = jax.random.split(key)
    noise = jax.random.normal(noise, batch["video"].shape)
    video = (batch["video"] + noise * train) @ params["video"]["kernel"]
    text = batch["text"] @ params["text"]["kernel"]
    vtc, similarity = losses.contrastive(
        video[:, None], text, batch["match_id"], params["temperature"]
    )
    _, weights = losses.hard_negative_weights(similarity, batch["match_id"])
    other = text[losses.categorical(coins, weights)]
    scores = jnp.concatenate([(video * t).sum(1) for t in (text, other, text[::-1])])
    logits = jnp.stack([-scores, scores], axis=1) + params["head"]["bias"][None]
    vtm = losses.matching(logits)
    return vtc + vtm, {"vtc": vtc, "vtm": vtm}


def remembering_loss(params, state, batch, key, epoch, *, train=True):
    """Contrast with slow copies and queues, noisy inputs."""
    noise = jax.random.normal(key, batch["video"].shape) * train
    inputs = {"video": batch["video"] + noise, "text": batch["text"]}

    def embed(params):
        return [unit(x @ params[name]["kernel"]) for name, x in inputs.items()]

    state = momentum.follow(state, params)
    video, text = embed(params)
    slow_video, slow_text = embed(state.params)
    ids, share = batch["match_id"], momentum.ramp(0.4, epoch, 1.0)
    how = {"match_id": ids, "temperature": params["temperature"], "alpha": share}
    value = momentum.contrast(state, video, text, slow_video, slow_text, **how)
    return value, {"share": share}, momentum.push(state, slow_video, slow_text, ids)


def remember(params, key):
    return momentum.begin({name: params[name] for name in ("video", "text")}, 4, 3 * ROWS, key)


def initial():
    rng = np.random.default_rng(0)
    video, text = jnp.asarray(rng.standard_normal((2, 6, 4), np.float32))
    return {
        "video": {"kernel": video},
        "text": {"kernel": text},
        "head": {"bias": jnp.zeros(2)},
        "temperature": jnp.float32(0.07),
    }


def batches(start, pause=0.0):
    step = start
    while True:
        rng = np.random.default_rng([7, step])
        time.sleep(pause)
        yield {
            "video": rng.standard_normal((ROWS, 6), np.float32),
            "text": rng.standard_normal((ROWS, 6), np.float32),
            "match_id": rng.permutation(ROWS).astype(np.int32) // 2,
        }
        step += 1


def train(
    folder,
    plan=PLAN,
    *,
    devices=1,
    fsdp=1,
    source=batches,
    start=initial,
    objective=loss,
    trials=None,
    **how,
) -> Report:
    training = Training(objective, small_system.collate, OPTIMIZE, **how)
    weights = Weights(lambda key: initial(), ())
    system = small_system.system_of(weights, training)
    settings = {"seed": plan.seed, "lr": plan.learning_rate}
    run = RunFolder(objects.place(str(folder)), settings, keep=2)
    plan = dataclasses.replace(plan, mesh=Mesh(data=devices, fsdp=fsdp))

    def own_rows(step, own):
        return ({name: rows[own] for name, rows in batch.items()} for batch in source(step))

    return fit(system, own_rows, plan, run, initial=start, trials=trials)


if __name__ == "__main__":
    _, to, steps, seconds = sys.argv
    train(
        to,
        dataclasses.replace(PLAN, steps=int(steps)),
        source=partial(batches, pause=float(seconds)),
    )
