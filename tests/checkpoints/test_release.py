"""Folders for the Hub: written, pushed to a server on loopback, read back; numbers of weights."""

import json
import pathlib

import jax
import numpy as np
import pytest
import script
import small_hub
from safetensors.numpy import load_file

import tokmerge_jax
from tokmerge_jax import checkpoints, registry
from tokmerge_jax.checkpoints import known, rules
from tokmerge_jax.config import expect, files
from tokmerge_jax.config.common import TextData
from tokmerge_jax.tasks import check as checks
from tokmerge_jax.tasks import release
from tokmerge_jax.types import UserError

CONFIG = files.load("demo")
SYSTEM = registry.build(CONFIG)
PARAMS = checkpoints.load_checkpoint(CONFIG.checkpoint, SYSTEM)
DEMO = checks.Check(-0.090214738838086, -0.3402485)  # on a CPU, JAX 0.10.2


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """The demo's weights as a folder, and the server that they were pushed to."""
    place = tmp_path_factory.mktemp("release")
    with small_hub.serving(small_hub.Hub("me/net", {})) as server:
        there = {
            "HF_ENDPOINT": server.address,
            "HF_TOKEN": "hf_x",
            "HF_HUB_CACHE": str(place / "h"),
        }
        options = (f"--source={CONFIG.checkpoint}", f"--target={place / 'card'}", "--license=mit")
        run = script.run("convert", "--config=demo", *options, "--push=me/net", **there)
        assert run.returncode == 0, run.stderr
        yield place / "card", server, run


def test_a_folder_is_written_and_pushed(pushed):
    folder, server, run = pushed
    names = ["README.md", "config.json", "demo_vocab.txt", "model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert {name: (folder / name).read_bytes() for name in names} == server.files
    assert f"Wrote {folder}; pushed: {server.address}/me/net/commit/" in run.stdout
    original = checkpoints.to_torch(SYSTEM, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, load_file(folder / "model.safetensors"), original)
    about = json.loads((folder / "config.json").read_text())
    assert about["config"]["checkpoint"] == ""
    assert about["config"]["data"]["vocabulary"] == "demo_vocab.txt"
    assert str(pathlib.Path(CONFIG.checkpoint).parent) not in (folder / "config.json").read_text()


def test_the_card_says_what_the_weights_are():
    text = release.card("msrvtt_b16", checks.Check(1.25, 0.5), "mit")
    assert text.startswith("---\nlibrary_name: tokmerge_jax\nlicense: mit\n")
    assert "Protocol: test1k split, one caption per video;" in text
    assert (
        "| T2V R@1 | 51.0 | OpenGVLab/unmasked_teacher, MODEL_ZOO.md | model.merger.name=none |"
        in text
    )
    assert "gives 1.25 (weights), 0.5 (outputs)" in text


def test_load_reads_a_folder_with_its_configuration(pushed):
    folder, *_ = pushed
    model = tokmerge_jax.load(str(folder), {"model.merger.r": (50, 30)})
    config = model.system.config
    assert expect(config.data, TextData).vocabulary == str(folder / "demo_vocab.txt")
    assert config.model.merger.r == (50, 30)
    assert config.override({"checkpoint": "", "data.vocabulary": "", "model.merger.r": 0}) == (
        CONFIG.resolved().override({"checkpoint": "", "data.vocabulary": "", "model.merger.r": 0})
    )
    jax.tree.map(np.testing.assert_array_equal, model.params, PARAMS)


@pytest.mark.slow
def test_load_reads_what_was_pushed_back_from_the_hub(pushed, tmp_path, monkeypatch):
    """Every file comes from the server, and the outputs are those of the original weights."""
    from huggingface_hub import constants, hf_api

    _, server, _ = pushed
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hf_api.api, "endpoint", server.address)
    model, original = tokmerge_jax.load("hf://me/net"), tokmerge_jax.load("demo")
    config = expect(model.system.config.data, TextData)
    assert pathlib.Path(config.vocabulary).is_relative_to(tmp_path)
    video = np.random.default_rng(0).integers(256, size=(1, 8, 96, 96, 3), dtype=np.uint8)
    texts = ["a small red cross moves up"]
    for encode, inputs in (("encode_video", video), ("encode_text", texts)):
        here, there = (getattr(each, encode)(inputs) for each in (original, model))
        jax.tree.map(np.testing.assert_array_equal, here, there)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no configuration of tokmerge_jax"),
        ('{"model_type": "clip"}', r"was not written by `tokmerge convert --push`"),
        ('{"library_name": "tokmerge_jax", "config": {"system": "demo"}}', "'demo' is unknown"),
    ],
)
def test_another_configuration_is_refused(tmp_path, content, says):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{tmp_path}: its config.json .*{says}.*name a config"):
        tokmerge_jax.load(str(tmp_path))


def test_a_push_that_fails_keeps_the_folder(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(UserError, match=rf"is complete: push it by `hf upload me/net {tmp_path}`"):
        release.push(tmp_path, "me/net")


def test_the_numbers_of_the_demo_are_those_of_another_machine():
    assert checks.check(CONFIG, PARAMS).agrees(DEMO)


@pytest.mark.parametrize("damage", ["one value", "two layers", "a scale"])
def test_other_weights_have_other_numbers(damage):
    flat = dict(rules.flatten(PARAMS))
    first, second = (next(n for n in flat if f"block_{i}/" in n and "kernel" in n) for i in (0, 1))
    if damage == "two layers":
        flat[first], flat[second] = flat[second], flat[first]
    else:
        wrong = np.array(flat[first])
        wrong[(0,) * wrong.ndim] += 1e-3 if damage == "one value" else 0
        flat[first] = wrong * (1.001 if damage == "a scale" else 1)
    numbers = checks._signed(leaf for _, leaf in sorted(flat.items()))
    assert not checks.Check(numbers, DEMO.outputs).agrees(DEMO)


def test_known_weights_must_have_the_numbers_of_the_table(monkeypatch):
    entry = known.Known("hf://me/net/a.pth", "demo", "MIT", "a test", check=tuple(DEMO))
    monkeypatch.setitem(known.KNOWN, "mine", entry)
    for name in ("hub:mine", "hub:umt_b16", "mine"):
        checks.confirm(DEMO, name)
    with pytest.raises(UserError, match=r"but hub:mine has .*download it again"):
        checks.confirm(DEMO._replace(weights=0.5), "hub:mine")
    checks.confirm(DEMO._replace(weights=0.5), "mine")


def test_the_outputs_count_as_well():
    assert not DEMO._replace(outputs=DEMO.outputs + 0.01).agrees(DEMO)
    assert DEMO._replace(outputs=DEMO.outputs + 0.0005).agrees(DEMO)


@pytest.mark.slow
def test_convert_reports_the_numbers(tmp_path):
    options = (f"--source={CONFIG.checkpoint}", f"--target={tmp_path / 'new'}", "--check")
    run = script.run("convert", "--config=demo", *options)
    assert run.returncode == 0, run.stderr
    weights, outputs = (float(word) for word in run.stdout.split() if word.startswith("-0."))
    assert checks.Check(weights, outputs)._replace(weights=DEMO.weights).agrees(DEMO)
    assert weights == pytest.approx(DEMO.weights, abs=1e-9)
