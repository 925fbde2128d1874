"""What grows in `scale.py`, by how much, and what time and memory should do."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from tokmerge_jax.types import UserError

MEMORY: Mapping[Literal["flat", "linear"], int] = {"flat": 0, "linear": 1}
"""How memory should grow -> the exponent of the work."""

_ATTEND = "all patches attend to one another: pairs of them grow by 2, GMAC by {gmac:.2f}"
_TWICE = "linear but for a step at some 4000 patches, from which XLA's fused products take more"


class Axis(NamedTuple):
    """A kind of work that grows.

    Attributes:
      title: what grows.
      work: the amounts, ascending.
      memory: how memory beside what was held at the start should grow, a key of `MEMORY`.
      why_time: why time grows faster than the work, where it does; "{gmac}" is the exponent of the
        multiply-accumulates.
      most: the largest exponent of the time that this explains.
      why_memory: why memory grows faster than it should, where it does.
      edge: whether the work is the edge of an area, which is what grows.
      configured: whether the work is that of `--config`.
    """

    title: str
    work: tuple[int, ...]
    memory: Literal["flat", "linear"]
    why_time: str = ""
    most: int = 1
    why_memory: str = ""
    edge: bool = False
    configured: bool = False

    def amount(self, work: int) -> int:
        """What grows: the work, or the area of its edge."""
        return work**2 if self.edge else work


AXES: Mapping[str, Axis] = {
    "videos": Axis("videos, and texts, of an evaluation", (100, 200, 400, 800), "flat"),
    "pairs": Axis(
        "videos, and texts, whose scores are ranked",
        (2000, 4000, 8000, 16000),
        "linear",
        why_time="each text is compared with each video",
        most=2,
    ),
    "index": Axis("videos of an index", (100, 200, 400, 800), "flat"),
    "length": Axis("minutes of a video in an index", (4, 8, 16, 32), "flat"),
    "train": Axis("clips of an epoch of training", (100, 200, 400, 800), "flat"),
    "batch": Axis("clips of a batch", (1, 2, 4, 8), "linear", why_memory=_TWICE, configured=True),
    "frames": Axis(
        "frames of a clip", (8, 16, 32, 64, 96), "linear",
        why_time=_ATTEND, most=2, why_memory=_TWICE, configured=True,
    ),
    "merging": Axis(
        "frames of a clip, merging", (8, 16, 32, 64, 96), "linear",
        why_time=_ATTEND, most=2, why_memory=_TWICE, configured=True,
    ),
    "pixels": Axis(
        "pixels of a frame", (224, 272, 320, 384, 448), "linear",
        why_time=_ATTEND, most=2, why_memory=_TWICE, edge=True, configured=True,
    ),
}  # fmt: skip
"""Name -> axis, in the order in which they are measured and shown."""


class Point(NamedTuple):
    """An amount of an axis's work."""

    axis: str
    work: int

    @property
    def name(self) -> str:
        """The point as text, as `read` reads it."""
        return f"{self.axis}:{self.work}"

    @classmethod
    def read(cls, name: str) -> "Point":
        """The point of a name."""
        axis, _, work = name.partition(":")
        return cls(axis, int(work))


def points(names: list[str]) -> list[Point]:
    """All points of the named axes, in order; of all axes, if none is named.

    Raises:
      UserError: if an axis is unknown.
    """
    if unknown := set(names) - AXES.keys():
        raise UserError(
            f"--axes={','.join(names)}: unknown {', '.join(sorted(unknown))}; known:"
            f" {', '.join(AXES)}"
        )
    return [
        Point(name, work)
        for name, axis in AXES.items()
        if not names or name in names
        for work in axis.work
    ]
