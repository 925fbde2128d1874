"""The notebooks: made from their sources, run on a CPU, and the first one with Colab's packages."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import venv

import pytest
import wheels

ROOT = pathlib.Path(__file__).parents[1]
NAMES = [path.stem for path in sorted((ROOT / "notebooks").glob("*.md"))]
FIRST = "merge_tokens"


@pytest.fixture(scope="module")
def build():
    """The program that makes them."""
    pytest.importorskip("jupytext")
    spec = importlib.util.spec_from_file_location("build", ROOT / "notebooks" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(notebook):
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def outputs(notebook):
    return [output for cell in notebook["cells"] for output in cell.get("outputs", ())]


def pictures(notebook):
    return [output for output in outputs(notebook) if "image/png" in output.get("data", ())]


def stored(name, folder=ROOT / "notebooks"):
    return json.loads((folder / f"{name}.ipynb").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_that_of_its_source(build, name):
    notebook = stored(name)
    assert cells(notebook) == cells(build.made(name)), "make it again: python notebooks/build.py"
    assert build.badge(name) in cells(notebook)[0][1]
    assert not [output for output in outputs(notebook) if output["output_type"] == "error"]
    assert (ROOT / "notebooks" / f"{name}.ipynb").stat().st_size < 400_000


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_opens_each_notebook_in_colab(build, name):
    assert build.badge(name) in (ROOT / "README.md").read_text("utf-8")


def executed(python, name, folder):
    """The notebook that the program makes with a Python, without the tests' eight devices."""
    program = ROOT / "notebooks" / "build.py"
    kept = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    subprocess.run([python, program, "--target", folder, name], env=kept, check=True)
    return stored(name, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != FIRST])  # which runs below
def test_a_notebook_runs(name, tmp_path):
    pytest.importorskip("nbclient")
    notebook = executed(sys.executable, name, tmp_path)
    assert len(pictures(notebook)) == len(pictures(stored(name)))


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Colab's packages are older")
def test_the_first_notebook_needs_three_cells_to_a_picture_on_colab(tmp_path, monkeypatch):
    """In an environment with Colab's packages, where both wheels are on offer as if published."""
    wheels.build(tmp_path)
    pins = ROOT / ".ci" / "colab.txt"
    venv.create(tmp_path / "colab", with_pip=True)
    python = tmp_path / "colab" / "bin" / "python"
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, "install", "--requirement", pins], check=True)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    notebook = executed(python, FIRST, tmp_path)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(pictures({"cells": code[:3]})) == 1
    assert len(pictures(notebook)) == len(pictures(stored(FIRST)))
    frozen = subprocess.run([*pip, "freeze"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for name in ("flax", "jax", "jaxlib", "numpy"):  # others would need a restart
        (pin,) = (line for line in pins.read_text().splitlines() if line.startswith(f"{name}=="))
        assert pin in frozen.splitlines()
