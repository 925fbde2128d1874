"""Asserts the demo's figures: `python check_demo.py UNMERGED_FOLDER MERGED_FOLDER`."""

import functools
import json
import operator
import pathlib
import sys

# Where results.json keeps text-to-video R@1 in percent, and the GMAC of one clip.
RECALL = ("scores", "text_to_video", "R@1")
COST = ("gmac",)


def main() -> None:
    """Prints the figures; exit code 1 and the faults if some are not reached."""
    unmerged, merged = (
        json.loads(pathlib.Path(folder, "results.json").read_text()) for folder in sys.argv[1:]
    )
    before, after = find(unmerged, RECALL), find(merged, RECALL)
    share = find(merged, COST) / find(unmerged, COST)
    print(f"text-to-video R@1 {before:.1f} -> {after:.1f} at {share:.1%} of the GMAC")
    reached = {
        "R@1 without merging is below 60 %": before >= 60,
        "merging loses 3 points of R@1 or more": before - after < 3,
        "merging leaves more than 60 % of the GMAC": share <= 0.6,
    }
    sys.exit("; ".join(fault for fault, holds in reached.items() if not holds) or 0)


def find(results: dict, path: tuple[str, ...]) -> float:
    """The number at a path of keys."""
    return functools.reduce(operator.getitem, path, results)


if __name__ == "__main__":
    main()
