"""Folders of annotation files and of videos (empty files in `videos`), and what is read of them."""

import json

from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.data.video.checking import Check


def write(folder, files):
    """Files by name: texts, bytes, or what is stored as JSON."""
    for name, content in files.items():
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        if isinstance(content, str):
            content = content.encode()
        (folder / name).write_bytes(content)


def videos(folder, *names):
    """Empty files in the folder of the videos."""
    for name in names:
        path = folder / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def record(folder, name, path, *captions):
    """The record of a video that lies at `path` in the folder of the videos."""
    return Record((Clip(name, str(folder / "videos" / path)),), captions)


def usable(paths, workers):
    """Stands for `checking._checked`: every file passes."""
    return ((path, Check("")) for path in paths)
