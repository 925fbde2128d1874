"""Builds the packages of the library and of the demo's files as a release does, offline."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
OFFLINE = ("--no-deps", "--no-index")


_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def build(folder):
    """Writes both source archives into a folder, and the wheels that are made of these."""
    pytest.importorskip("setuptools", minversion="77")
    tree = folder / "tree"  # a copy: building writes into its source, and reads what is left there
    for name in ("tokmerge_jax", "demo"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    (tree / "tests").mkdir()
    (tree / "tests" / "test_it.py").touch()
    for package in (tree, tree / "demo"):
        command = [sys.executable, "-c", _SDIST, folder]
        subprocess.run(command, cwd=package, check=True, stdout=subprocess.DEVNULL)
    wheel = ("wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", folder)
    subprocess.run([*PIP, *wheel, *folder.glob("*.tar.gz")], check=True)


def install(folder):
    """Builds both wheels into a folder, installs them into `folder/site`, and returns that."""
    build(folder)
    options = ("install", *OFFLINE, "--target", folder / "site")
    subprocess.run([*PIP, *options, *folder.glob("*.whl")], check=True)
    return folder / "site"
