"""Searches your own videos by text.

Examples:
  tokmerge search index --config demo --videos clips --index clips_index
  tokmerge search query --index clips_index "a red square moves left" "a white cross"
  tokmerge search query --index clips_index --folder 2024/june --since 2024-06-10 "a dog"
  tokmerge search like --index clips_index dog.jpg clips/7.mp4

`index` encodes a folder of videos; longer ones are cut into overlapping windows, so that moments
are found. When run again, it encodes new videos and removes deleted ones; after a stop or kill, it
resumes. Files that cannot be decoded are listed. `query` ranks the videos for each text, with the
matching head if the model has one; it needs no configuration. `like` ranks them by their similarity
to each given video or picture.

Keys that are often set when indexing (--config.KEY=VALUE):
  checkpoint            a folder of `tokmerge convert`, or a .pth or .safetensors file
  model.merger.name     none switches merging off
  eval.batch_size       number of videos encoded at a time
  eval.top_k            number of candidates that a query re-ranks
"""

import datetime
import pathlib

import rich
from absl import flags
from rich.table import Table
from rich.text import Text

from tokmerge_jax import command_line
from tokmerge_jax.command_line import own_videos
from tokmerge_jax.own_videos.filters import Filter
from tokmerge_jax.own_videos.ranking import Hit
from tokmerge_jax.own_videos.search import Searcher, index_videos
from tokmerge_jax.tasks import kept
from tokmerge_jax.types import UserError

_INDEX = flags.DEFINE_string("index", None, "the folder of the index")
_VIDEOS = flags.DEFINE_string("videos", None, "index: the folder of the videos")
_TOP = flags.DEFINE_integer("top", 10, "query, like: number of videos to show", lower_bound=1)
_WINDOW = flags.DEFINE_float("window", None, "index: seconds of a window; 0 = whole videos")
_STRIDE = flags.DEFINE_float("stride", None, "index: seconds between windows; default: half of one")
_SHOTS = flags.DEFINE_bool("shots", False, "index: cut windows where shots end")
_TOKENS = flags.DEFINE_integer(
    "tokens", None, "index: tokens of a window for re-ranking; default: all, 0: none", lower_bound=0
)
_RERANK = flags.DEFINE_bool("rerank", True, "query: re-rank with the matching head")
_FOLDER = flags.DEFINE_string("folder", "", "query, like: show the videos of this subfolder alone")
_SINCE = flags.DEFINE_string("since", "", "query, like: changed on this day (2024-06-30) or later")
_SHORTEST = flags.DEFINE_float("shortest", 0, "query, like: least duration of videos in seconds")
_LONGEST = flags.DEFINE_float("longest", 0, "query, like: largest duration of videos in seconds")
_UNTIL = flags.DEFINE_string("until", "", "query, like: changed on this day or earlier")

_NAMED = 10  # broken files that are shown


def main(arguments: list[str]) -> None:
    """Runs the command that the first argument names."""
    filters = ["folder", "since", "until", "shortest", "longest"]
    made_with = ["window", "stride", "shots", "tokens"]
    commands = {
        "index": (index, ["top", "rerank", *filters]),
        "query": (query, ["config", "videos", *made_with]),
        "like": (like, ["config", "videos", "rerank", *made_with]),
    }
    if not arguments or arguments[0] not in commands:
        given = f"{arguments[0]!r} is no command; " if arguments else ""
        raise UserError(f"{given}say `index`, `query` or `like`, see --help")
    name, *rest = arguments
    command, foreign = commands[name]
    for option in foreign:
        if flags.FLAGS[option].present:
            raise UserError(f"`{name}` takes no --{option}, see --help")
    if not _INDEX.value:
        raise UserError("--index is missing; name the folder of the index, see --help")
    own_videos.escape_names()
    command(_INDEX.value, rest)


def index(folder: str, rest: list[str]) -> None:
    """Encodes a folder of videos."""
    if rest:
        raise UserError(f"unknown argument {rest[0]!r}; `index` takes options alone, see --help")
    if not _VIDEOS.value:
        raise UserError("--videos is missing; name the folder of the videos, see --help")
    with command_line.resumable():
        indexed = index_videos(
            command_line.config(),
            _VIDEOS.value,
            folder,
            window=_WINDOW.value,
            stride=_STRIDE.value,
            shots=_SHOTS.value,
            tokens=True if _TOKENS.value is None else _TOKENS.value,
            build=kept.build,
        )
    faults = list(indexed.faults.values())
    if faults:
        print(f"Cannot be used ({len(faults)}, all listed in {folder}/broken.txt):")
        print("\n".join(f"  {fault}" for fault in faults[:_NAMED]))
    parts = f", and parts of {len(indexed.partial)} others" if indexed.partial else ""
    print(f"{len(indexed.videos)} videos can be searched in {folder}{parts}")


def query(folder: str, texts: list[str]) -> None:
    """Prints the best videos for each text."""
    if not texts:
        raise UserError('`query` needs a text: tokmerge search query --index DIR "a red square"')
    where, searcher = _filter(), _opened(folder)
    _show(searcher, texts, searcher(texts, _TOP.value, _RERANK.value, where))


def like(folder: str, sources: list[str]) -> None:
    """Prints the videos most similar to each video or picture."""
    if not sources:
        raise UserError("`like` needs a video or picture: tokmerge search like --index DIR dog.jpg")
    where, searcher = _filter(), _opened(folder)
    _show(searcher, sources, searcher.like(sources, _TOP.value, where))


def _filter() -> Filter:
    """The condition that the flags describe."""
    days = []
    for flag in (_SINCE, _UNTIL):
        try:
            days.append(datetime.date.fromisoformat(flag.value) if flag.value else None)
        except ValueError as error:
            raise UserError(f"--{flag.name}={flag.value} is no day; write 2024-06-30") from error
    return Filter(_FOLDER.value, *days, shortest=_SHORTEST.value, longest=_LONGEST.value)


def _opened(folder: str) -> Searcher:
    searcher = Searcher(folder, kept.build)
    if not searcher.index.windows:
        raise UserError(
            f"the index in {folder} holds no video that can be searched; broken.txt in it says why"
        )
    return searcher


def _show(searcher: Searcher, queries: list[str], rankings: list[list[Hit]]) -> None:
    """Prints the hits of each query."""
    for query, hits in zip(queries, rankings, strict=True):
        table = Table("", "score", "cosine", "time", "video")
        for place, hit in enumerate(hits, 1):
            score = "-" if hit.score is None else f"{hit.score:.2f}"
            path = searcher.folder / hit.path
            if path.is_relative_to(pathlib.Path.cwd()):
                path = path.relative_to(pathlib.Path.cwd())
            name = Text(str(path), overflow="fold")  # no markup
            table.add_row(str(place), score, f"{hit.cosine:.3f}", _time(hit), name)
        rich.print(Text(query, "bold"), table)


def _time(hit: Hit) -> str:
    """The moment, such as "1:02-1:14"; "all" of a video."""
    if hit.start == 0 and hit.stop == hit.duration:
        return "all"
    return "-".join(f"{int(each // 60)}:{int(each % 60):02}" for each in (hit.start, hit.stop))


def run() -> None:
    """Runs the command."""
    command_line.run_commands(main, several=True)
