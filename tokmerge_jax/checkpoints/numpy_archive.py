"""Reads NumPy's .npz files, without pickles; reads are bounded by the file's size."""

import zipfile
from typing import BinaryIO

import numpy as np

from tokmerge_jax.checkpoints import torch_archive
from tokmerge_jax.types import UserError


def read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Reads the arrays of a file that `numpy.savez` wrote, by name.

    Args:
      file: the zip archive.
      size: its size in bytes.

    Raises:
      UserError: if it is damaged, hostile or compressed, or holds Python objects.
    """
    try:
        with torch_archive.opened(file) as archive:
            members = archive.infolist()
            return {m.filename.removesuffix(".npy"): _array(archive, m, size) for m in members}
    except (*torch_archive.DAMAGE, MemoryError) as error:
        raise UserError(
            f"it is no .npz file of arrays, or damaged ({f'{error}':.150}); fetch it again"
        ) from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> np.ndarray:
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
        raise UserError(f"its {member.filename:.100} is compressed; save it by numpy.savez")
    with archive.open(member) as data:
        return np.lib.format.read_array(data, allow_pickle=False)
