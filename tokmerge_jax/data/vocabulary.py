"""Finding a vocabulary file: a path, a folder of them, or the Hugging Face hub and its cache."""

import hashlib
import os
import pathlib
import urllib.request

from tokmerge_jax.types import UserError

FOLDER_VARIABLE = "TOKMERGE_VOCAB_DIR"
"""Environment variable naming a folder that holds `NAME-vocab.txt` files."""

_SHA256 = {
    "bert-base-uncased": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def find(vocabulary: str) -> pathlib.Path:
    """The vocabulary file that `config.data.vocabulary` means.

    A file's path; else NAME in the folder that `FOLDER_VARIABLE` names; else `vocab.txt` of the
    hub's model NAME, from its cache or downloaded.

    Raises:
      UserError: if there is none, or if a known name's file is not the one that it should be.
    """
    if os.path.isfile(vocabulary):
        return pathlib.Path(vocabulary)
    if vocabulary.endswith(".txt"):
        raise UserError(f"config.data.vocabulary={vocabulary}: no such file")
    local = pathlib.Path(os.environ.get(FOLDER_VARIABLE, "")) / f"{vocabulary}-vocab.txt"
    path = local if local.is_file() else _from_hub(vocabulary)
    wanted = _SHA256.get(vocabulary)
    if wanted and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise UserError(f"{path} is not the vocabulary of {vocabulary} (its sha256 is {wanted})")
    return path


def _from_hub(name: str) -> pathlib.Path:
    import huggingface_hub  # only where a file has to be fetched

    cached = huggingface_hub.try_to_load_from_cache(name, "vocab.txt")
    if isinstance(cached, str):
        return pathlib.Path(cached)
    try:
        hub = urllib.request.Request(huggingface_hub.constants.ENDPOINT, method="HEAD")
        with urllib.request.urlopen(hub, timeout=10):  # offline, the download tries for a minute
            return pathlib.Path(huggingface_hub.hf_hub_download(name, "vocab.txt"))
    except (OSError, ValueError) as error:
        digest = f" (sha256 {_SHA256[name]})" if name in _SHA256 else ""
        raise UserError(
            f"no vocabulary {name!r}: it is no file, not in ${FOLDER_VARIABLE}, not in the Hugging "
            f"Face cache, and vocab.txt{digest} could not be downloaded; set "
            "config.data.vocabulary to the path of that file"
        ) from error
