"""What layers cost, without a model: multiply-accumulates, as papers count "GFLOPs".

Matrix products alone: norms, softmax and additions are left out.
"""

from collections.abc import Sequence

from tokmerge_jax.merging.merger import Merger
from tokmerge_jax.types import LayerCost


def attention(tokens: int, width: int) -> int:
    """Attention of `tokens` among one another, with its four projections."""
    return 4 * tokens * width**2 + 2 * tokens**2 * width


def mlp(tokens: int, width: int) -> int:
    """An MLP whose hidden width is four times `width`."""
    return 8 * tokens * width**2


def block(merger: Merger | None, tokens: int, width: int, heads: int) -> int:
    """One layer that `tokens` enter: attention, its merger, and the MLP before or after it."""
    macs = attention(tokens, width)
    if merger:
        macs += merger.macs(tokens, width, heads)
        tokens -= merger.r if merger.place == "attention" else 0
    return macs + mlp(tokens, width)


def vit(
    mergers: Sequence[Merger | None], tokens: int, *, width: int, heads: int, patch_inputs: int
) -> tuple[LayerCost, ...]:
    """Each layer of a joint-attention ViT.

    Args:
      mergers: of each layer.
      tokens: tokens of one clip; all of them are patches.
      width: channels.
      heads: number of heads.
      patch_inputs: numbers in a patch, 3 * 16 * 16 for example.
    """
    costs = [LayerCost("patch_embedding", tokens, tokens, tokens * width * patch_inputs)]
    for i, merger in enumerate(mergers):
        left = tokens - (merger.r if merger else 0)
        macs = block(merger, tokens, width, heads)
        costs.append(LayerCost(f"block_{i}", tokens, left, macs))
        tokens = left
    return tuple(costs)
