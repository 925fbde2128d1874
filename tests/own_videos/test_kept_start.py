"""Searches whose next process traces nothing; which commands start so."""

import dataclasses
import subprocess
import sys

import jax
import pytest

from tokmerge_jax import checkpoints, parallel, registry
from tokmerge_jax.configs import demo
from tokmerge_jax.own_videos.search import Searcher, index_videos
from tokmerge_jax.system import Matching, Retrieval
from tokmerge_jax.tasks import kept, preparation

CACHE = "jax_compilation_cache_dir"
CONFIG = demo.get_config().override(
    {
        "dtype": "float32",
        "model.vision": {"width": 16, "depth": 2, "heads": 2, "image_size": 32, "frames": 2},
        "model.text": {"width": 16, "depth": 2, "heads": 2, "mlp_width": 16, "fusion_layer": 1},
        "model.embed_dim": 8,
        "model.merger.r": (2, 1),
        "eval.batch_size": 2,
        "data.workers": 0,
    }
)
TEXTS = ["a small red square moves left", "a large white cross moves up"]


def never(*arrays, **named):
    raise AssertionError("traced again")


def untraceable(config):
    """Builds a system that reads what is kept, and that no process can trace."""
    system = registry.build(config)
    weights = dataclasses.replace(system.weights, init=never)
    retrieval = dataclasses.replace(
        system.task(Retrieval),
        encode_video=never,
        encode_text=never,
        matching=Matching(video_memory=never, match=never),
    )
    changed = dataclasses.replace(
        system, weights=weights, retrieval=retrieval, multiple_choice=None
    )
    return kept.recall(changed)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The configuration, with weights, of a process that keeps what it traces."""
    system, one = registry.build(CONFIG), parallel.make_mesh(1)
    params = jax.jit(system.weights.init)(jax.random.key(0))
    checkpoints.save_checkpoint(tmp_path / "weights", params, system)
    preparation.draw_clips(str(tmp_path / "clips"), 3)
    monkeypatch.setattr(kept, "_SETTLED", -1e9)
    monkeypatch.setattr(kept, "_OURS", "")
    monkeypatch.setattr(parallel, "make_mesh", lambda *shape, **named: one)
    before = jax.config.values[CACHE]
    jax.config.update(CACHE, str(tmp_path / "cache"))
    yield CONFIG.override({"checkpoint": str(tmp_path / "weights")})
    jax.config.update(CACHE, before)


@pytest.mark.slow
def test_the_next_search_traces_nothing(config, tmp_path):
    """It finds what one finds that traces everything, with the same numbers."""
    clips, target, traced = (tmp_path / name for name in ("clips", "index", "traced_index"))
    index_videos(config, clips, target, build=kept.build)
    hits = Searcher(target, kept.build)(TEXTS)
    assert all(hit.score is not None for hits_of_text in hits for hit in hits_of_text)
    whole = {file: file.read_bytes() for file in (tmp_path / "cache" / "traced").iterdir()}
    assert (
        len(whole) == 6
    )  # shapes, videos one by one and in pairs, texts, the head's two functions
    again = tmp_path / "again"
    index_videos(config, clips, again, build=untraceable)
    assert Searcher(again, untraceable)(TEXTS) == hits
    index_videos(config, clips, traced)
    assert Searcher(traced)(TEXTS) == hits
    for file in whole:
        file.write_bytes(b"damaged")
    assert Searcher(target, kept.build)(TEXTS) == hits
    written = {file for file in whole if file.read_bytes() == whole[file]}
    assert len(written) == 5  # a search encodes no pairs of videos


_START = """
import os
from tokmerge_jax import commands
from tokmerge_jax.tasks import kept

def build(config):
    print("read", config.system, flush=True)
    os._exit(0)

kept.build = build
commands.main()
"""
STARTS = {
    "eval --config demo": "vid_tldr",
    "classify --config demo_moves clips": "vid_tldr_recognition",
    "caption --config testa_pretrain clips": "testa_pretrain",
    "search index --config demo --videos clips --index new": "vid_tldr",
    "search query --index index cross": "vid_tldr",
    "search like --index index clips/00000.mp4": "vid_tldr",
    "serve --index index --port 0": "vid_tldr",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of clips, and of their index."""
    folder = tmp_path_factory.mktemp("made")
    preparation.draw_clips(str(folder / "clips"), 1)
    config = demo.get_config().override({"data.workers": 0})
    index_videos(config, folder / "clips", folder / "index")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", STARTS)
def test_these_commands_read_what_is_kept(made, command):
    begun = [sys.executable, "-c", _START, *command.split()]
    ended = subprocess.run(begun, cwd=made, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, f"read {STARTS[command]}\n"), ended.stderr
