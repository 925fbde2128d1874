"""Pictures: what is salient in a clip, which patches became one token, accuracy against cost."""

from tokmerge_jax.visualize.animation import panels, write_gif, write_mp4
from tokmerge_jax.visualize.figure import details, figure, overview
from tokmerge_jax.visualize.patches import (
    Merge,
    dim,
    group_edges,
    merges,
    paint_groups,
    paint_mass,
    paint_saliency,
    tint_groups,
)

__all__ = [
    "Merge",
    "details",
    "dim",
    "figure",
    "group_edges",
    "merges",
    "overview",
    "paint_groups",
    "paint_mass",
    "paint_saliency",
    "panels",
    "tint_groups",
    "write_gif",
    "write_mp4",
]
