"""Files that were made to harm their reader: checkpoints, and their pickles as captions."""

import io
import pathlib
import re
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from tests.support import hostile
from tokmerge_jax.checkpoints import torch_file

PICKLES = len(hostile.HARMLESS) + len(hostile.HOSTILE) + len(hostile.SWELLING)
CHECKPOINTS = PICKLES + len(hostile.SAFETENSORS)


def make(folder: pathlib.Path) -> None:
    """A folder for each checkpoint."""
    for name, data in _pickled():
        (folder / name).mkdir(parents=True)
        (folder / name / "a.pth").write_bytes(data)
    for name, content in hostile.SAFETENSORS.items():
        (folder / f"safetensors_{_plain(name)}").mkdir()
        (folder / f"safetensors_{_plain(name)}" / "a.safetensors").write_bytes(content())


def read(case: pathlib.Path, good: pathlib.Path) -> None:
    """Reads a checkpoint."""
    del good
    for array in torch_file.read(next(case.iterdir())).values():
        np.asarray(array).tobytes()


def make_captions(folder: pathlib.Path) -> None:
    """MSVD's annotations, of which each holds the pickle of one of the checkpoints."""
    for name, data in _pickled():
        (folder / name / "videos").mkdir(parents=True)
        (folder / name / "of").write_text("clip4clip-msvd-test")
        (folder / name / "test_list.txt").write_text("va\n")
        (folder / name / "raw-captions.pkl").write_bytes(_pickle_in(data))


def _pickle_in(checkpoint: bytes) -> bytes:
    """The pickle of a checkpoint; where it cannot be had, or is a bomb's, the whole of it."""
    try:
        with zipfile.ZipFile(io.BytesIO(checkpoint)) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith("data.pkl")]
            if members and members[0].file_size < 2**26:
                return archive.read(members[0])
    except (zipfile.BadZipFile, NotImplementedError, zlib.error):
        pass
    return checkpoint


def _pickled() -> Iterator[tuple[str, bytes]]:
    for name, data in hostile.HARMLESS.items():
        yield f"harmless_{_plain(name)}", data
    for name, content in (*hostile.HOSTILE.items(), *hostile.SWELLING.items()):
        yield _plain(name), content()


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name)
