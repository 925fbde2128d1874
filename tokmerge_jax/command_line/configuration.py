"""The flag --config: a name or file, and keys that other flags set, become one configuration."""

import dataclasses
import functools
import re
import sys
import types
import typing
from operator import attrgetter

from absl import flags
from ml_collections import ConfigDict, FieldReference, config_flags

from tokmerge_jax import disk
from tokmerge_jax.config import Config, Part, files
from tokmerge_jax.config.published import Publication
from tokmerge_jax.objects import Place
from tokmerge_jax.types import UserError


@dataclasses.dataclass(repr=False)
class _Missing:
    """A placeholder for the configuration if the command line names none."""

    def __repr__(self) -> str:  # shown by --help
        return "none"


_read = functools.cache(files.read)  # a file is a program and must run only once


def _open(name: str) -> ConfigDict:
    """Reads a file's configuration as a ConfigDict, whose keys flags can set; they cannot set keys
    of frozen dataclasses, or keys with values of several types.

    Raises:
      UserError: if the file cannot be loaded, or the command line sets an unknown key.
    """
    loaded, _ = _read(name)
    flags_given = (re.match(r"--?(?:no)?config\.([^=]*)", word) for word in sys.argv)
    loaded.check_keys(flag[1] for flag in flags_given if flag)
    return _settable(loaded).lock()


def _settable(part: Part) -> ConfigDict:
    """Converts a part to a ConfigDict; a key with values of several types accepts any literal."""
    keys, hints = ConfigDict(), typing.get_type_hints(type(part))
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Part):
            value = _settable(value)
        elif isinstance(hints[field.name], types.UnionType):
            value = FieldReference(value, field_type=object)
        keys[field.name] = value
    return keys


_CONFIG = config_flags.DEFINE_config_dataclass(
    "config",
    _Missing(),
    "the configuration, a name of `tokmerge configs` or a .py file; its keys are set by"
    " --config.KEY=VALUE",
    sys_argv=None if any(re.match("--?config(=|$)", word) for word in sys.argv) else [],
    parse_fn=_open,
)


def config() -> Config:
    """The configuration that the command line describes.

    Raises:
      UserError: if none is named, or its file cannot be loaded.
    """
    if isinstance(_CONFIG.value, _Missing):
        raise UserError(
            "--config is missing; name a configuration (`tokmerge configs` lists them) or a file,"
            " see --help"
        )
    loaded, _ = _read(config_file())
    values = {key: attrgetter(key)(_CONFIG.value) for key in loaded.keys}
    return loaded.override(values).resolved()


def keys_like(name: str) -> str:
    """Suggests keys of the loaded configuration, if any, that end like an unknown flag."""
    missing = isinstance(flags.FLAGS["config"].value, _Missing)
    keys = () if missing else _read(config_file())[0].keys
    options = [f"--config.{key}=VALUE" for key in keys if f".{key}".endswith(f".{name}")]
    return f"; the configuration has {' or '.join(options)}" if options else ""


def output(config: Config) -> Place:
    """Creates and returns a run's folder (`Config.folder`)."""
    folder = config.folder(config_name())
    disk.make(folder)
    return folder


def publication() -> Publication | None:
    """The published numbers in the configuration's file, if any."""
    return _read(config_file())[1]


def config_name() -> str:
    """The name of the configuration's file without folder and suffix, plus its variant."""
    return files.title(config_file())


def config_file() -> str:
    """The configuration's file, and its variant, as --config names them."""
    return config_flags.get_config_filename(flags.FLAGS["config"])
