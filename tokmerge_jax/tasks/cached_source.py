"""Videos that are decoded once and stay in memory, for jobs that evaluate them many times."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tokmerge_jax import data
from tokmerge_jax.data.loader import Refuse
from tokmerge_jax.progress import tracked
from tokmerge_jax.signatures import Transform
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError

_CACHED_GIB = 2  # largest size of a split's frames that stay in memory


@dataclasses.dataclass(frozen=True)
class CachedSource(data.Source):
    """A source that decodes each video once and keeps it in memory.

    Attributes:
      transform: the transform of the source's system.
      known: row -> clip, or its fault.
    """

    transform: Transform
    known: dict[int, np.ndarray | str] = dataclasses.field(default_factory=dict)

    def clips(
        self, transform: Transform, rows: Sequence[int], refuse: Refuse
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yields as `data.Source.clips`.

        Raises:
          UserError: if `transform` is not the source's own.
        """
        if transform != self.transform:
            raise UserError("the videos in memory were resized in another way; open them again")
        new = [row for row in rows if row not in self.known]
        if new:
            self._decode(new, refuse)
        for row in rows:
            clip = self.known[row]
            if not isinstance(clip, str):
                yield row, clip
            elif row not in new:
                refuse(row, clip)

    def _decode(self, rows: Sequence[int], refuse: Refuse) -> None:
        """Adds the clips or faults of rows to `known`; each fault also goes to `refuse` at once."""

        def note(row: int, fault: str) -> None:
            self.known[row] = fault
            refuse(row, fault)

        clips = super().clips(self.transform, rows, note)
        for row, clip in tracked(clips, "decoding videos", len(rows), "video"):
            self.known[row] = np.array(clip)  # a worker's array holds shared memory and open files


def cached_source(source: data.Source, system: System) -> data.Source:
    """The source, wrapped in `CachedSource` if its frames fit into `_CACHED_GIB`."""
    config, pixels = system.config.data, system.pixels
    views = config.crops * config.clips * config.neighbours
    size = len(source.paths) * pixels.frames * views * 3 * pixels.image_size**2
    if size > _CACHED_GIB * 2**30:
        return source
    return CachedSource(**vars(source), transform=pixels.transform)
