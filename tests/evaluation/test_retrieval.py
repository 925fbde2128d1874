"""Retrieval: the original's evaluation, the definition, sharing, meshes, batch sizes, kills."""

import dataclasses
import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import row_batches
import small_gallery
import umt_case
from dense import dense
from parameters import slow
from umt_case import close

from tokmerge_jax import evaluation, hosts, objects, parallel
from tokmerge_jax.config import umt
from tokmerge_jax.config.evaluation import RerankingOptions
from tokmerge_jax.evaluation import context, metrics
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.types import UserError

CASES = ["vidtldr-eval", "vidtldr-eval-texts", "vidtldr-eval-videos", "vidtldr-eval-frames"]


def evaluate_golden(case, folder, devices=1, fsdp=1, batch_size=5):
    """Our scores of a golden gallery."""
    system, params = umt_case.system_of(case)
    ids = case.arrays["inputs/text_ids"]
    clips = umt_case.videos(case, len(case.arrays["sim_v2t"]))

    k = case.config["k_test"]
    context = evaluation.Context(
        evaluation.Model(params, parallel.make_mesh(devices, fsdp)),
        functools.partial(row_batches.batches, clips),
        evaluation.Store(folder, {"case": case.name}),
        Stopwatch(),
    )
    options = RerankingOptions(batch_size=batch_size, top_k=k, memory_gib=1.0)
    assert system.retrieval
    texts = ids, ids != 0
    return dense(evaluation.evaluate(context, system.retrieval, len(clips), texts, options))


@pytest.mark.parametrize("name", slow(CASES, lambda name: name != CASES[0]))
def test_equals_the_original(name, tmp_path):
    case = golden.load(name)
    scores = evaluate_golden(case, tmp_path)
    expected = case.arrays
    close(scores.similarity, expected["sim_v2t"])
    for ours, theirs in ((scores.text_to_video, "t2v"), (scores.video_to_text, "v2t")):
        asked = expected[f"rerank_{theirs}"] > -99
        np.testing.assert_array_equal(ours > -99, asked)
        close(ours[asked], expected[f"rerank_{theirs}"][asked])
    truth = [v if isinstance(v, list) else [v] for v in case.config["text_to_videos"].values()]
    for kind, (to_video, to_text) in {
        "rerank": (scores.text_to_video, scores.video_to_text),
        "embedding": (scores.similarity.T, scores.similarity),
    }.items():
        computed, wanted = metrics.both_directions(to_video, to_text, truth), case.spec["expected"]
        for direction, short in (("text_to_video", "img_r"), ("video_to_text", "txt_r")):
            for k in (1, 5, 10):
                assert computed[direction][f"R@{k}"] == pytest.approx(
                    wanted[kind][f"{short}{k}"], abs=0.006
                )


@pytest.mark.slow
def test_eight_devices_rank_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_LEAST", 1)  # the golden's parameters are small
    case = golden.load("vidtldr-eval-texts")
    one = evaluate_golden(case, tmp_path / "one")
    eight = evaluate_golden(case, tmp_path / "eight", devices=2, fsdp=4, batch_size=3)
    for name in ("similarity", "text_to_video", "video_to_text"):
        ours, theirs = getattr(eight, name), getattr(one, name)
        np.testing.assert_array_equal(ours.argsort(kind="stable"), theirs.argsort(kind="stable"))
        close(ours, theirs)


@pytest.mark.parametrize("batch_size", [1, 4, 13, 50])
@pytest.mark.parametrize(("devices", "fsdp"), [(1, 1), (3, 1), (2, 2)])
def test_equals_the_definition(tmp_path, batch_size, devices, fsdp, monkeypatch):
    monkeypatch.setattr(parallel, "_LEAST", 1)
    scores = small_gallery.run(tmp_path, batch_size=batch_size, devices=devices, fsdp=fsdp)
    similarity, to_video, to_text = small_gallery.by_hand()
    np.testing.assert_allclose(scores.similarity, similarity, atol=1e-5)
    np.testing.assert_allclose(scores.text_to_video, to_video, atol=1e-4)
    np.testing.assert_allclose(scores.video_to_text, to_text, atol=1e-4)


def test_what_is_shared_is_computed_once(tmp_path):
    """Each video is remembered once, and each wanted pair is scored once."""
    remembered, pairs = [], []

    def video_memory(params, tokens):
        jax.debug.callback(lambda x: remembered.append(np.asarray(x)), tokens[:, 0])
        return small_gallery.video_memory(params, tokens)

    def match(params, memory, states, text_mask):
        scores = small_gallery.match(params, memory, states, text_mask)
        jax.debug.callback(lambda x: pairs.append(np.asarray(x)), scores)
        return scores

    retrieval = small_gallery.matching(video_memory=video_memory, match=match)
    scores = small_gallery.run(tmp_path, retrieval=retrieval, k=4)
    jax.effects_barrier()
    assert len(np.unique(np.concatenate(remembered), axis=0)) == small_gallery.VIDEOS
    assert len(remembered) == small_gallery.VIDEOS
    wanted = (scores.text_to_video.T > -99) | (scores.video_to_text > -99)
    calls = [np.count_nonzero(row) for row in wanted]
    assert len(pairs) == small_gallery.VIDEOS  # all of a video's texts in one call
    assert max(calls) == pairs[0].size
    computed = np.concatenate([p[0, :n] for p, n in zip(pairs, calls, strict=True)])
    both = np.maximum(scores.text_to_video.T, scores.video_to_text)[wanted]
    np.testing.assert_allclose(computed, both, rtol=1e-6)


def test_little_memory_gives_the_same(tmp_path):
    calls = []

    def match(params, memory, states, text_mask):
        calls.append(states.shape[1])
        return small_gallery.match(params, memory, states, text_mask)

    retrieval = small_gallery.matching(match=match)
    per_text = 16 * 4 * small_gallery.LENGTH * small_gallery.WIDTH
    memory = 4 * 4 * small_gallery.WIDTH
    scores = small_gallery.run(tmp_path, retrieval=retrieval, gib=(2.5 * per_text + memory) / 2**30)
    assert set(calls) == {2}
    np.testing.assert_allclose(scores.text_to_video, small_gallery.by_hand()[1], atol=1e-4)


def test_too_little_memory_is_told(tmp_path):
    with pytest.raises(UserError, match=r"config\.eval\.memory_gib=1e-06 is too little.*set it to"):
        small_gallery.run(tmp_path, gib=1e-6)


def test_matching_scores_that_are_not_finite_have_no_ranks(tmp_path):
    def match(params, memory, states, text_mask):
        scores = small_gallery.match(params, memory, states, text_mask)
        return jnp.where(scores == scores.max(), jnp.inf, scores)

    retrieval = small_gallery.matching(match=match)
    with pytest.raises(UserError, match=r"matching score of video 0 and text \d+ is inf: "):
        small_gallery.run(tmp_path, retrieval=retrieval)
    assert small_gallery.run(tmp_path).text_to_video.max() < np.inf  # nothing of it was kept


@pytest.mark.parametrize(("key", "value"), [("batch_size", 0), ("top_k", -1), ("memory_gib", 0.0)])
def test_options_must_be_positive(key, value):
    with pytest.raises(UserError, match=rf"config\.eval\.{key}={value} must be above 0"):
        umt.Retrieval().override({f"eval.{key}": value}).check()


def test_without_reranking(tmp_path):
    context = evaluation.Context(
        evaluation.Model(small_gallery.PARAMS, parallel.make_mesh(1)),
        small_gallery.batches,
        evaluation.Store(tmp_path, {}),
        Stopwatch(),
    )
    scores = evaluation.evaluate(
        context,
        dataclasses.replace(small_gallery.RETRIEVAL, matching=None),
        small_gallery.VIDEOS,
        (small_gallery.IDS, small_gallery.MASK),
        RerankingOptions(batch_size=4, rerank=False, top_k=3, memory_gib=1.0),
    )
    scores, expected = dense(scores), small_gallery.by_hand()[0]
    np.testing.assert_allclose(scores.similarity, expected, atol=1e-5)
    np.testing.assert_allclose(scores.video_to_text, expected, atol=1e-5)
    np.testing.assert_allclose(scores.text_to_video, expected.T, atol=1e-5)


def test_a_finished_run_encodes_nothing(tmp_path):
    first = small_gallery.run(tmp_path)

    def nothing(size, rows):
        raise AssertionError("a video was asked for")

    again = small_gallery.run(tmp_path, source=nothing)
    np.testing.assert_array_equal(again.text_to_video, first.text_to_video)
    np.testing.assert_array_equal(again.video_to_text, first.video_to_text)


def test_seconds_and_speed_are_those_of_all_sittings(tmp_path, monkeypatch):
    """A clock that ticks once whenever it is read; the first sitting ends in the fifth batch."""
    clock = itertools.count()
    monkeypatch.setattr(context.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(objects, "PERIOD", 0.0)  # a kill loses no numbers of batches before it

    def some(size, rows):
        for number, batch in enumerate(small_gallery.batches(size, rows)):
            if number == 4:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        small_gallery.run(tmp_path, source=some, batch_size=2)
    store = evaluation.Store(tmp_path, {"gallery": "small"})
    begun = store.noted("encoded", dict)
    assert begun is not None
    assert begun["clips"] == 2 * 2  # of three batches, the first of which compiles
    scores = small_gallery.run(tmp_path, batch_size=2)
    known = store.noted("encoded", dict)
    assert known is not None
    assert known["clips"] == 2 * 2 + (small_gallery.VIDEOS - 6 - 2)
    assert known["seconds"] > begun["seconds"]
    assert scores.clips_per_second == known["clips"] / known["seconds"]
    again = small_gallery.run(tmp_path, batch_size=2)
    assert again.clips_per_second == scores.clips_per_second


def test_what_is_left_scores_as_if_there_were_no_others(tmp_path, monkeypatch):
    gone, videos = (3, 7), [v for v in range(small_gallery.VIDEOS) if v not in (3, 7)]
    texts = [text for text in range(small_gallery.TEXTS) if text != 5]

    def decodable(size, rows):
        return small_gallery.batches(size, np.setdiff1d(rows, gone))

    run = functools.partial(small_gallery.run, tmp_path / "some")
    some = run(source=decodable, usable=lambda: (videos, texts))
    asked = []

    def again(size, rows):
        asked.append(rows.tolist())
        return decodable(size, rows)

    run(source=again, usable=lambda: (videos, texts))
    assert asked == [[*gone]]  # it may be decoded by now; nothing else is done again
    monkeypatch.setattr(small_gallery, "VIDEO", small_gallery.VIDEO[videos])
    monkeypatch.setattr(small_gallery, "VIDEOS", len(videos))
    for name in ("IDS", "MASK"):
        monkeypatch.setattr(small_gallery, name, getattr(small_gallery, name)[texts])
    alone = small_gallery.run(tmp_path / "alone")
    for name in ("similarity", "text_to_video", "video_to_text"):
        np.testing.assert_allclose(getattr(some, name), getattr(alone, name), rtol=1e-6)


def test_scores_of_another_part_of_the_gallery_are_other_scores(tmp_path):
    """Where all pairs are candidates, nothing but the parts themselves tells them apart."""

    def run(folder, video, text):
        videos = [v for v in range(small_gallery.VIDEOS) if v != video]
        texts = [t for t in range(small_gallery.TEXTS) if t != text]
        return small_gallery.run(folder, k=99, usable=lambda: (videos, texts))

    run(tmp_path / "resumed", 3, 5)
    resumed, fresh = (run(tmp_path / folder, 7, 6) for folder in ("resumed", "fresh"))
    np.testing.assert_array_equal(resumed.text_to_video, fresh.text_to_video)


def test_processes_must_find_the_same_candidates(tmp_path, monkeypatch):
    """A name of the pairs is exchanged; another process's differs."""
    monkeypatch.setattr(
        hosts, "gather", lambda value: [value, "other"] if isinstance(value, str) else [value]
    )
    with pytest.raises(UserError, match="the processes find different candidates"):
        small_gallery.run(tmp_path)


def test_a_function_is_traced_once():
    traced = []

    def function(params, x):
        traced.append(x.shape)
        return x + params["a"]

    model = evaluation.Model({"a": np.ones(1, np.float32)}, parallel.make_mesh(fsdp=2))
    for _ in range(2):
        np.testing.assert_array_equal(model.compiled(function)(np.zeros(8, np.float32)), np.ones(8))
    assert traced == [(8,)]


def test_a_program_that_is_compiled_ahead_is_the_one_that_runs():
    traced = []

    def function(params, x):
        traced.append(x.shape)
        if x.shape[0] == 16:
            raise ValueError("16 rows")
        return x + params["a"]

    model = evaluation.Model({"a": np.ones(1, np.float32)}, parallel.make_mesh(fsdp=2))
    model.begin(function, jax.ShapeDtypeStruct((8,), np.float32))
    np.testing.assert_array_equal(model.compiled(function)(np.zeros(8, np.float32)), np.ones(8))
    assert traced == [(8,)]
    model.begin(function, jax.ShapeDtypeStruct((16,), np.float32))
    with pytest.raises(ValueError, match="16 rows"):
        model.compiled(function)(np.zeros(16, np.float32))
    np.testing.assert_array_equal(model.compiled(function)(np.zeros(8, np.float32)), np.ones(8))


def test_what_is_compiled_ahead_has_the_precision_of_its_caller():
    """That of a `with` block, as in `tokmerge_jax.evaluate`, holds in one thread alone."""
    traced = []

    def function(params, x):
        traced.append(jax.config.jax_default_matmul_precision)
        return x @ params["a"]

    model = evaluation.Model({"a": np.ones((2, 2), np.float32)}, parallel.make_mesh())
    with jax.default_matmul_precision("tensorfloat32"):
        model.begin(function, jax.ShapeDtypeStruct((8, 2), np.float32))
        model.compiled(function)(np.zeros((8, 2), np.float32))
    assert traced == ["tensorfloat32"]


def test_what_comes_before_a_video_that_stops_the_run_is_kept(tmp_path):
    def stopping(size, rows):
        yield from itertools.islice(small_gallery.batches(size, rows), 2)
        raise UserError("8.mp4: cannot be decoded")

    with pytest.raises(UserError, match=r"8\.mp4"):
        small_gallery.run(tmp_path, source=stopping)
    assert done(tmp_path, "video_tokens.done") == 8


@pytest.mark.slow
def test_killed_anywhere_it_goes_on(tmp_path):
    """SIGKILL again and again; the numbers are those of a run in one go, nothing is done twice."""
    command = [sys.executable, small_gallery.__file__, str(tmp_path), "0.15"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    marks = ("video_tokens.done", "match_*.done")
    progress = []
    for wanted in ((0, 4), (0, 9), (1, 5)):  # which array, how many rows before the kill
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as child:
            while done(tmp_path, marks[wanted[0]]) < wanted[1]:
                assert child.poll() is None
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
        progress.append(done(tmp_path, marks[0]))
    last = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert progress == sorted(progress)
    assert int(last.stdout) == 0  # batches of videos that the last sitting had to encode
    scores = np.load(tmp_path / "out.npz")
    expected = small_gallery.run(tmp_path / "at once", batch_size=2)
    np.testing.assert_allclose(scores["t2v"], expected.text_to_video, rtol=1e-6)
    np.testing.assert_allclose(scores["v2t"], expected.video_to_text, rtol=1e-6)


def done(folder: Path, name: str) -> int:
    """How many rows are marked as written."""
    files = list(folder.rglob(name))
    return files[0].read_bytes().count(1) if files else 0
