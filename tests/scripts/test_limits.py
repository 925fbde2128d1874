"""Little address space: scripts refuse what JAX aborts with, and report what is short with more."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LIMITS = "../tokmerge_jax/command_line/limits.py"
SCRIPTS = ("eval", "classify", "search", "train", "search_schedule", "caption", "convert")
SIZES = {"jax": "jnp.ones(2**32)", "numpy": "np.ones(2**32)", "file": "mmap.mmap(-1, 2**34)"}


def run(kib, *arguments):
    """Runs Python with `ulimit -v kib`."""
    limited = 'ulimit -v "$0" && exec "$@"'
    return subprocess.run(
        ["sh", "-c", limited, str(kib), sys.executable, *arguments],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
    )


def least():
    """Returns the memory that the refusal asks for, in KiB."""
    return int(re.findall(r"set it to at least (\d+)", run(200_000, LIMITS).stderr)[0])


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kib", [200_000, 1_500_000])
def test_less_than_jax_starts_with_is_refused(script, kib):
    done = run(kib, f"{script}.py", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    said = rf"ulimit -v is {kib} \(KiB\), .* set it to at least {least()}, or to unlimited\n"
    assert re.fullmatch(said, done.stderr)


def test_what_is_asked_for_is_enough_to_pass():
    assert run(least() - 1, LIMITS).returncode == 2
    assert run(least(), LIMITS).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIZES)
def test_with_the_least_jax_works_and_what_is_too_large_is_one_sentence(kind):
    program = (
        "from tokmerge_jax import command_line\nimport mmap, jax, jax.numpy as jnp, numpy as np\n"
        "def main(_):\n"
        "    print(jax.jit(lambda x: x @ x.T)(jnp.ones((500, 500))).sum(), flush=True)\n"
        f"    {SIZES[kind]}.size\n"
        "command_line.run_commands(main)"
    )
    done = run(least(), "-c", program)
    assert (done.returncode, float(done.stdout)) == (2, 500.0**3)
    assert re.fullmatch(r"Cannot allocate memory; allow more memory .*\n", done.stderr)
