"""Exported functions: equal to the model's own for any number of rows, without this package."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import types
from unittest import mock

import jax
import numpy as np
import pytest

import tokmerge_jax
from tokmerge_jax.evaluation.answers import Answers
from tokmerge_jax.tasks import export, exported
from tokmerge_jax.tasks.programs import programs
from tokmerge_jax.types import UserError

WORDS = 48
TEXT = {"width": 32, "depth": 2, "heads": 2, "vocab_size": WORDS}
BERT = {**TEXT, "mlp_width": 32}
SIDE = {"depth": 2, "heads": 2, "image_size": 32}
UMT = {
    "vision": {"width": 32, "frames": 2, **SIDE},
    "text": {**BERT, "fusion_layer": 1},
    "merger": {"r": (3, 2)},
}
TESTA = {
    "vision": {"width": 32, "frames": 4, **SIDE},
    "text": BERT,
    "merger": {"name": "testa", "frames": (1, 1), "r": (1, 0)},
}
CLIP = {
    "vision": {"width": 64, "frames": 4, **SIDE, "patch_size": 16},
    "text": {**TEXT, "width": 64},
    "merger": {"r": (1, 1)},
}
EMBED = {"embed_dim": 16}
SMALL = {
    "msrvtt_b16": UMT | EMBED,
    "msrvtt_qa_b16": UMT,
    "testa_didemo_f32": TESTA | EMBED,
    "testa_anet_qa_f32": TESTA,
    "testa_pretrain": TESTA | EMBED | {"merger": {"name": "none"}},
    "clip_msrvtt_b32": CLIP | EMBED | {"merger": {"name": "tome", "r": (1, 1)}},
    "tempme_msrvtt_b32": CLIP
    | EMBED
    | {"merger": {"r": 1}, "join": {"layers": (1,), "clips": (2,)}},
    "pe_core_msrvtt_b16": CLIP
    | EMBED
    | {
        "vision": {**CLIP["vision"], "mlp_width": 64, "grid": 2},
        "merger": {"name": "tome_rotated", "r": (1, 1)},
    },
    "internvideo2_msrvtt_b14": EMBED
    | {
        "vision": {
            **UMT["vision"], "image_size": 28, "patch_size": 14, "grid": 2, "table_frames": 2
        },
        "text": TEXT,
        "pool_heads": 4,
        "pool_width": 24,
        "merger": {"name": "vid_tldr", "r": (2, 1)},
    },
    "videoprism_msrvtt_b18": {
        "vision": {
            **UMT["vision"], "patch_size": 8, "mlp_width": 64, "grid": 4, "table_frames": 2,
            "temporal_depth": 1, "auxiliary_depth": 1,
        },
        "text": TEXT,
        "merger": {"name": "tome", "r": (3, 2)},
    },
    "tdsclip_tome_ssv2_b16": {"vision": CLIP["vision"], "merger": {"r": (1, 1)}},
    "umt_ssv2_b16": {"vision": UMT["vision"], "merger": {"r": (3, 2)}},
}  # fmt: skip
"""Configuration -> small sizes, so that every system and way of merging is there."""

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")


def small(name, folder, **changes):
    """A small system and random parameters; its vocabulary is written to the folder."""
    words = [*SPECIAL, *(f"word{i}" for i in range(len(SPECIAL), WORDS - 2))]  # [DEC], [ENC] follow
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    config = tokmerge_jax.configuration(name, {"model": SMALL[name], "dtype": "float32", **changes})
    if "data.vocabulary" in config.keys:
        config = config.override({"data.vocabulary": str(folder / "vocab.txt")})
    system = tokmerge_jax.build(config)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        return rng.normal(path[-1].key in ("scale", "var"), 0.2, leaf.shape).astype(np.float32)

    return system, jax.tree_util.tree_map_with_path(draw, system.weights.shapes)


def arrays(program, rows, seed=0):
    """Random rows of what a program reads; texts begin with a few words."""
    rng = np.random.default_rng(seed)

    def draw(row):
        shape = (rows, *row.shape)
        if row.dtype == np.bool_:
            return np.arange(row.shape[0]) < rng.integers(2, 7, (rows, 1))
        if row.dtype == np.float32:
            return rng.standard_normal(shape, np.float32)
        return rng.integers(256 if row.dtype == np.uint8 else WORDS, size=shape, dtype=row.dtype)

    return {name: draw(row) for name, row in program.inputs.items()}


def assert_close(got, want):
    """Equal up to the order of sums."""
    assert got.keys() == want.keys()
    for part, x in want.items():
        x = np.asarray(x)
        np.testing.assert_allclose(got[part], x, rtol=1e-5, atol=1e-5 * np.abs(x).max())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for vocabularies."""
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def own(folder):
    """A small system that merges, and its parameters."""
    return small("msrvtt_b16", folder)


@pytest.fixture(scope="module")
def target(folder, own):
    """Its exported functions."""
    system, params = own
    export.export(system, params, folder / "out", name="msrvtt_b16")
    return folder / "out"


ALONE = """
import sys
for package in ("tokmerge_jax", "flax", "safetensors", "einops", "absl", "etils"):
    sys.modules[package] = None  # importing it fails
import numpy as np
sys.path.insert(0, {folder!r})
import load
video = np.load({folder!r} + "/video.npy")
encode = load.load()["encode_video"]
for rows in (3, 1):
    np.savez({folder!r} + f"/{{rows}}", **encode(video=video[:rows]))
try:
    encode(video=video[:, :1])
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_the_loader_needs_jax_alone_and_takes_any_number_of_rows(own, target):
    system, params = own
    program = programs(system)["encode_video"]
    given = arrays(program, 3)
    np.save(target / "video.npy", given["video"])
    code = ALONE.format(folder=str(target))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Shape mismatch for kwargs['video'].shape[1]" in done.stdout
    want = jax.jit(program.function)(params, **given)
    for rows in (3, 1):
        with np.load(target / f"{rows}.npz") as got:
            assert_close(dict(got), {name: x[:rows] for name, x in want.items()})


def test_the_description(own, target):
    about = json.loads((target / "export.json").read_text())
    system, _ = own
    assert about["gmac"] == sum(layer.macs for layer in system.merging.cost) / 1e9
    assert about["config"]["model"]["merger"]["r"] == [3, 2]
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    assert about["versions"]["jax"] == jax.__version__
    encode, match = (about["functions"][name] for name in ("encode_video", "match"))
    assert encode["inputs"] == {"video": {"shape": ["b", 2, 32, 32, 3], "dtype": "uint8"}}
    assert encode["outputs"]["embedding"] == {"shape": ["b", 1, 16], "dtype": "float32"}
    assert encode["outputs"]["tokens"]["shape"] == ["b", 3, 32]  # of 8, 5 merge
    assert match["inputs"]["text_mask"] == {"shape": ["b", 32], "dtype": "bool"}
    assert match["outputs"] == {"score": {"shape": ["b"], "dtype": "float32"}}


def test_a_file_serves_all_platforms_with_its_weights_and_one_number_of_rows(folder, tmp_path):
    system, params = small("clip_msrvtt_b32", folder)
    export.export(system, params, tmp_path / "out", name="x", batch=2, weights="inside")
    assert not (tmp_path / "out" / "weights.safetensors").exists()
    data = bytearray((tmp_path / "out" / "encode_text.jax_export").read_bytes())
    program = jax.export.deserialize(data)
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [x.shape for x in program.in_avals] == [(2, 32), (2, 32)]
    assert "pallas" not in program.mlir_module()
    encode = exported.load(tmp_path / "out")["encode_text"]
    own = programs(system)["encode_text"]
    given = arrays(own, 2)
    assert_close(encode(**given), jax.jit(own.function)(params, **given))
    with pytest.raises(ValueError, match="text_ids"):
        encode(**arrays(own, 3))


@pytest.mark.parametrize("name", SMALL)
def test_every_system_has_functions(name, folder):
    system, _ = small(name, folder)
    expected = {
        "msrvtt_b16": ["encode_video", "encode_text", "match"],
        "testa_didemo_f32": ["encode_video", "encode_text", "match"],
        "testa_pretrain": ["encode_video", "encode_text", "match", "caption"],
        "msrvtt_qa_b16": ["encode_video", "score_answer"],
        "testa_anet_qa_f32": ["encode_video", "score_answer", "write_answer"],
        "tdsclip_tome_ssv2_b16": ["classify"],
        "umt_ssv2_b16": ["classify"],
    }
    assert [*programs(system)] == expected.get(name, ["encode_video", "encode_text"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "testa_anet_qa_f32",
        "tempme_msrvtt_b32",
        "pe_core_msrvtt_b16",
        "internvideo2_msrvtt_b14",
        "videoprism_msrvtt_b18",
        "tdsclip_tome_ssv2_b16",
        "umt_ssv2_b16",
    ],
)
def test_functions_are_equal_to_those_of_the_system(name, folder, tmp_path):
    system, params = small(name, folder)
    export.export(system, params, tmp_path / "out", name=name)
    loaded = exported.load(tmp_path / "out")
    for each, program in programs(system).items():
        given = arrays(program, 3)
        assert_close(loaded[each](**given), jax.jit(program.function)(params, **given))


@pytest.mark.slow
def test_an_answers_score_is_that_of_the_list(folder):
    """As in the tree of `evaluation.answers`, padding does not count."""
    system, params = small("msrvtt_qa_b16", folder)
    program, answering = programs(system)["score_answer"], system.answering
    assert answering
    given = arrays(program, 1)
    ids = np.zeros((2, given["answer_ids"].shape[1]), np.int32)
    ids[0, :4], ids[1, :3] = (1, 9, 8, 2), (1, 7, 2)
    answers = Answers(ids)
    tree = answers.tree(np.arange(2))

    @jax.jit
    def listed(params, tokens, text_ids, text_mask):
        asked = answering.read(
            params, answering.video_memory(params, tokens), text_ids[:, None], text_mask[:, None]
        )
        parts = {key: x[None] for key, x in vars(tree).items()}
        return answering.next_piece(params, asked, text_mask[:, None], **parts)

    del given["answer_ids"]
    want = answers.log_likelihood(np.arange(2), np.asarray(listed(params, **given))[0])
    twice = {key: np.repeat(x, 2, axis=0) for key, x in given.items()}
    got = jax.jit(program.function)(params, **twice, answer_ids=ids)["log_likelihood"]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_failed_export_leaves_nothing_that_the_next_one_refuses(own, tmp_path, monkeypatch):
    system, params = own
    written = types.SimpleNamespace(serialize=lambda: b"function")
    monkeypatch.setattr(export, "_exported", lambda *_: written)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(export, "_about", mock.Mock(side_effect=[full, {}]))
    target = tmp_path / "out"
    with pytest.raises(UserError, match="make room"):
        export.export(system, params, target, name="x")
    assert not target.exists()
    export.export(system, params, target, name="x")
    assert [*tmp_path.iterdir()] == [target]
    modes = {file.stat().st_mode for file in target.iterdir()}
    assert len(modes) == 1  # others may read the weights, as all files


def test_what_cannot_be_exported_is_one_sentence(own, folder, monkeypatch):
    system, params = own
    with pytest.raises(UserError, match=r"target=.* already exists; remove it or name another"):
        export.export(system, params, folder, name="x")
    monkeypatch.setattr(export, "_LARGEST", 2**10)
    with pytest.raises(UserError, match=r"the weights have 0\.0 GiB.*weights=beside"):
        export.export(system, params, folder / "new", name="x", weights="inside")
    bare = dataclasses.replace(system, retrieval=None, multiple_choice=None)
    with pytest.raises(UserError, match=r"'vid_tldr' has no encoder that can be exported"):
        export.export(bare, params, folder / "new", name="x")
    assert not (folder / "new").exists()
    drawn, _ = small("testa_pretrain", folder, caption={"beams": 1, "top_p": 0.9})
    caption = programs(drawn)["caption"]
    with pytest.raises(UserError, match=r"top_p=0\.9 draws words, which needs keys"):
        jax.eval_shape(caption.by_row, drawn.weights.shapes, **arrays(caption, 1))
