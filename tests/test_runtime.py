"""Number types, compiled programs on disk, fingerprints and stage times."""

import ctypes
import gc
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tokmerge_jax
from tokmerge_jax import runtime
from tokmerge_jax.types import UserError

CACHE = "jax_compilation_cache_dir"


@pytest.mark.parametrize(
    ("name", "backend", "dtype"),
    [
        ("float32", "gpu", jnp.float32),
        ("bfloat16", "cpu", jnp.bfloat16),
        ("auto", "cpu", jnp.float32),
        ("auto", "gpu", jnp.bfloat16),
        ("auto", "tpu", jnp.bfloat16),
    ],
)
def test_compute_dtype(name, backend, dtype, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert runtime.compute_dtype(name) is dtype


@pytest.mark.parametrize("name", ["float16", "f32", ""])
def test_other_dtypes_are_refused(name):
    with pytest.raises(UserError, match=re.escape(f"config.dtype={name!r} must be auto, float32")):
        runtime.compute_dtype(name)


@pytest.fixture
def settings():
    """JAX's settings, put back afterwards."""
    least = "jax_persistent_cache_min_compile_time_secs"
    names = (CACHE, "jax_default_matmul_precision", least)
    before = {name: jax.config.values[name] for name in names}
    yield jax.config.values
    for name, value in before.items():
        jax.config.update(name, value)


def test_start_keeps_programs_in_the_users_cache(settings, monkeypatch, tmp_path):
    jax.config.update(CACHE, None)
    jax.config.update("jax_default_matmul_precision", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime.start()
    assert jax.config.values[CACHE] == str(tmp_path / "tokmerge_jax" / "programs")
    assert jax.config.values["jax_default_matmul_precision"] == "highest"


def test_start_keeps_the_folder_that_was_asked_for(settings, tmp_path):
    jax.config.update(CACHE, str(tmp_path))
    runtime.start()
    assert jax.config.values[CACHE] == str(tmp_path)


def test_versions_are_those_that_run():
    versions = runtime.versions()
    assert versions["jax"] == jax.__version__
    assert versions["numpy"] == np.__version__
    assert versions["devices"] == "8 x cpu"


def test_versions_of_a_checkout_that_is_not_installed(monkeypatch):
    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", nothing)
    assert runtime.versions()["tokmerge_jax"] == tokmerge_jax.__version__


def test_the_version_has_one_source():
    root = Path(__file__).parents[1]
    packaged = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    assert packaged["project"]["dynamic"] == ["version"]
    assert packaged["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "tokmerge_jax.__version__"
    }
    cited = (root / "CITATION.cff").read_text("utf-8").splitlines()
    assert f"version: {tokmerge_jax.__version__}" in cited


FACTS = {"name": "umt", "r": [600, 200], "nested": {"a": 1, "b": 2.5}}


def test_fingerprint_does_not_depend_on_the_order_of_keys():
    shuffled = {"nested": {"b": 2.5, "a": 1}, "r": [600, 200], "name": "umt"}
    assert runtime.fingerprint(FACTS) == runtime.fingerprint(shuffled)
    assert re.fullmatch("[0-9a-f]{16}", runtime.fingerprint(FACTS))


@pytest.mark.parametrize(
    "change",
    [{"name": "umt2"}, {"r": [200, 600]}, {"nested": {"a": 1, "b": 2.25}}, {"more": None}],
)
def test_fingerprint_changes_with_the_facts(change):
    assert runtime.fingerprint({**FACTS, **change}) != runtime.fingerprint(FACTS)


def test_stopwatch_adds_up_the_time_of_each_stage(monkeypatch):
    now = iter([10.0, 11.5, 20.0, 20.25, 30.0, 34.0])
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: next(now))
    watch = runtime.Stopwatch()
    with watch("encode"):
        pass
    with watch("rank"):
        pass
    with pytest.raises(KeyError), watch("encode"):
        raise KeyError  # a stage that fails took its time as well
    assert watch.seconds == {"encode": 5.5, "rank": 0.25}


def test_stopwatch_keeps_what_a_killed_sitting_spent(monkeypatch):
    now = iter([10.0, 11.5, 14.0, 20.0, 21.0, 21.0])
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: next(now))
    kept = []
    watch = runtime.Stopwatch(keep=lambda seconds: kept.append(dict(seconds)))
    with watch("encode"):
        watch.note()
        assert kept == [{"encode": 1.5}]  # here the process may end
    assert kept[-1] == {"encode": 4.0}
    resumed = runtime.Stopwatch(kept[0])
    with resumed("encode"):
        resumed.note()
    assert resumed.seconds == {"encode": 2.5}


@pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="older compilers have no such schedule")
def test_this_compiler_can_be_asked_for_programs_that_hold_little():
    assert runtime._compiler_options("cpu") == runtime._SMALL
    assert runtime._compiler_options("tpu") is None


def test_an_option_that_the_compiler_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(runtime, "_SMALL", {"xla_cpu_no_such_option": "1"})
    runtime._compiler_options.cache_clear()
    try:
        np.testing.assert_array_equal(runtime.jit(jnp.negative)(np.ones(2)), -np.ones(2))
    finally:
        runtime._compiler_options.cache_clear()


MEMORY = """
import resource
import jax, numpy as np
import tokmerge_jax
from tokmerge_jax import runtime
runtime.start()
twice = jax.jit(lambda x, w: (x @ w).T @ x)  # the product between is 64 MB, or 16,384 pages
x, w = np.ones((1 << 20, 16), np.float32), np.ones((16, 16), np.float32)
faults = []
for _ in range(50):
    twice(x, w).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(int(np.median(np.diff(faults)[30:])))  # the heap may grow at first
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone can be told")
def test_start_keeps_memory_that_was_freed():
    """Programs touch pages that the process has already, where they would get new ones."""
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100


def test_small_programs_are_kept_too(settings, tmp_path):
    jax.config.update(CACHE, str(tmp_path))
    runtime.start()
    assert jax.config.values["jax_persistent_cache_min_compile_time_secs"] == 0.05
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
