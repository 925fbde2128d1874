"""TESTA's own two settings, `merging_type` and `testa_r`, as numbers of frames and patches."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

from tokmerge_jax.merging import schedule
from tokmerge_jax.types import UserError

_TYPES = ("none", "patch", "frame", "frame&patch")


def translate(
    merging_type: str | Sequence[str],
    r: Any,  # as of `schedule.resolve`
    depth: int,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the number of frames and the number of patches that merge in each block.

    Args:
      merging_type: "patch", "frame", "frame&patch", "patch-frame" or "frame-patch" (the blocks take
        turns); or a list with "patch", "frame", "frame&patch" or "none" for each block.
      r: a list of numbers, which the merges take one after the other, in a block frames first; or
        what `schedule.resolve` spreads over the blocks.
      depth: number of blocks.

    Raises:
      UserError: if the type or the form of `r` is unknown.
    """
    types = merging_type.split("-") if isinstance(merging_type, str) else merging_type
    if not types or any(each not in _TYPES for each in types):
        raise UserError(
            f"the merging type {merging_type!r} is unknown; write patch, frame, frame&patch,"
            " patch-frame, frame-patch, or a list of those without a dash"
        )
    if not isinstance(r, list):
        r = schedule.resolve(r, depth, sys.maxsize, most=lambda tokens: tokens)
    numbers, frames, patches = iter(r), [], []
    for each in itertools.islice(itertools.cycle(types), depth):
        frames.append(next(numbers, 0) if "frame" in each else 0)
        patches.append(next(numbers, 0) if "patch" in each else 0)
    return tuple(frames), tuple(patches)
