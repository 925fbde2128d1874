"""Finds a vocabulary file: by path, in a folder, or on the Hugging Face hub and in its cache."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping

from tokmerge_jax import demo_files, downloads
from tokmerge_jax.types import UserError

FOLDER_VARIABLE = "TOKMERGE_VOCAB_DIR"
"""Environment variable that names a folder of `NAME-vocab.txt` files and CLIP's merges."""


@dataclasses.dataclass(frozen=True)
class _Source:
    """The file names and digests of a vocabulary; a digest of "" accepts any file."""

    local: str
    local_sha256: str
    model: str
    file: str
    sha256: str


_BERT_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
_KNOWN: Mapping[str, _Source] = {
    "bert-base-uncased": _Source(
        local="bert-base-uncased-vocab.txt",
        local_sha256=_BERT_SHA256,
        model="bert-base-uncased",
        file="vocab.txt",
        sha256=_BERT_SHA256,
    ),
    "clip": _Source(
        local="bpe_simple_vocab_16e6.txt.gz",
        local_sha256="924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
        model="openai/clip-vit-base-patch32",
        file="merges.txt",
        sha256="",  # its header varies; `byte_pairs` checks the merges
    ),
}


def find(vocabulary: str) -> pathlib.Path:
    """The vocabulary file that `config.data.vocabulary` means.

    It is a path, or a NAME ("clip" or a BERT model on the hub) whose file is searched for in the
    folder that `FOLDER_VARIABLE` names, then in the hub's cache, then on the hub.

    Raises:
      UserError: if there is no such file, or if the file of a known name has another digest.
    """
    if os.path.isfile(vocabulary):
        return pathlib.Path(vocabulary)
    if vocabulary.endswith((".txt", ".gz")):
        demo_files.check_installed(vocabulary)
        raise UserError(f"config.data.vocabulary={vocabulary}: no such file")
    of_bert = _Source(f"{vocabulary}-vocab.txt", "", vocabulary, "vocab.txt", "")
    source = _KNOWN.get(vocabulary, of_bert)
    path = pathlib.Path(os.environ.get(FOLDER_VARIABLE, "")) / source.local
    wanted = source.local_sha256
    if not path.is_file():
        path, wanted = _from_hub(vocabulary, source), source.sha256
    if wanted and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise UserError(f"{path} is not the vocabulary of {vocabulary} (its sha256 is {wanted})")
    return path


def _from_hub(name: str, source: _Source) -> pathlib.Path:
    try:
        return downloads.hub_file(source.model, source.file)
    except (OSError, ValueError) as error:
        digest = f" (sha256 {source.local_sha256})" if source.local_sha256 else ""
        raise UserError(
            f"no vocabulary {name!r}: it is not a file, there is no {source.local}{digest} in "
            f"${FOLDER_VARIABLE}, {source.model} is not in the Hugging Face cache, and its "
            f"{source.file} could not be downloaded; set config.data.vocabulary to the path of one "
            "of these files"
        ) from error
