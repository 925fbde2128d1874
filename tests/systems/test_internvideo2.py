"""InternVideo2-CLIP's system: costs, every merger in it, traces, pixels, refusals, whole jobs."""

import functools
from dataclasses import replace

import golden
import internvideo2_case
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_jobs

import tokmerge_jax
from tokmerge_jax import demo_files
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import clip, internvideo2
from tokmerge_jax.systems.internvideo2 import InternVideo2Tower
from tokmerge_jax.types import UserError

CASE = golden.load("internvideo2-tiny")
SIZES = {"s14": internvideo2.S14, "b14": internvideo2.Model(), "l14": internvideo2.L14}
VID_TLDR = {"s14": (512, 176, 88), "b14": (512, 176, 88), "l14": (480, 352)}
GMAC = {  # of the reference: plain; by vid-TLDR, ToMe of r 65 and of r 100 with the tokens left
    "s14": (83.3, (47.4, 1273), (63.2, 1269), (53.4, 849)),
    "b14": (254.8, (151.8, 1273), (196.6, 1269), (167.7, 849)),
    "l14": (830.7, (461.3, 1217), (476.2, 489), (326.1, None)),
}
FRAMES = {  # GMAC without merging for 1, 4 and 16 frames
    "s14": (6.2, 32.0, 243.8),
    "b14": (23.5, 108.1, 664.1),
    "l14": (81.6, 364.0, 2073.4),
}


def tower(size="b14", **changes):
    config = internvideo2.Retrieval(model=SIZES[size])
    return InternVideo2Tower(config.override({"model": changes}))


def gmac(tower):
    return tower.merging.gmac


@pytest.mark.parametrize("size", GMAC)
def test_costs_are_the_reference_s(size):
    plain, *merged = GMAC[size]
    assert gmac(tower(size)) == pytest.approx(plain, abs=0.051)
    schedules = (("vid_tldr", VID_TLDR[size]), ("tome", 65), ("tome", 100))
    for (name, r), (cost, left) in zip(schedules, merged, strict=True):
        if left:  # the reference lets the last merge be smaller than asked for
            layers = tower(size, merger={"name": name, "r": r})
            assert layers.merging.cost[-1].tokens_out == left
            assert gmac(layers) == pytest.approx(cost, abs=0.051)
    for frames, cost in zip((1, 4, 16), FRAMES[size], strict=True):
        assert gmac(tower(size, vision={"frames": frames})) == pytest.approx(cost, abs=0.051)


@functools.cache
def shapes():
    """The shapes of the small golden's parameters, which no merger changes."""
    return tokmerge_jax.build(internvideo2_case.config_of(CASE)).weights.shapes["vision"]


@pytest.mark.parametrize("name", ["tome", "shift", "unchanged"])  # one for each place
def test_a_merger_shortens_its_video(name):
    """The shape of the tokens that are left; r of 0 is the plain network itself."""
    r = 9 if name.startswith("unchanged") else (5, 4, 0)
    changes = {"merger.name": name, "merger.r": r}
    small = InternVideo2Tower(internvideo2_case.config_of(CASE, **changes))
    video = jax.ShapeDtypeStruct((1, 4, 56, 56, 3), jnp.float32)
    apply = jax.jit(small.network.apply)
    x = jax.eval_shape(lambda p, v: apply({"params": p}, v).x, shapes(), video)
    assert x.shape == (1, 65 - 9, 48)
    assert small.merging.cost[-1].tokens_out == 65 - 9
    plain = tower(merger={"name": "none"}).network
    assert tower(merger={"name": name, "r": 0}).network == plain
    assert tower(merger={"name": name, "r": 2}).network != plain


def test_a_still_clip_is_its_first_frame_and_the_class_token():
    """The patches of the frames after it, which equal it, are dropped before the first block."""
    changes = {"merger.name": "unchanged", "merger.r": 48}
    system, params = internvideo2_case.system_of(CASE, **changes)
    video = np.repeat(internvideo2_case.videos(CASE)[:, :1], 4, axis=1)
    vision, block = system.network.vision, dict(params["vision"]["block_0"])
    block |= {name: np.zeros(48, np.float32) for name in ("attention_scale", "mlp_scale")}
    dropped, every = (  # by one block that changes nothing
        jax.jit(vision.clone(mergers=(merger,)).apply)(
            {"params": {**params["vision"], "block_0": block}}, video
        ).x
        for merger in (vision.mergers[0], None)
    )
    assert every.shape == (2, 65, 48)
    np.testing.assert_array_equal(dropped, every[:, :17])


@pytest.mark.slow
def test_a_trace_follows_every_patch():
    config = internvideo2_case.config_of(CASE, **{"merger.name": "vid_tldr", "merger.r": (9, 4, 0)})
    system = tokmerge_jax.build(config)
    params = golden.parameters(system, CASE.weights())
    video = np.random.default_rng(0).integers(0, 256, (1, 4, 56, 56, 3), np.uint8)
    assert system.trace_video
    trace = jax.jit(system.trace_video)(params, video)
    assert [origin.shape for origin in trace["origin"]] == [(1, 64)] * 2  # no class token
    assert trace["start"][0].tolist() == list(range(1, 65))
    assert [len(s[0]) for s in trace["saliency"]] == [65, 56]
    assert [size.shape for size in trace["size"]] == [(1, 56), (1, 52)]
    assert trace["origin"][-1].max() < 52


def test_pixels():
    """ImageNet's constants; the resize can be antialiased, and training crops."""
    pixels = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1, 1).repeat(3, -1)
    ours = tower().normalise(pixels)[0, 0, :, 0]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(ours, [-mean / std, (1 - mean) / std], atol=1e-6)
    config = internvideo2.Retrieval().override({"data.antialias": True, "train.augment": False})
    pixels = InternVideo2Tower(config).pixels
    assert pixels.transform.antialias
    assert pixels.augment == pixels.transform
    assert not tower().pixels.transform.antialias


def test_what_is_trained_is_what_the_original_trains():
    system = tokmerge_jax.build(internvideo2_case.config_of(CASE))
    assert system.training
    patterns = system.training.trainable
    names = {name.split("/")[0] for name in rules.flatten(system.weights.shapes)}
    assert names == {"vision", "text", "text_projection"} | {p.strip("^/$") for p in patterns}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"merger.name": "prune_frames"}, "acts at 'time', and here mergers are called"),
        ({"merger.name": "tempme"}, "'tempme' is unknown; use"),
        ({"merger.name": "tome", "merger.r": (33,)}, "at most 32 can merge"),
        ({"merger.name": "unchanged", "merger.r": (49,)}, "at most 48 can merge"),
        ({"vision.width": 40, "vision.heads": 4}, "must be a multiple of 16"),
        ({"pool_heads": 5}, "must be a multiple of config.model.pool_heads=5"),
        ({"activation": "quick_gelu"}, "unknown; use gelu_tanh, gelu"),
    ],
)
def test_refusals(changes, says):
    with pytest.raises(UserError, match=says):
        tokmerge_jax.build(internvideo2_case.config_of(CASE, **changes))


@pytest.mark.slow
def test_whole_jobs_on_a_few_clips(tmp_path):
    """Random weights: evaluation, search of videos, conversion and the loss run."""
    config = internvideo2.Retrieval(
        model=internvideo2.Model(
            vision=internvideo2.Vision(
                width=32, depth=2, heads=2, image_size=28, frames=4, table_frames=4, grid=2
            ),
            text=replace(clip.Text(), width=32, depth=1, heads=1, vocab_size=578),
            pool_heads=4,
            pool_width=24,
            embed_dim=16,
            merger=internvideo2.Merger(name="vid_tldr", r=3),
        ),
        data=internvideo2.Data(vocabulary=demo_files.path("demo_bpe.txt")),
        eval=internvideo2.RetrievalOptions(dual_softmax=1.0),
    )
    scale = "vision_encoder.blocks.1.ls2.gamma"
    system, params = small_jobs.run(tmp_path, config, "one.safetensors", scale)
    assert system.training
    assert system.retrieval
    ids, _ = system.retrieval.tokenize(small_jobs.CAPTIONS)
    batch = {"video": np.zeros((4, 4, 28, 28, 3), np.uint8), "text_ids": ids}
    loss, _ = jax.jit(system.training.loss)(params, batch, jax.random.key(0))
    assert np.log(4) <= loss < 100  # four equal videos
