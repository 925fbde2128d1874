"""A kind of input: good ones of it, damage to them, and the function that users read them with."""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable

import numpy as np

from tests.fuzz import mutations

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
      name: the kind's.
      make: writes good inputs into a folder, each in a folder of its own; folders whose names begin
        with _ are what these depend on.
      read: reads an input, given its folder and that of `make`; a UserError says why it cannot be.
      damaged: patterns of the files of an input that are damaged.
      limit_s: seconds that reading may take.
      limit_mib: memory that reading may need beyond what the process had, without the files' own.
      limit_sizes: how many times the files' size may come on top.
      inputs: how many there are that are read as they are, without damage; 0 = damaged ones.
    """

    name: str
    make: Callable[[pathlib.Path], None]
    read: Callable[[pathlib.Path, pathlib.Path], None]
    damaged: tuple[str, ...] = ("*",)
    limit_s: float = 5.0
    limit_mib: float = 1024.0
    limit_sizes: float = 0.0
    inputs: int = 0

    def variants(self, good: pathlib.Path) -> list[pathlib.Path]:
        """The good inputs."""
        return sorted(good.glob("[!_]*"))

    def write(self, good: pathlib.Path, case: pathlib.Path, number: int, seed: int) -> None:
        """Writes case `number` into the new folder `case`; `good` is the folder of `make`."""
        variants = self.variants(good)
        shutil.copytree(variants[number % len(variants)], case)
        if self.inputs:
            return
        rng = np.random.default_rng([seed, number])
        files = sorted({f for p in self.damaged for f in case.rglob(p) if f.is_file()})
        for file in rng.permutation(np.array(files, object))[: rng.choice([1, 1, 1, 2])]:
            if len(files) > 1 and rng.integers(12) == 0:
                file.unlink()
            else:
                file.write_bytes(mutations.damage(file.name, file.read_bytes(), rng))
