"""The metrics of all seeds' runs, and their table."""

import pathlib
from collections.abc import Mapping

import rich.box
import rich.table

from benchmarks.seeds_recipes import evaluations
from benchmarks.seeds_runs import SHIPPED
from tokmerge_jax.evaluation import report


def read(output: pathlib.Path) -> dict[str, dict[str, tuple[str, float]]]:
    """Run -> seed's folder -> name and value of its metric."""
    folders = [SHIPPED, *sorted(path.name for path in output.glob("seed_*"))]
    files = {
        run: {folder: output / folder / "results" / run / "results.json" for folder in folders}
        for run in evaluations()
    }
    return {
        run: {seed: _headline(file) for seed, file in each.items() if file.exists()}
        for run, each in files.items()
        if any(file.exists() for file in each.values())
    }


def _headline(file: pathlib.Path) -> tuple[str, float]:
    metric = report.read(file)["headline"]
    return metric["name"], metric["value"]


def table(runs: Mapping[str, Mapping[str, tuple[str, float]]]) -> rich.table.Table:
    """A table of the runs, with the mean and the range over the seeds; Markdown can hold it."""
    seeds = [*dict.fromkeys(seed for run in runs.values() for seed in run)]
    view = rich.table.Table(box=rich.box.MARKDOWN)
    for title in ("run", "metric"):
        view.add_column(title, no_wrap=True)
    for title in (*seeds, "mean", "lowest to highest"):
        view.add_column(title, justify="right", no_wrap=True)
    for run, metrics in runs.items():
        values = [value for _, value in metrics.values()]
        name = next(iter(metrics.values()))[0]
        each = (f"{metrics[seed][1]:.1f}" if seed in metrics else "-" for seed in seeds)
        mean, extent = sum(values) / len(values), f"{min(values):.1f} to {max(values):.1f}"
        view.add_row(run, name, *each, f"{mean:.1f}", extent)
    return view
