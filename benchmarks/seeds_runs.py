"""The trainings and evaluations of one seed, each in a process of its own."""

import pathlib
import subprocess
import sys
from collections.abc import Mapping

from benchmarks.seeds_recipes import DEMO, Recipe, evaluations
from tokmerge_jax import demo_files
from tokmerge_jax.config import files
from tokmerge_jax.types import UserError

SHIPPED = "shipped"
"""The name of the folder of results of the shipped weights."""


class Seed:
    """What is trained with one seed, or shipped.

    Attributes:
      folder: holds the weights `<name>.safetensors`, and the results in `results/<run>/`.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        number: int | None,
        data: pathlib.Path,
        recipes: Mapping[str, Recipe],
    ) -> None:
        """Names what belongs together.

        Args:
          folder: as above.
          number: the seed; None = the shipped weights.
          data: holds the demos' clips, or will hold them.
          recipes: name of weights -> its recipe.
        """
        self.folder = folder
        self._number, self._data, self._recipes = number, data, recipes

    def weights(self, name: str) -> pathlib.Path:
        """The path of the weights `name`."""
        file = f"{name}.safetensors"
        return pathlib.Path(demo_files.path(file)) if self._number is None else self.folder / file

    def train(self, name: str) -> None:
        """Trains the weights `name`, and those that they need, unless they are there.

        Raises:
          UserError: if a training fails.
        """
        if self.weights(name).exists():
            return
        recipe = self._recipes[name]
        for needed in recipe.needs:
            self.train(needed)
        for words in recipe.prepare:
            self._run([*words, "--folder", str(self._data)])
        settings = [f"--config.seed={self._number}", f"--config.data.folder={self._data}"]
        for file, words in recipe.steps.items():
            own = [word.replace(DEMO, "") for word in words]
            if not (self.folder / file).exists():
                self._run(own + settings * (own[0] == "train"))

    def evaluate(self, name: str) -> None:
        """Runs the evaluations of the weights `name` that are missing.

        Raises:
          UserError: if an evaluation fails.
        """
        weights = self.weights(name)
        for run, words in evaluations().items():
            uses = pathlib.Path(files.load(words[1]).checkpoint).name == weights.name
            if uses and not (self.folder / "results" / run / "results.json").exists():
                own = [f"--config.checkpoint={weights}", f"--config.data.folder={self._data}"]
                self._run(["eval", *words, *own])

    def _run(self, words: list[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        print(f"{self.folder.name}: tokmerge {' '.join(words)}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "tokmerge_jax", *words]
        if code := subprocess.run(command, check=False, cwd=self.folder).returncode:
            raise UserError(f"tokmerge {words[0]} in {self.folder} ended with exit code {code}")
