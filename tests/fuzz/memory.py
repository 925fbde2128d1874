"""Decodes thousands of videos as evaluations do, and tells whether memory grows.

python -m tests.fuzz.memory [--videos 2000]

Prints the memory (RSS) of this process and of each that decodes, with workers and without; exit
code 1 if one of them has grown by more than a twentieth since the first tenth of the videos.
"""

import argparse
import itertools
import pathlib
import sys
import tempfile

from absl import logging

from tests.support import clips
from tokmerge_jax import data, registry
from tokmerge_jax.configs import demo
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Clip, Record

_CODECS = {"a.mp4": "libx264", "b.mkv": "libx264", "c.webm": "libvpx", "d.avi": "mpeg4",
           "e.ts": "mpeg2video"}  # fmt: skip
_GROWTH = 0.05


def main() -> None:
    """Decodes without workers and with two."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=2000, help="how many are decoded")
    videos = parser.parse_args().videos
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every configuration that is not its own
    with tempfile.TemporaryDirectory() as folder:
        _write(pathlib.Path(folder), videos)
        grown = [process for workers in (0, 2) for process in _grown(folder, videos, workers)]
    sys.exit("\n".join(grown) or None)


def _write(folder: pathlib.Path, videos: int) -> None:
    """A data set of a few files under many names."""
    for seed, (name, codec) in enumerate(_CODECS.items()):
        b_frames = 2 if codec == "libx264" else 0
        frames = clips.draw(40, 120, 160, seed)
        clips.write(folder / name, frames, codec=codec, b_frames=b_frames)
    paths = itertools.islice(itertools.cycle(_CODECS), videos)
    records = [Record((Clip(f"video {i}", path),), ("a",)) for i, path in enumerate(paths)]
    video_text.write(str(folder), "msvd", {"test": records})


def _grown(folder: str, videos: int, workers: int) -> list[str]:
    """Prints the memory after some of the videos; the processes that have grown."""
    places = {"folder": folder, "dataset": "msvd", "split": "test", "workers": workers}
    config = demo.get_config().override({"data": places})
    system = registry.build(config)
    source = data.open_retrieval(config.data, system.pixels.frames)
    seen: dict[int, list[float]] = {}
    marks = (videos // 10, videos // 2, videos)
    for batch in source.batches(system.pixels.transform, 10):
        done = int(batch["index"].max()) + 1
        if done in marks:
            memory = _memory()
            for process, mib in memory.items():
                seen.setdefault(process, []).append(mib)
            shown = ", ".join(f"{mib:.0f}" for mib in memory.values())
            print(f"{workers} workers, {done} videos: {shown} MiB", flush=True)
    return [
        f"{workers} workers: process {process} grew from {first:.0f} to {last:.0f} MiB"
        for process, (first, *_, last) in seen.items()
        if last > first * (1 + _GROWTH)
    ]


def _memory() -> dict[int, float]:
    """RSS of this process and of its children, in MiB."""
    memory = {}
    own = pathlib.Path("/proc/self").resolve().name
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        except OSError:  # it has just ended
            continue
        if own in (lines["Pid"], lines["PPid"]) and "VmRSS" in lines:
            memory[int(lines["Pid"])] = int(lines["VmRSS"].split()[0]) / 1024
    return memory


if __name__ == "__main__":
    main()
