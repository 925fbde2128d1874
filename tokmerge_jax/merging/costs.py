"""The cost of layers, without a model: multiply-accumulates, as papers count "GFLOPs".

Only matrix products count; norms, softmax and additions are left out.
"""

from collections.abc import Sequence

from tokmerge_jax.merging.merger import Merger
from tokmerge_jax.types import LayerCost


def attention(tokens: int, width: int) -> int:
    """The cost of attention among `tokens`, with its four projections."""
    return 4 * tokens * width**2 + 2 * tokens**2 * width


def mlp(tokens: int, width: int, hidden: int | None = None) -> int:
    """The cost of an MLP of hidden width `hidden`; None = four times `width`."""
    return 2 * tokens * width * (hidden or 4 * width)


def block(
    merger: Merger | None, tokens: int, width: int, heads: int, mlp_width: int | None = None
) -> int:
    """The cost of a layer that `tokens` enter: attention, MLP, and its merger at any place."""
    if merger is None:
        return attention(tokens, width) + mlp(tokens, width, mlp_width)
    left = tokens - merger.r
    attending = left if merger.place in ("input", "before") else tokens
    macs = merger.macs(tokens, width, heads) + attention(attending, width)
    if merger.place == "before":  # queries and keys of all tokens, for the evidence
        macs += 2 * tokens * width**2
    return macs + mlp(tokens if merger.place == "mlp" else left, width, mlp_width)


def vit(
    mergers: Sequence[Merger | None],
    tokens: int,
    *,
    width: int,
    heads: int,
    patch_inputs: int,
    class_tokens: int = 0,
) -> tuple[LayerCost, ...]:
    """The cost of each layer of a joint-attention ViT.

    Args:
      mergers: the merger of each layer, or None.
      tokens: number of tokens of one clip, class tokens included.
      width: number of channels.
      heads: number of heads.
      patch_inputs: number of values in a patch, for example 3 * 16 * 16.
      class_tokens: number of the tokens that are no patches.
    """
    embedding = (tokens - class_tokens) * width * patch_inputs
    costs = [LayerCost("patch_embedding", tokens, tokens, embedding)]
    for i, merger in enumerate(mergers):
        left = tokens - (merger.r if merger else 0)
        macs = block(merger, tokens, width, heads)
        costs.append(LayerCost(f"block_{i}", tokens, left, macs))
        tokens = left
    return tuple(costs)
