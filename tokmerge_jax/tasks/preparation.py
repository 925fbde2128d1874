"""Prepares a data set for training and evaluation: checks its videos, or draws them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokmerge_jax import hosts
from tokmerge_jax.data.datasets import demo, specs
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.data.datasets.prepare import prepare as prepare_files
from tokmerge_jax.data.datasets.prepare import prepare_own
from tokmerge_jax.data.datasets.storing import SplitReport
from tokmerge_jax.errors import check_list
from tokmerge_jax.types import UserError


def prepare(
    dataset: str,
    folder: str = "data",
    *,
    annotations: str = "",
    videos: str = "",
    splits: Sequence[str] = (),
    format: str = "",
    workers: int = 0,
) -> list[SplitReport]:
    """Checks the videos of a data set and stores it, or draws one of the demo's.

    Every video is checked once; after a stop or kill, the same call resumes.

    Args:
      dataset: a name of `specs.SPECS`.
      folder: folder of prepared data sets (`config.data.folder`).
      annotations: folder or file of the annotations; "" for a drawn data set. For "custom", a
        table of videos and texts, or a folder of tables (see `data.datasets.own`).
      videos: folder of the videos; "" for a drawn data set, and for tables that hold the videos,
        in their folder or in themselves.
      splits: names of splits; by default "test", for actions "val", for a drawn data set
        train, val and test, for "custom" all.
      format: format of the annotations, a key of `specs.FAMILIES`; "" = by the files' names. For
        "custom" the kind of the texts, a key of `own.COLUMNS`; "" = by the columns.
      workers: number of processes; 0 = one for each core.

    Returns:
      A report for each split; an empty list for a drawn data set.

    Raises:
      UserError: if there is no such data set or split, or files are missing or wrong.
    """
    if dataset not in specs.SPECS:
        raise UserError(f"dataset={dataset!r:.60} is unknown; known: {', '.join(specs.SPECS)}")
    if workers < 0:
        raise UserError(f"workers={workers} must be at least 1, or 0 for one on each core")
    if splits:
        check_list(splits, "splits", str)
    workers = workers or os.cpu_count() or 1
    if dataset in specs.DRAWN:
        if not hosts.number():
            _draw(dataset, folder, splits, workers, files=bool(annotations or videos or format))
        return []
    return _prepare_files(
        dataset, annotations, videos, folder, splits, workers=workers, format=format
    )


def _prepare_files(
    dataset: str,
    annotations: str,
    videos: str,
    folder: str,
    splits: Sequence[str],
    *,
    workers: int,
    format: str,
) -> list[SplitReport]:
    """Checks and stores a data set of files; arguments as `prepare`."""
    named = {"annotations": annotations, "videos": videos or dataset == specs.OWN}
    if missing := [name for name, place in named.items() if not place]:
        raise UserError(f"the data set {dataset} needs {' and '.join(missing)}")
    if dataset == specs.OWN:
        place = Path(videos) if videos else None
        return prepare_own(Path(annotations), place, folder, splits, workers, format=format)
    of_actions = specs.SPECS[dataset].kind == "actions"  # the labels of tests are secret
    splits = splits or ["val" if of_actions else "test"]
    return prepare_files(
        dataset, Path(annotations), Path(videos), folder, splits, workers, format=format
    )


def drawn(dataset: str, splits: Sequence[str] = ()) -> Mapping[str, int]:
    """The number of clips in each of these splits of a drawn data set; empty for any other.

    Without `splits`: train, val and test, which no other one is needed for.
    """
    counts = specs.DRAWN[dataset].COUNTS if dataset in specs.DRAWN else {}
    return {split: counts[split] for split in splits or ("train", "val", "test") if split in counts}


def draw_clips(folder: str, count: int) -> dict[str, str]:
    """Draws the first test clips of the demo: path -> caption; existing files stay.

    Raises:
      UserError: if there are not `count` clips.
    """
    stories = demo.stories("test")
    if not 1 <= count <= len(stories):
        raise UserError(f"count={count} must be from 1 to {len(stories)}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    captions = {}
    for number, story in enumerate(stories[:count]):
        clip = Path(folder, f"{number:05d}.mp4")
        if not clip.exists():
            demo.write_clip(clip, scene.draw(story, (demo.SEEDS["test"], number)))
        captions[str(clip)] = scene.caption(story)
    return captions


def _draw(dataset: str, folder: str, splits: Sequence[str], workers: int, *, files: bool) -> None:
    """Draws the clips of one of the demo's data sets, and prepares it."""
    if files:
        raise UserError(
            f"the videos of {dataset} are drawn; leave out annotations, videos and format"
        )
    counts = specs.DRAWN[dataset].COUNTS
    if unknown := [split for split in splits if split not in counts]:
        raise UserError(f"splits={unknown[0]}: {dataset} has the splits {', '.join(counts)}")
    specs.DRAWN[dataset].prepare(folder, list(drawn(dataset, splits)), workers)
