"""Towers in which the tokens of all frames attend to each other."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from tokmerge_jax.merging import Merger
from tokmerge_jax.merging.merger import BLOCK, Place, find
from tokmerge_jax.systems.towers import Tower


@dataclasses.dataclass(frozen=True)
class JointTower(Tower):
    """A video transformer with joint attention, in `models.umt.UMTViT`'s form.

    Attributes:
      config: the system's configuration.
    """

    places: ClassVar[tuple[Place, ...]] = ("input", *BLOCK)

    @property
    def scheduled_layers(self) -> int:
        """As in `Tower`; a merger at the place "input" acts once, before the first layer."""
        return 1 if self._at_input else super().scheduled_layers

    @property
    def never_merged(self) -> int:
        """As in `Tower`; at the place "input" the patches of the first frame as well."""
        return self.protected + (self.patches if self._at_input else 0)

    @property
    def _at_input(self) -> bool:
        return self.merger != "none" and find(self.merger, self.places).place == "input"

    def mergers(self, r: Sequence[int]) -> tuple[Merger | None, ...]:
        """The mergers of all layers for the schedule `r`; None where it is 0 or ends."""
        mergers = super().mergers(r)
        return mergers + (None,) * (self.config.model.vision.depth - len(mergers))
