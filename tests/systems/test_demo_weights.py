"""The demo's trained weights: what they can do, and that bfloat16 changes next to nothing."""

import functools
import importlib
import os

import jax
import numpy as np
import pytest

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.configs import demo, demo_clip, demo_moves, demo_tempme, demo_testa
from tokmerge_jax.data.datasets.demo import moves, scene

STORIES = scene.test_stories(24)


@functools.cache
def embeddings(name, dtype="float32", merger=None):
    """Directions of some test clips and of their captions, by a demo's network."""
    module, _, variant = name.partition(":")
    config = importlib.import_module(f"tokmerge_jax.configs.{module}").get_config(
        *filter(None, [variant])
    )
    merger = merger or config.model.merger.name
    config = config.override({"dtype": dtype, "model.merger.name": merger})
    system = tokmerge_jax.build(config)
    params = checkpoints.load_checkpoint(config.checkpoint, system)
    # the sampled frames, drawn anew: no video file between
    clips = [scene.draw(story, (9, i)) for i, story in enumerate(STORIES)]
    assert system.retrieval
    video = jax.jit(system.retrieval.encode_video)(params, np.stack(clips)[:, ::2])["embedding"]
    ids = system.retrieval.tokenize([scene.caption(story) for story in STORIES])
    text = jax.jit(system.retrieval.encode_text)(params, *ids)["embedding"]
    return np.asarray(video[:, 0], np.float32), np.asarray(text, np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("merger", ["none", "vid_tldr"])
def test_bfloat16_agrees_with_float32(merger):
    exact, rounded = (embeddings("demo", dtype, merger) for dtype in ("float32", "bfloat16"))
    for ours, reference in zip(rounded, exact, strict=True):
        assert (ours * reference).sum(axis=-1).min() >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("merger", ["none", "vid_tldr"])
@pytest.mark.parametrize(("name", "least"), [("demo", 0.6), ("demo:plain", 0.85)])
def test_texts_find_clips_never_seen(name, least, merger):
    video, text = embeddings(name, "float32", merger)
    best = (text @ video.T).argsort(axis=1)[:, ::-1]
    right = np.arange(len(STORIES))
    assert (best[:, 0] == right).mean() > least
    # a story and its reverse differ in nothing but the order of events
    assert (best[:, :2] == right[:, None]).any(axis=1).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("merger", ["none", "vid_tldr"])
def test_movements_never_seen_are_recognised(merger):
    config = demo_moves.get_config().override({"model.merger.name": merger})
    system = tokmerge_jax.build(config)
    params = checkpoints.load_checkpoint(config.checkpoint, system)
    assert system.recognition
    stories = moves.stories("test")[:48]
    clips = [moves.draw(story, (9, i)) for i, story in enumerate(stories)]
    video = np.stack([clip[:: len(clip) // 8] for clip in clips])
    logits = np.asarray(jax.jit(system.recognition.classify)(params, video))[:, 0]
    right = logits.argmax(axis=1) == [moves.action(story) for story in stories]
    one_event = np.array([len(story) == 1 for story in stories])
    assert right[one_event].mean() > 0.8  # chance: a quarter
    assert right[~one_event].mean() > 0.4  # chance: a sixteenth


@pytest.mark.parametrize(("config", "most"), [(demo, 8e6), (demo_moves, 2e6), (demo_testa, 2e6)])
def test_weights_are_small(config, most):
    assert os.path.getsize(config.get_config().checkpoint) < most


@pytest.mark.slow
@pytest.mark.parametrize("config", [demo_clip, demo_tempme])
def test_frames_of_clip_find_the_events_of_a_clip(config):
    """Their mean tells which events there are; only TempMe, whose frames join, which came first."""
    video, text = embeddings(config.__name__.removeprefix("tokmerge_jax.configs."))
    best = (text @ video.T).argsort(axis=1)[:, ::-1]
    right = np.arange(len(STORIES))
    assert (best[:, :2] == right[:, None]).any(axis=1).mean() > 0.9
    assert ((best[:, 0] == right).mean() > 0.7) == (config is demo_tempme)
    assert os.path.getsize(config.get_config().checkpoint) < 5e6


def test_tempme_is_the_demos_clip_but_for_what_it_trains():
    """LoRA and positions alone have moved from the checkpoint that training began with."""
    clip, tuned = (
        rules.flatten(checkpoints.load_checkpoint(c.checkpoint, tokmerge_jax.build(c)))
        for c in (demo_clip.get_config(), demo_tempme.get_config())
    )
    assert {n for n in tuned if n not in clip} == {
        n for n in tuned if "/lora/" in n or n.endswith("_positions")
    }
    for name, values in clip.items():
        np.testing.assert_array_equal(tuned[name], values, err_msg=name)
