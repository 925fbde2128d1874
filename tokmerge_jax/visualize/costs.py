"""Plots the metric of runs against what they cost."""

import pathlib
from collections.abc import Mapping

from matplotlib.figure import Figure

from tokmerge_jax.types import Json

_NEAR = 0.05  # share of the GMAC within which names would overlap
_ABOVE, _BELOW = (0, 7), (0, -14)  # the place of a name beside its point, in points


def draw(runs: Mapping[str, Mapping[str, Json]]) -> Figure:
    """Plots the headline metric against GMAC; a line joins runs of one merger and checkpoint.

    Args:
      runs: name -> the content of results.json, of one data set and task.
    """
    result = Figure(figsize=(6.4, 3.8), dpi=100, layout="constrained")
    axes = result.subplots()
    points = {name: (run["gmac"], run["headline"]["value"]) for name, run in runs.items()}
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, run in runs.items():
        config, (gmac, value) = run["config"], points[name]
        weights = pathlib.PurePath(config["checkpoint"]).stem
        label = f"{config['model']['merger']['name']} ({weights})"
        lines.setdefault(label, []).append((gmac, value))
        under = any(abs(x - gmac) < _NEAR * gmac and y > value for x, y in points.values())
        axes.annotate(
            name.rpartition("/")[-1], (gmac, value), _BELOW if under else _ABOVE,
            textcoords="offset points", ha="center", size=8, parse_math=False,
        )  # fmt: skip
    for label, line in lines.items():
        axes.plot(*zip(*sorted(line), strict=True), "o-", label=label)
    first = next(iter(runs.values()))
    metric, dataset = first["headline"]["name"], first["protocol"]["dataset"]
    axes.set(title=dataset, xlabel="GMAC", ylabel=f"{metric}, %")
    axes.margins(0.15)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="merger (weights)", frameon=False, fontsize=8, title_fontsize=8)
    return result
