"""What the points of `scale.py` say: exponents of growth, and Markdown tables of them."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.scale_axes import AXES, MEMORY, Axis, Point
from tokmerge_jax import runtime
from tokmerge_jax.types import UserError

Row = Mapping[str, Any]
"""The figures of a point (`scale_jobs.Figures`), and "work"."""

_NEAR = 0.15  # of an exponent: differences that are no other growth
_MIB = 2**20
_MARKS = "<!-- figures of benchmarks/scale.py -->", "<!-- end of figures -->"
_SAME = 24 * _MIB  # memory that varies by less is flat


class Growth(NamedTuple):
    """How time and memory grow with the work.

    Attributes:
      time: exponent of the seconds beside those of the least work.
      gmac: exponent of the multiply-accumulates; None if they are not counted.
      memory: exponent of the memory beside what was held before; 0 if that hardly varies.
    """

    time: float
    gmac: float | None
    memory: float


def rows(scale: Mapping[str, Any], name: str) -> list[Row]:
    """The measured points of an axis, by work."""
    known = [(Point.read(point), figures) for point, figures in scale["points"].items()]
    own = [{**figures, "work": point.work} for point, figures in known if point.axis == name]
    return sorted(own, key=lambda row: row["work"])


def exponent(amounts: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the logarithms of some values over those of the amounts."""
    return float(np.polyfit(np.log(amounts), np.log(values), 1)[0])


def growth(axis: Axis, measured: Sequence[Row]) -> Growth:
    """The exponents of an axis with at least two points."""
    least = [row.get("least", {"work": 0, "seconds": 0.0}) for row in measured]
    amounts = [axis.amount(row["work"]) for row in measured]
    more = [amount - each["work"] for amount, each in zip(amounts, least, strict=True)]
    longer = [row["seconds"] - each["seconds"] for row, each in zip(measured, least, strict=True)]
    gmac = [row["gmac"] for row in measured if "gmac" in row]
    over = [row["over"] for row in measured]
    return Growth(
        exponent(more, longer),
        exponent(amounts, gmac) if gmac else None,
        0.0 if max(over) - min(over) < _SAME else exponent(amounts, over),
    )


def time_verdict(axis: Axis, exponents: Growth) -> str:
    """What the exponent of the time means."""
    if exponents.time <= 1 + _NEAR:
        return "linear" if exponents.time >= 1 - _NEAR else "less than linear"
    if exponents.time > axis.most + _NEAR:
        return "faster than it should"
    return axis.why_time.format(gmac=exponents.gmac)


def memory_verdict(axis: Axis, exponents: Growth) -> str:
    """What the exponent of the memory means."""
    if exponents.memory <= _NEAR:
        return "flat"
    if exponents.memory <= MEMORY[axis.memory] + _NEAR:
        return "linear" if exponents.memory >= 1 - _NEAR else "less than linear"
    return axis.why_memory or f"not {axis.memory}"


def tables(scale: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown: how each axis grows, the stages of the evaluation, and all points."""
    known = {name: (AXES[name], measured) for name in AXES if (measured := rows(scale, name))}
    yield "| what grows | from, to | seconds | exponent | time | MiB | exponent | memory |"
    yield "|---|---|---|---|---|---|---|---|"
    for axis, measured in known.values():
        if len(measured) > 1:
            yield _summary(axis, measured)
    for row in rows(scale, "videos")[-1:]:
        yield from _stages([*rows(scale, "videos")], list(row["parts"]))
    yield ""
    yield "| what grows | amount | GMAC | seconds | CPU seconds | MiB, before | more | resident |"
    yield "|---|---|---|---|---|---|---|---|"
    for axis, measured in known.values():
        for place, row in enumerate(measured):
            yield _detail("" if place else axis.title, row)


def _summary(axis: Axis, measured: Sequence[Row]) -> str:
    exponents, first, last = growth(axis, measured), measured[0], measured[-1]
    unit = "²" if axis.edge else ""
    return _line(
        axis.title,
        f"{first['work']}{unit}, {last['work']}{unit}",
        f"{first['seconds']:.3g}, {last['seconds']:.3g}",
        f"{exponents.time:.2f}",
        time_verdict(axis, exponents),
        f"{first['over'] / _MIB:.0f}, {last['over'] / _MIB:.0f}",
        f"{exponents.memory:.2f}",
        memory_verdict(axis, exponents),
    )


def _stages(measured: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """Lines of Markdown: the seconds of each stage of an evaluation, and of all that is left."""
    yield ""
    yield f"| videos | {' | '.join(f'{name}, s' for name in names)} | the rest, s |"
    yield f"|{'---|' * (len(names) + 2)}"
    for row in measured:
        spent = [row["parts"][name] for name in names]
        rest = row["seconds"] - sum(spent)
        yield _line(str(row["work"]), *(f"{each:.2f}" for each in (*spent, rest)))


def _detail(title: str, row: Row) -> str:
    return _line(
        title,
        str(row["work"]),
        f"{row['gmac']:.4g}" if "gmac" in row else "-",
        f"{row['seconds']:.3g}",
        f"{row['cpu_seconds']:.3g}",
        *(f"{row[key] / _MIB:.0f}" for key in ("held", "over", "peak")),
    )


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def insert(page: pathlib.Path, lines: Sequence[str]) -> None:
    """Puts lines into a page, between its two comments, in place of what is there.

    Raises:
      UserError: if it lacks them.
    """
    text = page.read_text("utf-8")
    before, first, rest = text.partition(_MARKS[0])
    _, last, after = rest.partition(_MARKS[1])
    if not (first and last):
        raise UserError(f"{page} has no lines {_MARKS[0]} and {_MARKS[1]}; write them there")
    content = "\n".join(lines)
    runtime.write_text(page, f"{before}{first}\n\n{content}\n\n{last}{after}")
