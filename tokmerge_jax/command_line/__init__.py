"""Shared parts of the commands: the --config flag, the output folder, one-sentence errors."""

import contextlib
import dataclasses
import functools
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from operator import attrgetter

from absl import app, flags, logging
from ml_collections import ConfigDict, FieldReference, config_flags

import tokmerge_jax.command_line.limits  # noqa: F401 (before anything imports JAX)
from tokmerge_jax import disk, hosts, runtime
from tokmerge_jax.config import Config, Part, files
from tokmerge_jax.config.published import Publication
from tokmerge_jax.objects import Place
from tokmerge_jax.types import UserError


@dataclasses.dataclass
class _Missing:
    """A placeholder for the configuration if the command line names none."""


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

_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    hosts.detected(),
    "how the processes of a run find each other: auto (Slurm, Open MPI, GKE, a TPU slice), off, or"
    " HOST:PORT,COUNT,NUMBER with an address of process 0; see docs/clusters.md",
)


def run(main: Callable[[Config], None], *, several: bool = False) -> None:
    """Parses the command line and calls `main(config)`; bad input exits with code 2.

    `several` as in `run_commands`.
    """

    @functools.wraps(main)
    def start(rest: list[str]) -> None:
        if rest:
            raise UserError(f"unknown argument {rest[0]!r}; options begin with --, see --help")
        main(config())

    run_commands(start, several=several)


def run_commands(main: Callable[[list[str]], None], *, several: bool = False) -> None:
    """Calls `main` with the arguments that are not options; bad input exits with code 2.

    `several`: whether `main` can be run by several processes that share its work. --help shows the
    docstring and the flags of the module of `main`.
    """

    def start(rest: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # orbax logs every step
        with reported():
            if several:
                hosts.join(_DISTRIBUTED.value)
            elif flags.FLAGS["distributed"].present and _DISTRIBUTED.value != "off":
                raise UserError("--distributed: this script runs in one process; leave it out")
        with hosts.together(), reported():
            runtime.start()
            main(rest)

    def parse(argv: list[str]) -> list[str]:
        with reported(), _explained():
            return flags.FLAGS(argv)[1:]

    for module in (main.__module__, __name__):
        for flag in flags.FLAGS.get_flags_for_module(module):
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    app.run(start, flags_parser=parse)


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


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Prints a UserError, or a refusal of the machine, without a stack trace, and exits; exits
    quietly if the reader of the output has ended (`| head`).
    """
    try:
        with disk.explained():
            yield
            sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes at exit
        sys.exit(1)


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Ends a script that is stopped (Ctrl-C) with a note that the same command resumes."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nStopped; run the same command again to continue.", file=sys.stderr)
        sys.exit(130)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turns errors of the command line or the configuration into a UserError."""
    try:
        yield
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"{error}{_keys_like(error.flagname)}") from error
    except flags.Error as error:
        fault = error.__context__ if isinstance(error.__context__, UserError) else error
        raise UserError(str(fault).strip()) from error
    except TypeError as error:
        raise UserError(f"--config: {error}") from error


def _keys_like(name: str) -> str:
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
