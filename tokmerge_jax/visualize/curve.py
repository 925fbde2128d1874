"""Accuracy against cost over a sweep of merging schedules."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_PLAIN = {"color": "0.35", "linestyle": "--", "linewidth": 1}


def draw(results: Sequence[Mapping[str, Any]]) -> Figure:
    """The headline metric against GMAC and against clips a second.

    Runs of one merger are joined in the order of their cost; one without merging is a dashed line.

    Args:
      results: what results.json of the runs holds, all of one metric.
    """
    result = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = result.subplots(1, 2, sharey=True)
    for axes, key, label in ((left, "gmac", "GMAC a clip"), (right, "clips_per_second", "clips/s")):
        known = [found for found in results if found[key] is not None]
        for name in sorted({_merger(found) for found in known} - {"none"}):
            _line(axes, [found for found in known if _merger(found) == name], key, name)
        for found in (found for found in known if _merger(found) == "none"):
            axes.axhline(found["headline"]["value"], **_PLAIN)
            axes.plot(found[key], found["headline"]["value"], "s", color="0.35", label="no merging")
        axes.set(xlabel=label)
        axes.margins(0.15)  # room for the schedules' names
        axes.grid(alpha=0.3)
    left.set_ylabel(f"{results[0]['headline']['name']}, %")
    left.legend()
    return result


def _line(axes: Axes, results: Sequence[Mapping[str, Any]], key: str, name: str) -> None:
    points = sorted(results, key=lambda found: found["gmac"])
    values = [found["headline"]["value"] for found in points]
    axes.plot([found[key] for found in points], values, "o-", label=name)
    for found in points:
        place = found[key], found["headline"]["value"]
        text = schedule(found["tokens"])
        axes.annotate(text, place, xytext=(4, 5), textcoords="offset points", fontsize=7)


def schedule(tokens: Sequence[int]) -> str:
    """The tokens that merged in each layer, without the zeros at the end."""
    layers = [before - after for before, after in itertools.pairwise(tokens[1:])]
    used = max((layer + 1 for layer, merged in enumerate(layers) if merged), default=0)
    return ", ".join(map(str, layers[:used]))


def _merger(found: Mapping[str, Any]) -> str:
    tokens = found["tokens"]
    return found["config"]["model"]["merger"]["name"] if tokens[-1] < tokens[0] else "none"
