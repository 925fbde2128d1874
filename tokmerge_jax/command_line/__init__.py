"""Shared parts of the commands: flags become a configuration, errors become one sentence."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator

from absl import app, flags, logging

import tokmerge_jax.command_line.limits  # noqa: F401 (before anything imports JAX)
from tokmerge_jax import disk, hosts, runtime
from tokmerge_jax.command_line import configuration
from tokmerge_jax.command_line.configuration import config as config
from tokmerge_jax.command_line.configuration import config_file as config_file
from tokmerge_jax.command_line.configuration import config_name as config_name
from tokmerge_jax.command_line.configuration import output as output
from tokmerge_jax.command_line.configuration import publication as publication
from tokmerge_jax.config import Config
from tokmerge_jax.types import UserError

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

    for module in (main.__module__, configuration.__name__, __name__):
        for flag in flags.FLAGS.get_flags_for_module(module):
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    app.run(start, flags_parser=parse)


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
        raise UserError(f"{error}{configuration.keys_like(error.flagname)}") from error
    except flags.Error as error:
        fault = error.__context__ if isinstance(error.__context__, UserError) else error
        raise UserError(str(fault).strip()) from error
    except TypeError as error:
        raise UserError(f"--config: {error}") from error
