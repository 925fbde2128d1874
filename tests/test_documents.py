"""What the documents name is there: files, modules, make's targets; the picture of the floors."""

import importlib.util
import pathlib
import pkgutil
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = ["CONTRIBUTING.md", "README.md", "docs/architecture.md"]
FOLDERS = r"\.ci|\.github|benchmarks|configs|demo|docs|notebooks|scripts|tests|tokmerge_jax"
PATH = re.compile(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./{{}},*-]*")


def alternatives(path):
    """configs/{a,b}_c.py -> configs/a_c.py, configs/b_c.py."""
    braces = re.search(r"{([^}]*)}", path)
    if not braces:
        return [path]
    ways = [path.replace(braces[0], way, 1) for way in braces[1].split(",")]
    return [each for way in ways for each in alternatives(way)]


def paths(text):
    """What a text names in the repository's folders; NAME and the like stand for any."""
    named = {each.rstrip(".,") for found in PATH.findall(text) for each in alternatives(found)}
    return sorted(re.sub(r"\b[A-Z]+\b", "*", path) for path in named)


def missing(text):
    """The paths, modules, attributes and targets that a text names and that are not there."""
    yield from (path for path in paths(text) if not [*ROOT.glob(path)])
    for module in set(re.findall(r"python -m ([\w.]+)", text)):
        if not importlib.util.find_spec(module):
            yield module
    dotted = set(re.findall(r"\btokmerge_jax(?:\.[A-Za-z_]\w*)+", text))
    yield from (name for name in dotted if not resolves(name))
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    yield from set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) - {*targets}


def resolves(name):
    """Whether a dotted name is a module or what one holds."""
    try:
        return pkgutil.resolve_name(name) is not None
    except (ImportError, AttributeError):
        return False


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_names_is_there(document):
    text = (ROOT / document).read_text()
    assert len(paths(text)) >= 10
    assert not [*missing(text)]


def test_what_is_not_there_is_noticed():
    said = "`scripts/{eval,sing}.py`, make fly\nmake demo; python -m benchmarks.none, docs/x.png."
    assert sorted(missing(said)) == ["benchmarks.none", "docs/x.png", "scripts/sing.py"]
    said = "`make fly`, tokmerge_jax.merging.magic, tokmerge_jax.load, tokmerge_jax/none/"
    assert sorted(missing(said)) == ["fly", "tokmerge_jax.merging.magic", "tokmerge_jax/none/"]


def drawing(name):
    """The program of docs/ that makes a page or a picture."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_published_numbers_is_that_of_the_configurations():
    page = (ROOT / "docs" / "numbers.md").read_text("utf-8")
    assert page == drawing("published").page(), "write it again: python docs/published.py"


def test_the_picture_shows_the_floors_of_the_contract():
    floors = drawing("floors")
    assert floors.drawn() == floors.floors(), "draw it again: python docs/floors.py"
    assert all(floors.summary(room) for floor in floors.floors() for room in floor)
