"""What the documents name is there: files, modules, make's targets; the picture of the floors."""

import importlib.util
import pathlib
import pkgutil
import re

import pytest

import tokmerge_jax
from tokmerge_jax.config import files

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "tokmerge_jax"
PAGES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["CONTRIBUTING.md", "README.md", *PAGES]
FOLDERS = r"\.ci|\.github|benchmarks|configs|demo|docs|notebooks|scripts|tests|tokmerge_jax"
PATH = re.compile(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./{{}},*-]*")
ROOMS = "|".join(sorted(room.parent.name for room in PACKAGE.glob("*/__init__.py")))
MODULE = re.compile(rf"(?<![\w/.-])(?:{ROOMS})/[\w/{{}},]+\.py")  # of the package, in short
ROW = re.compile(r"^\| `(\w+)` \| (\d+)(?: → (\d+))? \| ([\d.]+)(?: → ([\d.]+))? \|", re.M)


def alternatives(path):
    """configs/{a,b}_c.py -> configs/a_c.py, configs/b_c.py."""
    braces = re.search(r"{([^}]*)}", path)
    if not braces:
        return [path]
    ways = [path.replace(braces[0], way, 1) for way in braces[1].split(",")]
    return [each for way in ways for each in alternatives(way)]


def paths(text):
    """Returns the paths that a text names in the repository; NAME and the like stand for any."""
    named = {each.rstrip(".,") for place in PATH.findall(text) for each in alternatives(place)}
    return sorted(re.sub(r"\b[A-Z]+\b", "*", path) for path in named)


def missing(text):
    """The paths, modules, attributes and targets that a text names and that are not there."""
    for path in paths(text):
        if not [*ROOT.glob(path), *ROOT.glob(f"{path}.*")]:  # also without its suffix
            yield path
    for module in {each for short in MODULE.findall(text) for each in alternatives(short)}:
        if not any((folder / module).exists() for folder in (ROOT, PACKAGE)):
            yield module
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
    page = ROOT / document
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#:]+)[)#]", text)
    assert len(paths(text)) + len(links) >= (1 if document in PAGES else 10)
    assert not [*missing(text), *(link for link in links if not (page.parent / link).exists())]


def test_the_results_are_those_of_the_configurations():
    rows = ROW.findall((ROOT / "README.md").read_text("utf-8"))
    assert len(rows) == 4
    for name, *row in rows:
        config, _ = files.read(name)
        systems = [
            tokmerge_jax.build(config.resolved().override(changes))
            for changes in ({"model.merger.name": "none"}, {})
        ]
        tokens = [str(system.merging.cost[-1].tokens_out) for system in systems]
        gmac = [
            f"{sum(layer.macs for layer in system.merging.cost) / 1e9:.1f}" for system in systems
        ]
        shown = [values[:1] if values[0] == values[1] else values for values in (tokens, gmac)]
        assert row == [each for values in shown for each in (*values, "")[:2]]


def test_what_is_not_there_is_noticed():
    said = "`scripts/{eval,sing}.py`, make fly\nmake demo; python -m benchmarks.none, docs/x.png."
    assert sorted(missing(said)) == ["benchmarks.none", "docs/x.png", "scripts/sing.py"]
    said = "`make fly`, tokmerge_jax.merging.magic, tokmerge_jax.load, tokmerge_jax/none/"
    assert sorted(missing(said)) == ["fly", "tokmerge_jax.merging.magic", "tokmerge_jax/none/"]
    assert [*missing("`merging/{tome,magic}.py`, data/magic.json")] == ["merging/magic.py"]


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
