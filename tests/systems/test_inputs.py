"""Frames and texts that a system would misread are refused, by shape and type alone."""

import functools
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import ShapeDtypeStruct as Shape

import tokmerge_jax
from tokmerge_jax.config import expect
from tokmerge_jax.config.common import TextModel
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import UserError

CONFIGS = (
    "demo",
    "demo_clip",
    "demo_qa",
    "demo_tdsclip",
    "demo_tempme",
    "demo_testa",
    "testa_anet_qa_f32",
    "testa_pretrain",
    "umt_k400_b16",
)
CLASSIFIERS = ("demo_tdsclip", "umt_k400_b16")
OF_VIDEOS = {
    "caption": ("testa_pretrain",),
    "classify": CLASSIFIERS,
    "encode_video": tuple(name for name in CONFIGS if name not in CLASSIFIERS),
    "trace_video": CONFIGS,
}
VIDEOS = [(name, function) for function, names in OF_VIDEOS.items() for name in names]
OF_TEXTS = {
    "encode_text": ("demo", "demo_clip", "demo_tempme", "demo_testa", "testa_pretrain"),
    "read": ("demo_qa", "testa_anet_qa_f32"),
}
TEXTS = [(name, function) for function, names in OF_TEXTS.items() for name in names]


@functools.cache
def build(name):
    config = importlib.import_module(f"tokmerge_jax.configs.{name}").get_config()
    if not name.startswith("demo"):
        depths = {"model.vision.depth": 1, "model.text.depth": 1}
        known = {key: depth for key, depth in depths.items() if key in config.keys}
        config = config.override({**known, "model.merger.name": "none"})
    return tokmerge_jax.build(config)


def clip(system, function, **changes):
    """The shape and type of two clips."""
    vision, data = system.config.model.vision, system.config.data
    frames = vision.frames * (data.neighbours if function == "classify" else 1)
    size = vision.image_size
    known = {"batch": (2,), "frames": frames, "height": size, "width": size, "channels": 3}
    dtype = changes.pop("dtype", np.uint8)
    batch, *axes = {**known, **changes}.values()
    return Shape((*batch, *axes), dtype)


def called(system, name):
    """The system's function of that name, in whatever record it is."""
    tasks = system, system.retrieval, system.answering, system.recognition, system.captioning
    return next(filter(None, (getattr(task, name, None) for task in tasks)))


def run(system, function, *arrays):
    return jax.eval_shape(called(system, function), system.weights.shapes, *arrays)


@pytest.mark.parametrize("wrong", [
    {"dtype": np.float32}, {"dtype": np.float16}, {"dtype": np.int32}, {"dtype": np.int8},
    {"frames": 1}, {"frames": 7}, {"height": 50}, {"width": 50}, {"height": 50, "width": 50},
    {"channels": 1}, {"channels": 4}, {"batch": ()}, {"batch": (1, 2)},
], ids=str)  # fmt: skip
@pytest.mark.parametrize(("name", "function"), VIDEOS)
def test_frames_that_would_be_misread(name, function, wrong):
    system = build(name)
    given = clip(system, function, **wrong)
    shape = ",".join(map(str, given.shape))
    right = clip(system, function).shape[2:]
    says = rf"^{function} reads uint8 frames \[B,.*,{','.join(map(str, right))}\], and was given "
    with pytest.raises(UserError, match=says + re.escape(f"{given.dtype} [{shape}]; resize")):
        run(system, function, given)


@pytest.mark.parametrize(("name", "function"), [
    ("demo", "encode_video"), ("demo_clip", "trace_video"), ("demo_testa", "encode_video"),
])  # fmt: skip
def test_frames_of_the_configuration_are_read(name, function):
    run(build(name), function, clip(build(name), function))


@pytest.mark.parametrize(("name", "classes"), [*zip(CLASSIFIERS, (10, 400), strict=True)])
def test_classify_reads_any_number_of_views(name, classes):
    system = build(name)
    frames = clip(system, "classify").shape[1]
    logits = run(system, "classify", clip(system, "classify", frames=3 * frames))
    assert logits.shape == (2, 3, classes)
    with pytest.raises(UserError, match=r"was given uint8 \[2,0,"):
        run(system, "classify", clip(system, "classify", frames=0))


def texts(function, length=4, ids=jnp.int32, mask=jnp.bool_, more=0):
    axes = (2, 3, length) if function == "read" else (2, length)
    return Shape(axes, ids), Shape((*axes[:-1], length + more), mask)


@pytest.mark.parametrize("wrong", [
    {"ids": jnp.float32}, {"ids": jnp.bool_}, {"mask": jnp.int32}, {"mask": jnp.float32},
    {"length": 0}, {"length": 10**6}, {"more": 1},
], ids=str)  # fmt: skip
@pytest.mark.parametrize(("name", "function"), TEXTS)
def test_texts_that_would_be_misread(name, function, wrong):
    before = ({},) if function == "read" else ()
    with pytest.raises(UserError, match=rf"^{function} reads integers and a bool mask \[B,.*L\]"):
        jax.eval_shape(called(build(name), function), {}, *before, *texts(function, **wrong))


@pytest.mark.parametrize("function", ["encode_text", "read"])
def test_axes_of_texts(function):
    other = {"encode_text": "read", "read": "encode_text"}[function]
    name, before = {"encode_text": ("demo", ()), "read": ("demo_qa", ({},))}[function]
    with pytest.raises(UserError, match=rf"^{function} reads"):
        jax.eval_shape(called(build(name), function), {}, *before, *texts(other))


@pytest.mark.parametrize("name", ["demo", "demo_clip"])
def test_texts_as_long_as_the_table_of_positions_are_read(name):
    system = build(name)
    model = expect(system.config.model, TextModel)
    longest = model.text.max_positions
    features = run(system, "encode_text", *texts("encode_text", longest))
    assert features["embedding"].shape == (2, 128)


def test_whoever_says_so_may_pass_normalised_pixels():
    system = unchecked(build("demo_clip"))
    video = clip(system, "encode_video", dtype=np.float32)
    assert system.retrieval
    shapes = jax.eval_shape(system.retrieval.encode_video, system.weights.shapes, video=video)
    assert shapes["embedding"].shape == (2, 1, 128)
