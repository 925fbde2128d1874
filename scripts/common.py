"""What the scripts share: the configuration's flag, the output folder, errors in one sentence."""

import contextlib
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterator

import limits  # noqa: F401 (checks them, before anything imports JAX)
from absl import app, flags, logging
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict, config_flags

from tokmerge_jax import disk, runtime
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # configurations import their shared parts from configs.base

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "the configuration, a .py file; its keys are set by --config.KEY=VALUE"
)


def run(main: Callable[[ConfigDict], None]) -> None:
    """Parses the command line and calls `main(config)`; bad input exits with code 2."""

    def start(rest: list[str]) -> None:
        if rest:
            raise UserError(f"unknown argument {rest[0]!r}; options begin with --, see --help")
        main(config())

    run_commands(start)


def run_commands(main: Callable[[list[str]], None]) -> None:
    """Calls `main` with the arguments that are no options; bad input exits with code 2."""

    def start(rest: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # orbax tells every step
        with _told():
            runtime.start()
            main(rest)

    def parse(argv: list[str]) -> list[str]:
        with _told(), _explained():
            return flags.FLAGS(argv)[1:]

    for flag in flags.FLAGS.get_flags_for_module(__name__):  # --help shows the script's own flags
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(start, flags_parser=parse)


def config() -> ConfigDict:
    """The configuration that the command line describes.

    Raises:
      UserError: if there is none, or it cannot be loaded.
    """
    if flags.FLAGS["config"].value is None:
        raise UserError("--config is missing; name a file of configs/, see --help")
    with _explained():
        _CONFIG.value.get("system")  # a file that could not be loaded raises here, not before
        return _CONFIG.value


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Prints a UserError, or what the machine refuses, without a stack trace, and exits; quietly
    where nobody reads on (`| head`).
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
def _explained() -> Iterator[None]:
    """Turns what is wrong with a command line or configuration into a UserError."""
    try:
        yield
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"{error}{_keys_like(error.flagname)}") from error
    except flags.Error as error:
        message = str(error).strip()
        if "Traceback" in message:  # a configuration's own error: its last line says what
            message = message.splitlines()[-1].removeprefix("tokmerge_jax.types.UserError: ")
        raise UserError(message) from error
    except OSError as error:
        fault = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"--config={config_file()} cannot be loaded: {fault}; name a file of configs/"
        ) from error
    except (AttributeError, KeyError) as error:  # their text is a repr, of a repr at times
        fault = re.sub(r"[\\'\"]", "", str(error).replace("\\n", "; "))
        raise UserError(
            f"--config has no such key: {fault}; the keys stand in its file and configs/base/"
        ) from error
    except TypeError as error:
        raise UserError(f"--config: {error}") from error
    except (ImportError, NameError, SyntaxError) as error:
        raise UserError(
            f"--config names no configuration ({error}); name a file of configs/"
        ) from error


def _keys_like(name: str) -> str:
    """Names the keys of the configuration, if one is loaded, that end like an unknown flag."""
    loaded = flags.FLAGS["config"].value
    keys = (
        flatten_dict(loaded.to_dict(), sep=".") if loaded and isinstance(loaded, ConfigDict) else ()
    )
    options = [f"--config.{key}=VALUE" for key in keys if f".{key}".endswith(f".{name}")]
    return f"; the configuration has {' or '.join(options)}" if options else ""


def output(config: ConfigDict) -> pathlib.Path:
    """A run's folder, made: `config.output`, or `results/` and the configuration's name."""
    folder = pathlib.Path(config.output or f"results/{config_name()}")
    with disk.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def config_name() -> str:
    """The name of the configuration's file without its folder and suffix, and its variant's."""
    _, variant = _file_and_variant()
    return "_".join(filter(None, [config_file().stem, variant]))


def config_file() -> pathlib.Path:
    """The configuration's file."""
    return pathlib.Path(_file_and_variant()[0])


def _file_and_variant() -> tuple[str, str]:
    """The two parts of --config=FILE.py:VARIANT."""
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    file, colon, variant = name.partition(".py:")
    return (f"{file}.py", variant) if colon else (name, "")
