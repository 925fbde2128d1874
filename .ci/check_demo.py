"""Asserts the demo's figures: `python check_demo.py RESULTS`, the folder that `make demo` fills."""

import json
import pathlib
import sys

# For each pair of runs, without and with merging: the least percentage without, what merging may
# lose of it, in points, and the most of the GMAC that it may leave.
REQUIRED = {
    ("demo_moves_unmerged", "demo_moves"): (70, 3, 0.6),
    ("demo_unmerged", "demo"): (60, 3, 0.6),
    ("demo_unmerged", "demo_less"): (60, 3, 0.8),
    ("demo_plain_unmerged", "demo_plain"): (88, 3, 0.6),  # merged without training
    ("demo_qa_unmerged", "demo_qa"): (80, 2, 0.6),
    ("demo_clip", "demo_tome"): (42, 6, 0.8),
    ("demo_clip", "demo_tempme"): (42, 6, 0.62),
    ("demo_testa/none", "demo_testa/frames"): (60, 4, 0.4),
    ("demo_testa/none", "demo_testa/patches"): (60, 4, 0.6),
    ("demo_testa/none", "demo_testa/both"): (60, 4, 0.25),
    ("demo_testa/plain_8", "demo_testa/both"): (20, 0, 1.0),  # equal cost
    ("demo_tdsclip/tdsclip", "demo_tdsclip/tdsclip_tome"): (90, 4, 0.88),
}
# For each pair of runs: the least number of points by which the second is to beat the first.
GAINS = {
    ("demo_qa_by_random", "demo_qa"): 3,  # trained without merging, merged without training
    ("demo_by_tome", "demo"): 6,  # trained with vid-TLDR
    ("demo_by_random", "demo"): 8,
    ("demo_unmerged", "demo_plain_unmerged"): 15,  # has learned movements first
    ("demo_clip", "demo_tempme"): 20,  # knows the order of events
    ("demo_testa/plain_8", "demo_testa/both"): 12,  # more frames at equal cost
    ("demo_tdsclip/average", "demo_tdsclip/tdsclip"): 50,
}
DIRECTIONS = 80  # percent of the questions "which way does ... move?" to answer rightly
FIRST = 80  # percent of the clips in films that a search for their captions has to find first


def main() -> None:
    """Prints the figures; exit code 1 and the faults if some are not reached."""
    folder, faults = pathlib.Path(sys.argv[1]), []
    for (before_name, task), (least, loss, most) in REQUIRED.items():
        plain, merged = (read(folder / name) for name in (before_name, task))
        metric, before = plain["headline"].values()
        after, share = merged["headline"]["value"], merged["gmac"] / plain["gmac"]
        print(f"{task}: {metric} {before:.1f} -> {after:.1f} at {share:.1%} of the GMAC")
        reached = {
            f"without merging below {least} %": before >= least,
            f"merging loses {loss} points or more": before - after < loss,
            f"merging leaves more than {most:.0%} of the GMAC": share <= most,
        }
        faults += [f"{task}: {fault}" for fault, holds in reached.items() if not holds]
    for names, least in GAINS.items():
        one, other = (read(folder / name)["headline"]["value"] for name in names)
        print(f"{names[1]}: {other:.1f}, {names[0]}: {one:.1f}")
        if other - one < least:
            faults.append(f"{names[1]}: less than {least} points more than {names[0]}")
    directions = read(folder / "demo_qa")["scores"]["which ..."]["accuracy"]
    print(f"demo_qa: {directions:.1f} % of the directions are known")
    if directions < DIRECTIONS:
        faults.append(f"demo_qa: less than {DIRECTIONS} % of the directions are known")
    search = read(folder / "demo_search")
    print(f"demo_search: {search['first']:.0f} % of {search['clips']} clips come first")
    if search["first"] < FIRST:
        faults.append(f"demo_search: less than {FIRST} % of the clips come first")
    sys.exit("; ".join(faults) or 0)


def read(folder: pathlib.Path) -> dict:
    """The results of a run."""
    return json.loads((folder / "results.json").read_text())


if __name__ == "__main__":
    main()
