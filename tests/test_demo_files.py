"""The demo's files: where they are found, what is said where they are missing, and both wheels."""

import email
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import jax
import numpy as np
import pytest
import wheels

import tokmerge_jax
from tokmerge_jax import checkpoints, demo_files, registry
from tokmerge_jax.configs import demo, demo_qa
from tokmerge_jax.tasks import evaluation as tasks
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[1]
FILES = ROOT / "demo" / "tokmerge_jax_demo"
SENTENCE = "the demo's weights and vocabularies are not installed; run `pip install ./demo`"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder of packages, first on the path; the library as if it lay there, without a demo."""
    monkeypatch.setattr(demo_files, "__file__", str(tmp_path / "tokmerge_jax" / "demo_files.py"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "tokmerge_jax_demo", None)  # what the machine has is hidden
    return tmp_path


def test_a_checkout_has_them_whatever_is_installed(tmp_path, monkeypatch):
    (tmp_path / "tokmerge_jax_demo").mkdir()
    (tmp_path / "tokmerge_jax_demo" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert demo_files.path("demo_vocab.txt") == str(FILES / "demo_vocab.txt")


def test_else_the_installed_package_has_them(installed, monkeypatch):
    (installed / "tokmerge_jax_demo").mkdir()
    (installed / "tokmerge_jax_demo" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "tokmerge_jax_demo")
    assert demo_files.path("a.txt") == str(installed / "tokmerge_jax_demo" / "a.txt")
    assert demo.get_config().checkpoint.startswith(str(installed))


@pytest.mark.usefixtures("installed")
def test_missing_files_are_reported_when_they_are_read():
    config = demo_qa.get_config()
    system = registry.build(config)
    assert system.answering is not None
    with pytest.raises(UserError, match=f"^{SENTENCE}"):
        checkpoints.load_checkpoint(config.checkpoint, system)
    with pytest.raises(UserError, match=f"^{SENTENCE}"):
        system.answering.tokenize(["a red square"])
    with pytest.raises(UserError, match=SENTENCE) as error:
        tasks.inputs(system)
    assert str(error.value).count(SENTENCE) == 1


def test_another_missing_file_is_not_the_demos():
    for folder in (FILES, ROOT):
        demo_files.check_installed(folder / "absent.safetensors")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that `pip install` filled with the library and the demo's package, offline."""
    return wheels.install(tmp_path_factory.mktemp("wheels"))


def content(wheel):
    """The names of what a wheel installs, its description aside."""
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if ".dist-info/" not in name}


def library():
    """The names of the library's files."""
    kinds = ("**/*.py", "py.typed", "serving/page/*")
    files = (path for kind in kinds for path in (ROOT / "tokmerge_jax").glob(kind))
    return {path.relative_to(ROOT).as_posix() for path in files}


@pytest.mark.slow
def test_the_librarys_wheel_holds_its_modules_and_no_weights(site):
    (wheel,) = site.parent.glob("tokmerge_jax-*.whl")
    assert content(wheel) == library()
    assert wheel.stat().st_size < 1e6  # as README.md says
    assert sum(path.stat().st_size for path in site.glob("tokmerge_jax/**/*")) < 6e6  # compiled too


@pytest.mark.slow
def test_the_source_archive_holds_no_more_than_the_wheel_is_made_of(site):
    (archive,) = site.parent.glob("tokmerge_jax-*.tar.gz")
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    held = {name.partition("/")[2] for name in names if "egg-info" not in name}
    described = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}
    assert {name for name in held if "." in name or name.isupper()} == library() | described
    assert archive.stat().st_size < 2e6


@pytest.mark.slow
def test_the_wheel_describes_the_package(site):
    (place,) = site.glob("tokmerge_jax-*.dist-info")
    about = email.message_from_string((place / "METADATA").read_text("utf-8"))
    assert about["Version"] == tokmerge_jax.__version__
    assert str(about.get_payload()).startswith("# tokmerge_jax")
    addresses = dict(line.split(", ") for line in about.get_all("Project-URL", []))
    cited = (ROOT / "CITATION.cff").read_text() + (ROOT / "docs" / "pe_core.md").read_text()
    assert len(addresses) == 5
    assert all(address in cited for address in addresses.values())


@pytest.mark.slow
def test_the_demos_wheel_holds_its_files(site):
    (wheel,) = site.parent.glob("tokmerge_jax_demo-*.whl")
    assert content(wheel) == {f"tokmerge_jax_demo/{path.name}" for path in FILES.glob("*.*")}
    assert "demo.safetensors" in {path.name for path in FILES.iterdir()}


@pytest.mark.slow
def test_an_empty_folder_finds_the_installed_files(site, tmp_path):
    code = "from tokmerge_jax import demo_files; print(demo_files.path('demo_vocab.txt'))"
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    place = pathlib.Path(run.stdout.strip())
    assert place == site / "tokmerge_jax_demo" / "demo_vocab.txt"
    assert place.read_bytes() == (FILES / "demo_vocab.txt").read_bytes()


@pytest.mark.slow
def test_the_command_of_the_wheels_works_in_an_empty_folder(site, tmp_path):
    def tokmerge(*arguments):
        run = subprocess.run(
            [site / "bin" / "tokmerge", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    assert "demo_qa" in tokmerge("configs", "demo*")
    weights = site / "tokmerge_jax_demo" / "demo.safetensors"
    back = ("--reverse", f"--source={weights}", "--target=demo_torch.safetensors")
    assert "Wrote demo_torch.safetensors" in tokmerge("convert", "--config=demo", *back)
    there = ("--source=demo_torch.safetensors", "--target=weights")
    assert "Wrote weights" in tokmerge("convert", "--config=demo", *there)
    system = registry.build(demo.get_config())
    stored = [checkpoints.load_checkpoint(path, system) for path in (weights, tmp_path / "weights")]
    jax.tree.map(np.testing.assert_array_equal, *stored)
