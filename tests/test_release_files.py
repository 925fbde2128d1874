"""The release: what its check refuses, and what its workflow runs."""

import importlib.util
import pathlib
import re

import pytest

import tokmerge_jax

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = ROOT / ".ci" / "check_release.py"
REPOSITORY = "someone/tokmerge_jax"


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_release", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path):
    """A tree that can be released as v1.2.0."""
    badge = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks/a.ipynb"
    files = {
        "tokmerge_jax/__init__.py": '"""Doc."""\n\n__version__ = "1.2.0"\n',
        "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.0\n",
        "CHANGELOG.md": "## [Unreleased]\n\n## [1.2.0] - 2026-12-24\n\n### Added\n",
        "notebooks/build.py": f'REPOSITORY = "{REPOSITORY}"\n',
        "README.md": f"[a]({badge})\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_a_complete_tree_is_released(check, tree):
    assert check.faults(tree, "v1.2.0", REPOSITORY) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("tokmerge_jax/__init__.py", "1.2.0", "1.2.1", "the tag v1.2.0 is not v1.2.1"),
        ("CITATION.cff", "\nversion: 1.2.0", "\nversion: 1.1.0", "names version 1.1.0, not 1.2.0"),
        ("CHANGELOG.md", "[1.2.0] - 2026-12-24", "[1.2.0]", r"no section `## [1.2.0] - YYYY"),
        ("notebooks/build.py", "someone", "OWNER", "names the repository OWNER/tokmerge_jax, not"),
        ("README.md", "someone", "OWNER", "README.md has badges of another repository"),
    ],
)
def test_what_is_missing_is_named(check, tree, name, old, new, says):
    path = tree / name
    path.write_text(path.read_text().replace(old, new))
    faults = check.faults(tree, "v1.2.0", REPOSITORY)
    assert any(says in fault for fault in faults), faults


def test_this_tree_is_refused_until_its_address_and_date_are_set(check):
    """Nothing else is missing, so that a release is two edits."""
    version = tokmerge_jax.__version__
    faults = check.faults(ROOT, f"v{version}", REPOSITORY)
    places = {fault.partition(" ")[0] for fault in faults}
    assert places <= {"CHANGELOG.md", "README.md", "notebooks/build.py"}


def test_the_workflow_runs_programs_that_are_there():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    programs = re.findall(r"- run: (?:python )?(\.ci/\w+(?:\.py)?)", text)
    assert programs == [".ci/check_release.py", ".ci/run", ".ci/build_release"]
    assert all((ROOT / program).is_file() for program in programs)
    assert "id-token: write" in text.partition("publish:")[2]
    assert "id-token" not in text.partition("publish:")[0]
