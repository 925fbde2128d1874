"""The commands that train and evaluate the demos, read where users read them."""

import importlib
import pathlib
import pkgutil
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tokmerge_jax import configs

_ROOT = pathlib.Path(__file__).parents[1]
DEMO = "demo/tokmerge_jax_demo/"
"""The folder of the shipped weights, as the commands name it."""


class Recipe(NamedTuple):
    """How weights are trained.

    Attributes:
      needs: names of the weights that the training starts from.
      prepare: the arguments of each `tokmerge prepare` before it in the docstring.
      steps: a file -> the arguments of the `tokmerge convert` or `tokmerge train` that writes it.
    """

    needs: tuple[str, ...]
    prepare: tuple[list[str], ...]
    steps: Mapping[str, list[str]]


def recipes() -> dict[str, Recipe]:
    """Name of weights -> its recipe, in an order in which it follows those that it needs."""
    texts = [
        importlib.import_module(f"{configs.__name__}.{module.name}").__doc__ or ""
        for module in pkgutil.iter_modules(configs.__path__)
        if module.name.startswith("demo")
    ]
    return _sorted(dict(pair for text in texts for pair in read(text)))


def read(text: str) -> Iterator[tuple[str, Recipe]]:
    """The recipes in a docstring; each ends with the training that writes shipped weights."""
    prepare: list[list[str]] = []
    steps: dict[str, list[str]] = {}
    for line in re.findall(r"^ +tokmerge (.*)$", text.replace("\\\n", " "), re.MULTILINE):
        words = shlex.split(line)
        if words[0] == "prepare":
            prepare.append(words)
        if not (written := {"--export", "--target"}.intersection(words)):
            continue
        file = words[words.index(written.pop()) + 1]
        steps[file] = words
        if (_ROOT / DEMO / file).is_file():
            used = " ".join(word for step in steps.values() for word in step)
            needs = re.findall(rf"{DEMO}(\w+)\.safetensors", used)
            yield pathlib.Path(file).stem, Recipe((*needs,), (*prepare,), steps)
            steps = {}


def _sorted(known: Mapping[str, Recipe]) -> dict[str, Recipe]:
    result: dict[str, Recipe] = {}

    def add(name: str) -> None:
        for needed in known[name].needs:
            add(needed)
        result[name] = known[name]

    for name in known:
        add(name)
    return result


def evaluations() -> dict[str, list[str]]:
    """A run's folder below `results/` -> the arguments of its evaluation, as in `Makefile`."""
    lines = re.findall(r"scripts/eval\.py (.*)", (_ROOT / "Makefile").read_text())
    pattern = r"--config configs/(\w+)\.py(\S*) (.*?) ?(--config\.output=results/(\S+))"
    parts = (re.fullmatch(pattern, line) for line in lines)
    return {
        part[5]: ["--config", part[1] + part[2], *shlex.split(part[3]), part[4]]
        for part in parts
        if part
    }
