"""Weights as a folder for the Hugging Face Hub: tensors, configuration, vocabulary, model card."""

import ast
import inspect
import json
import os
import pathlib
import shutil

from etils import epath

from tokmerge_jax import checkpoints, disk, downloads, registry, runtime
from tokmerge_jax.config import Config, files
from tokmerge_jax.config.common import TextData
from tokmerge_jax.config.parts import restore
from tokmerge_jax.config.published import SHORT, Publication
from tokmerge_jax.tasks.check import Check, check
from tokmerge_jax.types import UserError

_LIBRARY = "tokmerge_jax"


def write(
    name: str, config: Config, source: epath.PathLike, target: pathlib.Path, *, licence: str
) -> None:
    """Writes the folder `target`: model.safetensors (PyTorch's names), config.json, README.md.

    Args:
      name: the configuration, as `files.read` takes it; the card quotes its file.
      config: the configuration of the network.
      source: its weights, PyTorch's or ours.
      target: the new folder.
      licence: the licence of the weights, as the Hub names it: "mit".

    Raises:
      UserError: if weights do not fit, or `target` exists or cannot be written.
    """
    if target.exists():
        raise UserError(f"target={target} already exists; remove it or name another")
    system = registry.build(config.override({"checkpoint": str(source)}))
    params = checkpoints.load_checkpoint(source, system)
    numbers = check(system.config, params)
    with disk.explained(target):
        target.mkdir(parents=True)
        about = {
            "library_name": _LIBRARY,
            "versions": runtime.versions(),
            "config": _portable(system.config, target).to_dict(),
            "check": numbers._asdict(),
        }
        (target / "config.json").write_text(json.dumps(about, indent=2) + "\n")
        (target / "README.md").write_text(card(name, numbers, licence), "utf-8")
        tensors = checkpoints.to_torch(system, params)
        disk.write_tensors(target / "model.safetensors", tensors, {"format": "pt"})


def push(folder: pathlib.Path, repository: str) -> str:
    """Uploads a folder of `write`, and returns the address of the commit.

    Raises:
      UserError: if it cannot be uploaded; the folder is kept.
    """
    try:
        with downloads.online() as hub:
            api = hub.HfApi()
            api.create_repo(repository, exist_ok=True)
            return str(api.upload_folder(repo_id=repository, folder_path=folder))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{repository} cannot be written on the Hub ({' '.join(str(error).split())[:200]});"
            f" {folder} is complete: push it by `hf upload {repository} {folder}`"
        ) from error


def is_release(name: str) -> bool:
    """Whether `name` is a folder of `write`, or an address on the Hub."""
    return name.startswith("hf://") or (pathlib.Path(name) / "config.json").is_file()


def read(name: str) -> Config:
    """The configuration of a folder of `write`, or of `hf://OWNER/REPOSITORY`, with its weights.

    Raises:
      UserError: if it cannot be downloaded, or holds no such configuration.
    """
    weights = pathlib.Path(checkpoints.hub.local(name))
    folder = weights if weights.is_dir() else weights.parent
    file = folder / "config.json"
    try:
        match json.loads(file.read_bytes()):
            case {"library_name": "tokmerge_jax", "config": {"system": str() as system} as kept}:
                config = restore(registry.config_class(system), kept)
            case _:
                raise UserError("it was not written by `tokmerge convert --push`")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{name}: its config.json is no configuration of tokmerge_jax ({error}); name a"
            " configuration and give the weights as checkpoint"
        ) from error
    changes = {"checkpoint": str(weights)}
    if isinstance(config.data, TextData):
        vocabulary = folder / pathlib.PurePath(config.data.vocabulary).name
        changes |= {"data.vocabulary": str(vocabulary)} if vocabulary.is_file() else {}
    return config.override(changes)


def card(name: str, numbers: Check, licence: str) -> str:
    """The model card: protocol, published numbers, check, licence, and how to load the weights."""
    publication = files.read(name)[1]
    text = ast.get_docstring(ast.parse(files.split(name)[0].read_text("utf-8"))) or ""
    return inspect.cleandoc(_CARD).format(
        licence=licence,
        name=files.title(name),
        about=text,
        published=_table(publication) if publication else "None is published.",
        weights=numbers.weights,
        outputs=numbers.outputs,
    )


_CARD = """
---
library_name: tokmerge_jax
license: {licence}
tags: [jax, flax, video, token-merging]
---

# {name}

{about}

## Use

```python
import tokmerge_jax

model = tokmerge_jax.load("hf://OWNER/REPOSITORY")  # this repository
```

`model.safetensors` has PyTorch's names, `config.json` the configuration. Evaluation:
`tokmerge eval --config {name} --config.checkpoint=hf://OWNER/REPOSITORY`.

## Published numbers

{published}

These are their sources' numbers, not measurements of this file.

## Check

`tokmerge convert --check` of these weights gives {weights:.9g} (weights), {outputs:.6g} (outputs).
"""


def _table(publication: Publication) -> str:
    """The published numbers as a table in Markdown."""
    rows = ["| number | value | source | settings |", "|---|---|---|---|"]
    for number in publication.numbers:
        changes = ", ".join(f"{key}={value}" for key, value in number.changes.items())
        metric = f"{SHORT[number.row]}{number.metric}"
        rows.append(f"| {metric} | {number.value} | {number.source.name} | {changes} |")
    return "\n".join(rows)


def _portable(config: Config, folder: pathlib.Path) -> Config:
    """The configuration without paths of this machine; its vocabulary file is copied."""
    changes: dict[str, object] = {"checkpoint": "", "output": "", "data.folder": "data"}
    if isinstance(config.data, TextData) and os.path.isfile(config.data.vocabulary):
        shutil.copy(config.data.vocabulary, folder)
        changes["data.vocabulary"] = pathlib.PurePath(config.data.vocabulary).name
    return config.override(changes)
