"""The tables that `stages.py` prints."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import rich.box
import rich.table

from benchmarks.figures import Row


def table(rows: Sequence[Row], title: str) -> rich.table.Table:
    """A table of the figures of `report`; "-" stands for a figure that does not exist."""
    view = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = {
        "clips/s": lambda row: _digits(row["clips_per_second"]),
        "TFLOP/s": lambda row: _digits(row["tflops"]),
        "of ceiling": lambda row: _formatted(row["share_of_ceiling"], ".0%"),
        "peak MiB": lambda row: _formatted(row["peak_bytes"] and row["peak_bytes"] / 2**20, ".0f"),
        "compile s": lambda row: _formatted(row["compile_seconds"], ".1f"),
        "median s": lambda row: f"{row['seconds']:.3f}",
        "min-max s": lambda row: f"{row['fastest']:.3f}-{row['slowest']:.3f}",
        "GMAC": lambda row: _formatted(row["gmac"], ".1f"),
        "x first": lambda row: f"{row['times_first']:.2f}",
        "difference": lambda row: f"{row['difference']:.0e}",
    }
    view.add_column("stage")
    view.add_column("way")
    for name in columns:
        view.add_column(name, justify="right", no_wrap=True)
    stages = [row["stage"] for row in rows]
    for i, row in enumerate(rows):
        stage = row["stage"] if row["stage"] not in stages[:i] else ""
        view.add_row(stage, row["way"], *(column(row) for column in columns.values()))
    return view


def _formatted(figure: float | None, form: str) -> str:
    return "-" if figure is None else format(figure, form)


def _digits(figure: float | None) -> str:
    """Three significant digits, without an exponent."""
    if figure is None:
        return "-"
    return np.format_float_positional(figure, 3, unique=False, fractional=False, trim="-")


def memory_table(rows: Sequence[dict[str, Any]]) -> rich.table.Table:
    """A table of the figures of `training.memory`, with bytes as MiB."""
    counts = "stage", "clips", "parts"
    view = rich.table.Table(title="Training holds, in MiB")
    for title in rows[0]:
        view.add_column(title, justify="left" if title == "stage" else "right")
    for row in rows:
        view.add_row(*(str(x) if name in counts else f"{x / 2**20:.1f}" for name, x in row.items()))
    return view
