"""The frames and patches that each block of TESTA's network merges, and the network's cost.

Source: TESTA (Findings of EMNLP 2023), section 3.
"""

import dataclasses
from collections.abc import Callable, Sequence

from tokmerge_jax.config.parts import none_of
from tokmerge_jax.merging import costs, matching, merger
from tokmerge_jax.merging.merger import Merger, Place
from tokmerge_jax.merging.vote import Vote
from tokmerge_jax.types import LayerCost


@dataclasses.dataclass(frozen=True)
class Aggregation:
    """One block's mergers: of frames, after attention over time; of patches, after that in frames.

    Attributes:
      frames: the merger at the place "time", or None.
      patches: the merger at the place "attention", or None.
    """

    frames: Merger | None = None
    patches: Merger | None = None


def protected_frames(r_patches: Sequence[int]) -> int:
    """Number of frames to subtract before halving: 1 if patches merge too, else 0.

    TESTA's code then counts the class token as a frame.
    """
    return int(any(r_patches))


def find(
    name: str, frames: str = "", places: Sequence[Place] = ("attention",)
) -> tuple[type[Merger], type[Merger]]:
    """Returns the merger of frames, and that of the patches in each frame.

    Args:
      name: the merger of patches (`merger.find`); "testa" is ToMe.
      frames: a merger at the place "time"; "" is the vote, or pruning where patches are pruned.
      places: where the network can merge patches.

    Raises:
      UserError: see `merger.find`.
    """
    patches = "tome" if name in ("testa", "none") else name
    frames = frames or ("prune_frames" if name == "prune" else "vote")
    return (
        merger.find(frames, ("time",), key="model.merger.frames_by", also=()),
        merger.find(patches, places, also=("none", "testa")),
    )


def most_patches(kind: type[Merger]) -> Callable[[int], int]:
    """The largest r of a frame by the number of its tokens, class token included; a patch stays."""
    return lambda tokens: min(kind.most(tokens, class_tokens=1), max(tokens - 2, 0))


def plan(
    kinds: tuple[type[Merger], type[Merger]],
    r_frames: Sequence[int],
    r_patches: Sequence[int],
    vote: str = "min",
) -> tuple[Aggregation, ...]:
    """Returns the mergers of every block.

    Args:
      kinds: the mergers of frames and of patches (`find`).
      r_frames: number of frames that merge away in each block; their limit leaves out
        `protected_frames`.
      r_patches: number of patches of each frame that merge away in each block.
      vote: see `Vote`; used only if frames merge by it.

    Raises:
      UserError: if the vote is unknown.
    """
    if vote not in matching.VOTES:
        raise none_of("model.merger.vote", vote, matching.VOTES)
    depth, protected = len(r_frames), protected_frames(r_patches)

    def of_frames(layer: int, r: int) -> Merger:
        own = kinds[0].at(layer, depth, r, protected)
        return dataclasses.replace(own, vote=vote) if isinstance(own, Vote) else own

    return tuple(
        Aggregation(
            of_frames(i, r) if r else None, kinds[1].at(i, depth, s, class_tokens=1) if s else None
        )
        for i, (r, s) in enumerate(zip(r_frames, r_patches, strict=True))
    )


def cost(
    plan: Sequence[Aggregation],
    frames: int,
    patches: int,
    *,
    width: int,
    heads: int,
    patch_inputs: int,
) -> tuple[LayerCost, ...]:
    """Multiply-accumulates of a divided space-time ViT, as `merging.costs` counts them.

    Args:
      plan: what each block merges.
      frames: T of the input.
      patches: number of patches of a frame of the input.
      width: number of channels.
      heads: K.
      patch_inputs: number of values in a patch.
    """
    tokens = 1 + frames * patches
    layers = [LayerCost("patch_embedding", tokens, tokens, (tokens - 1) * width * patch_inputs)]
    for i, block in enumerate(plan):
        macs = _attention_macs(block, frames, patches, width, heads)
        frames -= block.frames.r if block.frames else 0
        patches -= block.patches.r if block.patches else 0
        left = 1 + frames * patches
        layers.append(LayerCost(f"block_{i}", tokens, left, macs + costs.mlp(left, width)))
        tokens = left
    return tuple(layers)


def _attention_macs(block: Aggregation, frames: int, patches: int, width: int, heads: int) -> int:
    """Multiply-accumulates of a block's two attentions and mergers, without the MLP."""
    out = frames * patches * width**2  # a second projection after attention over time
    macs = patches * costs.attention(frames, width) + out
    if block.frames:
        macs += patches * block.frames.macs(frames, width, heads)
        frames -= block.frames.r
    macs += frames * costs.attention(1 + patches, width)
    if block.patches:
        macs += frames * block.patches.macs(1 + patches, width, heads)
    return macs
