"""Pictures of saliency, merged patches and frames, accuracy against cost, and confusions."""

from tokmerge_jax.visualize.animation import panels, write_gif, write_mp4
from tokmerge_jax.visualize.figure import PRINT, figure
from tokmerge_jax.visualize.film import film
from tokmerge_jax.visualize.merges import Merge, merges
from tokmerge_jax.visualize.rows import Row, animation_rows, details, overview

__all__ = [
    "PRINT",
    "Merge",
    "Row",
    "animation_rows",
    "details",
    "figure",
    "film",
    "merges",
    "overview",
    "panels",
    "write_gif",
    "write_mp4",
]
