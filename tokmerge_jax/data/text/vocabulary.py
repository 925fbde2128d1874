"""Finds a vocabulary file: by path, in a folder, or on the Hugging Face hub or the web."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping

from tokmerge_jax import demo_files, downloads
from tokmerge_jax.types import UserError

FOLDER_VARIABLE = "TOKMERGE_VOCAB_DIR"
"""Environment variable that names a folder of `NAME-vocab.txt` files, CLIP's merges and c4_en."""


@dataclasses.dataclass(frozen=True)
class _Source:
    """The file names and digests of a vocabulary; a digest of "" accepts any file.

    `model` is a repository of the hub, or the address of a folder on the web.
    """

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
    "c4_en": _Source(
        local="c4_en.model",
        local_sha256="",  # the digest is not known: the file could not be had
        model="https://storage.googleapis.com/t5-data/vocabs/cc_en.32000",
        file="sentencepiece.model",
        sha256="",
    ),
}


def find(vocabulary: str) -> pathlib.Path:
    """The vocabulary file that `config.data.vocabulary` means.

    It is a path, or a NAME ("clip", "c4_en" or a BERT model on the hub) whose file is searched for
    in the folder that `FOLDER_VARIABLE` names, then in the cache, then on the hub or the web.

    Raises:
      UserError: if there is no such file, or if the file of a known name has another digest.
    """
    if os.path.isfile(vocabulary):
        return pathlib.Path(vocabulary)
    if vocabulary.endswith((".txt", ".gz", ".model")):
        demo_files.check_installed(vocabulary)
        raise UserError(f"config.data.vocabulary={vocabulary}: no such file")
    of_bert = _Source(f"{vocabulary}-vocab.txt", "", vocabulary, "vocab.txt", "")
    source = _KNOWN.get(vocabulary, of_bert)
    path = pathlib.Path(os.environ.get(FOLDER_VARIABLE, "")) / source.local
    wanted = source.local_sha256
    if not path.is_file():
        path, wanted = _fetched(vocabulary, source), source.sha256
    if wanted and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise UserError(f"{path} is not the vocabulary of {vocabulary} (its sha256 is {wanted})")
    return path


def _fetched(name: str, source: _Source) -> pathlib.Path:
    try:
        if source.model.startswith("https://"):
            return downloads.web_file(f"{source.model}/{source.file}", downloads.cache() / name)
        return downloads.hub_file(source.model, source.file)
    except (OSError, ValueError) as error:
        digest = f" (sha256 {source.local_sha256})" if source.local_sha256 else ""
        raise UserError(
            f"no vocabulary {name!r}: it is not a file, there is no {source.local}{digest} in "
            f"${FOLDER_VARIABLE}, {source.model} is not in the cache, and its "
            f"{source.file} could not be downloaded; set config.data.vocabulary to the path of one "
            "of these files"
        ) from error
