"""Plots speed relative to the originals: one group of bars per job."""

import dataclasses
import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

_HEIGHT = 0.24  # height of a bar in inches


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The speed of others relative to ours, for one job.

    Attributes:
      job: name of the job.
      ways: names of the others, such as "original, eager".
      ratios: for each of them, their seconds / ours in each round.
    """

    job: str
    ways: tuple[str, ...]
    ratios: tuple[tuple[float, ...], ...]


def draw(comparisons: Sequence[Comparison]) -> Figure:
    """Plots medians of the ratios as bars and all rounds as dots; right means we are faster."""
    ways = list(dict.fromkeys(way for each in comparisons for way in each.ways))
    bars = sum(len(each.ways) for each in comparisons)
    height = _HEIGHT * (bars + 0.6 * len(comparisons)) + 1.1
    result = Figure(figsize=(8, height), layout="constrained")
    axes = result.subplots()
    ticks, place = [], 0.0
    for each in comparisons:
        ticks.append(place + (len(each.ways) - 1) / 2)
        for way, ratios in zip(each.ways, each.ratios, strict=True):
            colour = f"C{ways.index(way)}"
            median = statistics.median(ratios)
            axes.barh(place, median - 1, left=1, color=colour, height=0.85, label=way)
            axes.plot(ratios, [place] * len(ratios), ".", color="0.2", ms=3)
            axes.annotate(
                f"{median:.3g}",
                (max(1, *ratios), place),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
            place += 1
        place += 0.6
    axes.axvline(1, color="0.35", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_yticks(ticks, [each.job for each in comparisons], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as")
    axes.margins(x=0.12, y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    kept = dict(zip(labels, handles, strict=True))
    result.legend(kept.values(), kept, loc="outside upper center", ncols=3, frameon=False)
    return result
