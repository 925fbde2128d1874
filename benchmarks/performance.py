"""Makes a table and a picture of ratios from the files of `stages.py --against`.

A second table has what merging gained in them, beside what the multiply-accumulates say.

Example:
  python -m benchmarks.performance b16.json l14.json --output docs/performance
"""

import json
import pathlib
import statistics
import sys
from collections.abc import Iterator, Sequence

from benchmarks.figures import Row
from benchmarks.peer import OTHERS
from tokmerge_jax import commands
from tokmerge_jax.types import UserError
from tokmerge_jax.visualize import curve, ratios


def main() -> None:
    """Prints the table as Markdown, and draws the picture; exit code 2 on bad input."""
    parser = commands.parser(__doc__)
    parser.add_argument("runs", nargs="+", help="files of stages.py --output, in order")
    parser.add_argument(
        "--output", type=pathlib.Path, required=True, help="the picture, without .png or .pdf"
    )
    args = parser.parse_args()
    try:
        stages = [each for path in args.runs for each in compared(path)]
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    for line in (*table(stages), *gains(args.runs)):
        print(line)
    args.output.absolute().parent.mkdir(parents=True, exist_ok=True)
    curve.save(ratios.draw([comparison(*each) for each in stages]), args.output)


def compared(path: str) -> list[tuple[str, Row, list[Row]]]:
    """Collects (name, our case, their cases) of each stage that others were timed in too."""
    try:
        result = json.loads(pathlib.Path(path).read_text("utf-8"))
        name, cases = result["name"], result["cases"]
        stages = []
        for stage in dict.fromkeys(case["stage"] for case in cases):
            ours, *others = (case for case in cases if case["stage"] == stage)
            if theirs := [case for case in others if case["way"].startswith(OTHERS)]:
                stages.append((name, ours, theirs))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no file of stages.py --output ({error!r})") from error
    if not stages:
        raise UserError(f"{path}: nothing was timed beside an original; see --against")
    return stages


def gains(paths: Sequence[str]) -> Iterator[str]:
    """Lines of Markdown: ours without merging in the time of ours with it; none without merging."""
    rows = [each for path in paths for each in _gains(path)]
    if rows:
        yield ""
        yield "| configuration | job | GMAC | s | gain | by GMAC | share |"
        yield "|---|---|---|---|---|---|---|"
    yield from rows


def _gains(path: str) -> Iterator[str]:
    result = json.loads(pathlib.Path(path).read_text("utf-8"))
    encodings = {
        case["stage"]: case
        for case in result["cases"]
        if case["way"] == "ours" and case["stage"].startswith("encode")
    }
    for stage, case in encodings.items():
        clips, _, merging = stage.partition(", ")
        plain = encodings.get(f"{clips}, no merging", case)
        if plain is not case:
            rounds = _ratios(case, plain)
            gain, expected = statistics.median(rounds), plain["gmac"] / case["gmac"]
            cells = (
                result["name"],
                f"{clips}, {merging}",
                f"{case['gmac']:.1f}",
                f"{case['seconds']:.3g}",
                f"{gain:.2f} ({min(rounds):.2f}-{max(rounds):.2f})",
                f"{expected:.2f}",
                f"{gain / expected:.0%}",
            )
            yield f"| {' | '.join(cells)} |"


def comparison(name: str, ours: Row, theirs: Sequence[Row]) -> ratios.Comparison:
    """The case as a group of bars."""
    each = tuple(tuple(_ratios(ours, case)) for case in theirs)
    return ratios.Comparison(
        f"{name}\n{ours['stage']}", tuple(case["way"] for case in theirs), each
    )


def table(stages: Sequence[tuple[str, Row, list[Row]]]) -> Iterator[str]:
    """Lines of Markdown: ours in seconds, the others' ratios with the lowest and highest round."""
    yield "| configuration | job | ours, s | of ceiling | clips/s | times as fast as |"
    yield "|---|---|---|---|---|---|"
    for name, ours, theirs in stages:
        by_way = [(case["way"], _ratios(ours, case)) for case in theirs]
        ratios_text = "; ".join(
            f"{way}: **{statistics.median(rounds):.2f}** ({min(rounds):.2f}-{max(rounds):.2f})"
            for way, rounds in by_way
        )
        share, speed = ours["share_of_ceiling"], ours["clips_per_second"]
        cells = (
            name,
            ours["stage"],
            f"{ours['seconds']:.3g}",
            "-" if share is None else f"{share:.0%}",
            "-" if speed is None else f"{speed:.3g}",
            ratios_text,
        )
        yield f"| {' | '.join(cells)} |"


def _ratios(ours: Row, theirs: Row) -> list[float]:
    """Ratios per round, so that a busy minute of the machine affects both."""
    return [b / a for a, b in zip(ours["rounds"], theirs["rounds"], strict=True)]


if __name__ == "__main__":
    main()
