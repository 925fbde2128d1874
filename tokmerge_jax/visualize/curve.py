"""Accuracy against cost over a sweep of merging schedules."""

import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokmerge_jax.types import Json
from tokmerge_jax.visualize.letters import fonts, wrapped

_LETTERS = 40  # of a line of a run's name
_PLAIN = "0.35"  # the grey of runs without merging
_PANELS = {"gmac": "GMAC a clip", "clips_per_second": "clips a second"}


def draw(results: Sequence[Mapping[str, Json]]) -> Figure:
    """The headline metric against GMAC and against clips a second.

    Runs of one network and merger are joined in the order of their cost; one without merging is a
    point on a dashed line. A run whose speed is not known is in the first panel alone.

    Args:
      results: what results.json of the runs holds, all of one metric.
    """
    result = Figure(figsize=(7, 2.8), layout="constrained")
    panels = result.subplots(1, 2, sharey=True)
    for axes, (key, label) in zip(panels, _PANELS.items(), strict=True):
        for colour, (name, runs) in enumerate(_sweeps(results)):
            _line(axes, runs, key, name, f"C{colour}")
        _references(axes, [found for found in results if not _merged(found)], key)
        axes.set_xlabel(label)
        axes.margins(x=0.15, y=0.18)  # room for the schedules' names
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"{results[0]['headline']['name']}, %")
    handles, labels = panels[0].get_legend_handles_labels()
    names = [wrapped(label, _LETTERS) for label in labels]
    place = {"loc": "outside upper center", "ncols": 3, "frameon": False}
    result.legend(handles, names, prop=fonts("".join(names)), **place)
    return result


def save(drawn: Figure, target: pathlib.Path) -> None:
    """Writes `target` with .png and with .pdf, whose letters stay letters, behind its name."""
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        for suffix in (".png", ".pdf"):
            drawn.savefig(target.with_name(target.name + suffix), dpi=200)


def schedule(tokens: Sequence[int]) -> str:
    """The tokens that merged in each layer, without the zeros at the end."""
    layers = [before - after for before, after in itertools.pairwise(tokens[1:])]
    used = max((layer + 1 for layer, merged in enumerate(layers) if merged), default=0)
    return ", ".join(map(str, layers[:used]))


def _sweeps(results: Sequence[Mapping[str, Json]]) -> list[tuple[str, list[Mapping[str, Json]]]]:
    """The runs that merge, one name and list for each merger and network, the cheapest first."""
    sweeps: dict[tuple[str, str], list[Mapping[str, Json]]] = {}
    for found in sorted(filter(_merged, results), key=lambda found: found["gmac"]):
        model = found["config"]["model"]
        shared = model["merger"]["name"], json.dumps(model["vision"])
        sweeps.setdefault(shared, []).append(found)
    several = len({network for _, network in sweeps}) > 1
    return [
        (f"{merger}, {runs[0]['name']}" if several else merger, runs)
        for (merger, _), runs in sorted(sweeps.items())
    ]


def _line(axes: Axes, runs: Sequence[Mapping[str, Json]], key: str, name: str, colour: str) -> None:
    known = [found for found in runs if found[key] is not None]
    values = [found["headline"]["value"] for found in known]
    axes.plot([found[key] for found in known], values, "o-", color=colour, label=name, ms=4)
    for place, found in enumerate(known):
        axes.annotate(
            schedule(found["tokens"]),
            (found[key], values[place]),
            (0, (6, -12)[place % 2]),  # neighbours above and below
            textcoords="offset points",
            fontsize=7,
            ha="center",
        )


def _references(axes: Axes, runs: Sequence[Mapping[str, Json]], key: str) -> None:
    for place, found in enumerate(runs):
        value, label = found["headline"]["value"], "_" if place else "no merging"
        axes.axhline(value, color=_PLAIN, linestyle="--", linewidth=1, label=label)
        if found[key] is not None:
            axes.plot(found[key], value, "s", color=_PLAIN, ms=5)


def _merged(found: Mapping[str, Json]) -> bool:
    return found["tokens"][-1] < found["tokens"][0]
