"""Plots accuracy against cost over a sweep of merging schedules."""

import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokmerge_jax.types import Json
from tokmerge_jax.visualize import costs
from tokmerge_jax.visualize.letters import fonts, wrapped

_LETTERS = 40  # letters per line of a run's name
_PLAIN = "0.35"  # the grey of runs without merging
_PANELS = {"gmac": "GMAC per {}", "clips_per_second": "{}s per second"}


def draw(results: Sequence[Mapping[str, Json]]) -> Figure:
    """Plots the headline metric against GMAC and against clips per second.

    Runs of the same network, weights and merger are joined in the order of cost; a run without
    merging is a point on a dashed line. A run of unknown speed appears only in the first panel.

    Args:
      results: the content of the runs' results.json, all with the same metric.
    """
    result = Figure(figsize=(7, 2.8), layout="constrained")
    panels = result.subplots(1, 2, sharey=True)
    unit = "view" if "crops" in results[0]["protocol"] else "clip"
    for axes, (key, label) in zip(panels, _PANELS.items(), strict=True):
        for colour, (name, runs) in enumerate(_sweeps(results)):
            _line(axes, runs, key, name, f"C{colour}")
        for place, run in enumerate(run for run in results if not _merged(run)):
            value, shown = run["headline"]["value"], "_" if place else "no merging"
            axes.axhline(value, color=_PLAIN, linestyle="--", linewidth=1, label=shown)
            if run[key] is not None:
                axes.plot(run[key], value, "s", color=_PLAIN, ms=5)
        axes.set_xlabel(label.format(unit))
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
    """Writes `target`.png and `target`.pdf, in which text stays text."""
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        for suffix in (".png", ".pdf"):
            drawn.savefig(target.with_name(target.name + suffix), dpi=200)


def schedule(tokens: Sequence[int]) -> str:
    """The numbers of tokens that merge in each layer, without trailing zeros."""
    layers = [before - after for before, after in itertools.pairwise(tokens[1:])]
    used = max((layer + 1 for layer, merged in enumerate(layers) if merged), default=0)
    return ", ".join(map(str, layers[:used]))


def _sweeps(results: Sequence[Mapping[str, Json]]) -> list[tuple[str, list[Mapping[str, Json]]]]:
    """(name, runs) for each merger, network and weights, cheapest run first; all merge."""
    sweeps: dict[tuple[str, str, str], list[Mapping[str, Json]]] = {}
    for run in sorted(filter(_merged, results), key=lambda run: run["gmac"]):
        model = run["config"]["model"]
        shared = model["merger"]["name"], json.dumps(model["vision"]), run["config"]["checkpoint"]
        sweeps.setdefault(shared, []).append(run)
    several = len({network for _, network, _ in sweeps}) > 1
    weights = costs.short({checkpoint for _, _, checkpoint in sweeps})
    named = []
    for (merger, _, checkpoint), runs in sorted(sweeps.items()):
        name = f"{merger}, {runs[0]['name']}" if several else merger
        named.append((f"{name} ({weights[checkpoint]})" if len(weights) > 1 else name, runs))
    return named


def _line(axes: Axes, runs: Sequence[Mapping[str, Json]], key: str, name: str, colour: str) -> None:
    known = [run for run in runs if run[key] is not None]
    values = [run["headline"]["value"] for run in known]
    axes.plot([run[key] for run in known], values, "o-", color=colour, label=name, ms=4)
    for place, run in enumerate(known):
        axes.annotate(
            schedule(run["tokens"]),
            (run[key], values[place]),
            (0, (6, -12)[place % 2]),  # neighbours above and below
            textcoords="offset points",
            fontsize=7,
            ha="center",
        )


def _merged(run: Mapping[str, Json]) -> bool:
    return run["tokens"][-1] < run["tokens"][0]
