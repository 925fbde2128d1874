"""Builds the wheels of the library and of the demo's files, without a network."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
OFFLINE = ("--no-deps", "--no-index")


def build(folder):
    """Writes both wheels into a folder."""
    pytest.importorskip("setuptools", minversion="77")
    tree = folder / "tree"  # a copy: building writes into its source, and reads what is left there
    for name in ("tokmerge_jax", "demo"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    wheel = ("wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", folder)
    subprocess.run([*PIP, *wheel, tree, tree / "demo"], check=True)
