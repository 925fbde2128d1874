"""Searches your own videos by text.

Examples:
  python scripts/search.py index --config configs/demo.py --videos clips --index clips_index
  python scripts/search.py query --index clips_index "a red square moves left" "a white cross"

`index` encodes a folder of videos. Run again, it encodes what is new and forgets what is gone;
stopped or killed, it goes on. Files that cannot be decoded are named. `query` ranks the videos for
each text, by the matching head where the model has one; it needs no configuration.
"""

import pathlib
import sys

import common
import rich
import rich.table
from absl import flags

from tokmerge_jax.search import Searcher, index_videos
from tokmerge_jax.types import UserError

_INDEX = flags.DEFINE_string("index", None, "the index's folder")
_VIDEOS = flags.DEFINE_string("videos", None, "index: the folder of the videos")
_TOP = flags.DEFINE_integer("top", 10, "query: how many videos to show", lower_bound=1)
_RERANK = flags.DEFINE_bool("rerank", True, "query: rank by the matching head")

_NAMED = 10  # broken files that are shown


def main(arguments: list[str]) -> None:
    """Does what the first argument says."""
    commands = {"index": index, "query": query}
    if not arguments or arguments[0] not in commands:
        given = f"{arguments[0]!r} is no command; " if arguments else ""
        raise UserError(f"{given}say `index` or `query`, see --help")
    if _INDEX.value is None:
        raise UserError("--index is missing; name the folder of the index, see --help")
    commands[arguments[0]](_INDEX.value, arguments[1:])


def index(folder: str, rest: list[str]) -> None:
    """Encodes a folder of videos."""
    if rest:
        raise UserError(f"unknown argument {rest[0]!r}; `index` takes options alone, see --help")
    if _VIDEOS.value is None:
        raise UserError("--videos is missing; name the folder of the videos, see --help")
    try:
        found = index_videos(common.config(), _VIDEOS.value, folder)
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
    faults = [f"  {path}: {fault}" for path, fault in found.faults.items()]
    if faults:
        more = [f"  and {len(faults) - _NAMED} more"] if len(faults) > _NAMED else []
        print("\n".join([f"{len(faults)} files cannot be used:", *faults[:_NAMED], *more]))
        path = pathlib.Path(folder, "broken.txt")
        path.write_text("\n".join(fault.strip() for fault in faults) + "\n", "utf-8")
        print(f"All of them are listed in {path}")
    print(f"{len(found.videos)} videos can be searched in {folder}")


def query(folder: str, texts: list[str]) -> None:
    """Prints the videos that each text finds."""
    if not texts:
        raise UserError('`query` needs a text: search.py query --index DIR "a red square"')
    searcher = Searcher(folder)
    for text, hits in zip(texts, searcher(texts, _TOP.value, _RERANK.value), strict=True):
        table = rich.table.Table(title=text, title_justify="left")
        table.add_column("video", overflow="fold")
        for column in ("score", "cosine"):
            table.add_column(column, justify="right")
        for hit in hits:
            score = "-" if hit.score is None else f"{hit.score:.2f}"
            table.add_row(str(searcher.folder / hit.path), score, f"{hit.cosine:.3f}")
        rich.print(table)


if __name__ == "__main__":
    common.run_commands(main)
