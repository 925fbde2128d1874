"""Asserts the demo's figures: `python check_demo.py RESULTS`, the folder that `make demo` fills."""

import json
import pathlib
import sys

# For each pair of runs, without and with merging: the least percentage without, what merging may
# lose of it, in points, and the most of the GMAC that it may leave.
REQUIRED = {
    ("demo_unmerged", "demo"): (60, 3, 0.6),
    ("demo_qa_unmerged", "demo_qa"): (60, 3, 0.6),
    ("demo_clip", "demo_tome"): (42, 6, 0.8),
    ("demo_clip", "demo_tempme"): (42, 6, 0.62),
    ("demo_testa/none", "demo_testa/frames"): (60, 4, 0.65),
    ("demo_testa/none", "demo_testa/patches"): (60, 4, 0.78),
    ("demo_testa/none", "demo_testa/both"): (60, 4, 0.53),
    ("demo_tdsclip/tdsclip", "demo_tdsclip/tdsclip_tome"): (90, 4, 0.88),
}
MARGIN = 50  # points, by which a side network is to beat the mean of CLIP's frames


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
    average, side = (
        read(folder / "demo_tdsclip" / name)["headline"]["value"] for name in ("average", "tdsclip")
    )
    print(f"demo_tdsclip: {average:.1f} by the mean of frames, {side:.1f} by the side network")
    if side - average < MARGIN:
        faults.append(f"demo_tdsclip: less than {MARGIN} points more than the mean of frames")
    sys.exit("; ".join(faults) or 0)


def read(folder: pathlib.Path) -> dict:
    """The results of a run."""
    return json.loads((folder / "results.json").read_text())


if __name__ == "__main__":
    main()
