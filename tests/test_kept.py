"""What one process traces and the next one reads: the same numbers, and nothing where in doubt."""

import dataclasses
import errno
import hashlib
import json
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tokmerge_jax
from tokmerge_jax import evaluation, parallel
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import clip
from tokmerge_jax.merging import ToMe
from tokmerge_jax.system import Matching, Retrieval, ZeroShot
from tokmerge_jax.tasks import kept
from tokmerge_jax.types import UserError

CACHE, PROMOTION = "jax_compilation_cache_dir", "jax_numpy_dtype_promotion"
CONFIG = clip.Retrieval(
    dtype="float32",
    model=clip.Model(
        vision=clip.Vision(width=16, depth=1, heads=2, patch_size=8, image_size=32, frames=2),
        text=clip.Text(width=16, depth=1, heads=2, vocab_size=60, max_positions=8),
        embed_dim=8,
        merger=clip.Merger(name="tome", r=2),
    ),
    data=clip.Data(max_text_length=8),
)
VIDEO = np.random.default_rng(0).integers(256, size=(2, 2, 32, 32, 3), dtype=np.uint8)
IDS, MASK = np.arange(16, dtype=np.int32).reshape(2, 8), np.ones((2, 8), bool)
SYSTEM = tokmerge_jax.build(CONFIG)
PARAMS = SYSTEM.weights.init(jax.random.key(0))


def never(*arrays, **named):
    raise AssertionError("traced again")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the files, in a process whose sources and mergers are this package's."""
    monkeypatch.setattr(kept, "_SETTLED", -1e9)
    monkeypatch.setattr(kept, "_OURS", "")
    before = {name: jax.config.values[name] for name in (CACHE, PROMOTION)}
    jax.config.update(CACHE, str(tmp_path))
    yield tmp_path / "traced"
    for name, value in before.items():
        jax.config.update(name, value)


def untraceable(config=CONFIG):
    """A system of the configuration that no process can trace."""
    system = tokmerge_jax.build(config)
    return dataclasses.replace(
        system,
        weights=dataclasses.replace(system.weights, init=never),
        retrieval=dataclasses.replace(
            system.task(Retrieval), encode_video=never, encode_text=never
        ),
        multiple_choice=None,
        zero_shot=None,
    )


def encoded(system, devices=1):
    model = evaluation.Model(PARAMS, parallel.make_mesh(devices))
    retrieval = system.task(Retrieval)
    video = model.compiled(retrieval.encode_video)(VIDEO)
    text = model.compiled(retrieval.encode_text)(IDS, MASK)
    return np.asarray(video["embedding"]), np.asarray(text["embedding"])


def numbers(folder):
    """Shapes of the parameters and both encoders, of an earlier process."""
    assert not folder.exists()
    first = encoded(kept.recall(SYSTEM))
    assert len(list(folder.iterdir())) == 3
    return first


def test_the_next_process_traces_nothing(folder):
    """It has the numbers of one that traces, bit for bit."""
    first = numbers(folder)
    again = kept.recall(untraceable())
    for got, kept_ones, traced in zip(encoded(again), first, encoded(SYSTEM), strict=True):
        np.testing.assert_array_equal(got, traced)
        np.testing.assert_array_equal(kept_ones, traced)
    assert again.weights.shapes == SYSTEM.weights.shapes


def test_actions_are_recognised_by_what_is_kept(folder):
    """The record of zero-shot recognition holds a record of retrieval."""
    kept_ones = kept.recall(SYSTEM).task(ZeroShot)
    first = kept_ones.retrieval.encode_video(PARAMS, VIDEO)["embedding"]
    never_traced = dataclasses.replace(SYSTEM.task(Retrieval), encode_video=never)
    by_prompts = dataclasses.replace(SYSTEM.task(ZeroShot), retrieval=never_traced)
    again = kept.recall(dataclasses.replace(SYSTEM, zero_shot=by_prompts)).task(ZeroShot)
    np.testing.assert_array_equal(again.retrieval.encode_video(PARAMS, VIDEO)["embedding"], first)


def test_a_matching_head_is_kept(folder):
    """Each of its functions, for each number of texts."""

    def matched(matching, texts):
        memory = matching.video_memory(PARAMS, jnp.arange(6.0).reshape(1, 3, 2))
        states = jnp.arange(texts * 8.0).reshape(1, texts, 4, 2)
        return np.asarray(matching.match(PARAMS, memory, states, jnp.ones((1, texts, 4), bool)))

    head = Matching(
        lambda params, tokens: ((tokens, tokens * 2),),  # keys and values of a layer
        lambda params, memory, states, text_mask: jnp.einsum("vnc,vplc->vp", memory[0][1], states),
    )
    retrieval = dataclasses.replace(SYSTEM.task(Retrieval), matching=head)
    system = dataclasses.replace(SYSTEM, retrieval=retrieval)
    first = matched(kept.recall(system).task(Retrieval).matching, 2)
    np.testing.assert_array_equal(first, matched(head, 2))
    retrieval = dataclasses.replace(retrieval, matching=Matching(never, never))
    again = kept.recall(dataclasses.replace(SYSTEM, retrieval=retrieval)).task(Retrieval).matching
    np.testing.assert_array_equal(matched(again, 2), first)
    with pytest.raises(AssertionError, match="traced again"):
        matched(again, 3)


def test_files_hold_what_is_described(folder):
    numbers(folder)
    for path in folder.iterdir():
        digest, content = path.read_bytes()[:32], path.read_bytes()[32:]
        assert hashlib.sha256(content).digest() == digest
        if content.startswith(b"{"):
            shapes = {key: tuple(shape) for key, (shape, _) in json.loads(content).items()}
            assert shapes == {key: x.shape for key, x in rules.flatten(PARAMS).items()}
        else:
            assert jax.export.deserialize(bytearray(content)).platforms == ("cpu",)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:-9] + bytes(9), lambda data: b""]
)
def test_a_damaged_file_is_traced_and_written_again(folder, damage):
    first = numbers(folder)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    for path, data in whole.items():
        path.write_bytes(damage(data))
    for got, wanted in zip(encoded(kept.recall(SYSTEM)), first, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert {path.read_bytes()[32:] for path in folder.iterdir()} == {
        data[32:] for data in whole.values()
    }


def test_a_file_that_jax_cannot_read_is_traced(folder):
    """One with the right digest too, as after a change of JAX's format."""
    first = numbers(folder)
    for path in folder.iterdir():
        content = path.read_bytes()[32:]
        if not content.startswith(b"{"):
            content = content[:100]
            path.write_bytes(hashlib.sha256(content).digest() + content)
    for got, wanted in zip(encoded(kept.recall(SYSTEM)), first, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    "change", [{"model.merger.r": 1}, {"model.activation": "gelu"}, {"dtype": "bfloat16"}]
)
def test_another_configuration_is_traced(folder, change):
    numbers(folder)
    with pytest.raises(AssertionError, match="traced again"):
        kept.recall(untraceable(CONFIG.override(change)))
    assert len(list(folder.iterdir())) == 3


def test_places_do_not_matter(folder):
    numbers(folder)
    places = {"checkpoint": "a.pth", "output": "b", "data.folder": "c"}
    encoded(kept.recall(untraceable(CONFIG.override(places))))


def other_sources(patch, folder):
    (folder / "sources").mkdir()
    (folder / "sources" / "block.py").write_text("changed = True\n")
    patch.setattr(kept, "_PACKAGE", folder / "sources")


def other_version(patch, folder):
    patch.setattr(jax, "__version__", "0.0.1")


def other_setting(patch, folder):
    jax.config.update(PROMOTION, "strict")


@pytest.mark.parametrize("change", [other_sources, other_version, other_setting])
def test_another_package_version_or_setting_is_traced(folder, monkeypatch, tmp_path, change):
    numbers(folder)
    change(monkeypatch, tmp_path)
    with pytest.raises(AssertionError, match="traced again"):
        kept.recall(untraceable())


def test_another_precision_is_traced(folder):
    numbers(folder)
    again = kept.recall(untraceable())
    with jax.default_matmul_precision("default"), pytest.raises(AssertionError, match="traced"):
        encoded(again)


def test_another_shape_mesh_or_platform_is_traced(folder, monkeypatch):
    numbers(folder)
    again = kept.recall(untraceable())
    model = evaluation.Model(PARAMS, parallel.make_mesh(1))
    with pytest.raises(AssertionError, match="traced again"):
        model.compiled(again.task(Retrieval).encode_video)(VIDEO[:1])
    with pytest.raises(AssertionError, match="traced again"):
        encoded(again, devices=2)
    monkeypatch.setattr(parallel, "platform", lambda: "gpu")
    with pytest.raises(AssertionError, match="traced again"):
        again.task(Retrieval).encode_text(PARAMS, IDS, MASK)
    assert len(list(folder.iterdir())) == 3


def foreign_merger(patch):
    patch.setattr(kept, "_OURS", "tokmerge_jax.")
    type("Foreign", (ToMe,), {"__module__": "their.mergers"})


def foreign_system(patch):
    patch.setattr(kept.registry, "_SYSTEMS", {"tempme": "their.network"})


def fresh_sources(patch):
    patch.setattr(kept, "_SETTLED", kept._IMPORTED)


def sources_changed_after_import(patch):
    """However long ago that is."""
    patch.setattr(kept, "_SETTLED", 0)
    patch.setattr(kept, "_IMPORTED", kept._changed(Path(kept.__file__)) - 1)


def no_cache(patch):
    jax.config.update(CACHE, None)


def a_bucket(patch):
    jax.config.update(CACHE, "gs://bucket/programs")


DOUBTS = [
    foreign_merger,
    foreign_system,
    fresh_sources,
    sources_changed_after_import,
    no_cache,
    a_bucket,
]


@pytest.mark.parametrize("doubt", DOUBTS)
def test_nothing_is_kept_where_in_doubt(folder, monkeypatch, doubt):
    doubt(monkeypatch)
    monkeypatch.chdir(folder.parent)
    assert kept.recall(SYSTEM) is SYSTEM
    assert not [path for path in folder.parent.rglob("*") if path.is_file()]


def test_a_folder_that_others_can_write_is_left_alone(folder):
    folder.mkdir()
    for mode in (0o770, 0o707, 0o722):
        folder.chmod(mode)
        assert kept.recall(SYSTEM) is SYSTEM
    folder.rmdir()
    folder.symlink_to(folder.parent)
    assert kept.recall(SYSTEM) is SYSTEM
    folder.unlink()
    folder.touch()
    assert kept.recall(SYSTEM) is SYSTEM


def test_only_the_files_used_last_stay(folder, monkeypatch):
    monkeypatch.setattr(kept, "_MOST", 4)
    numbers(folder)
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    encoded(kept.recall(untraceable()))  # which uses all three
    used = set(folder.iterdir())
    (folder / "old").touch()
    os.utime(folder / "old", (2, 2))
    kept.recall(tokmerge_jax.build(CONFIG.override({"model.merger.r": 1})))
    assert len(list(folder.iterdir())) == 4
    assert used < set(folder.iterdir())


def test_what_is_too_large_is_not_written(folder, monkeypatch):
    monkeypatch.setattr(kept, "_LARGEST", 2**12)
    encoded(kept.recall(SYSTEM))
    assert len(list(folder.iterdir())) == 1


def test_a_source_put_in_place_is_new_whatever_its_date(tmp_path):
    """As by `cp -p`, `mv` and `rsync -a`."""
    (tmp_path / "old.py").touch()
    os.utime(tmp_path / "old.py", (1, 1))
    assert kept._changed(tmp_path / "old.py") > kept._IMPORTED


def test_a_fault_of_the_input_is_raised_and_not_kept(folder):
    def wrong(params, video):
        raise UserError("config.eval.batch_size=2 is wrong")

    task = dataclasses.replace(SYSTEM.task(Retrieval), encode_video=wrong)
    system = kept.recall(dataclasses.replace(SYSTEM, retrieval=task))
    with pytest.raises(UserError, match="batch_size=2 is wrong"):
        system.task(Retrieval).encode_video(PARAMS, VIDEO)
    assert len(list(folder.iterdir())) == 1  # the shapes


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch):
    first = encoded(SYSTEM)

    def full(*places):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for got, wanted in zip(encoded(kept.recall(SYSTEM)), first, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_written_does_no_harm(folder, monkeypatch):
    first = numbers(folder)

    def refused(*places, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refused)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refused)
    for got, wanted in zip(encoded(kept.recall(SYSTEM)), first, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert len(list(folder.iterdir())) == 3
