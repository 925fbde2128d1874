"""Configuration files: Python files whose `get_config(variant)` builds a configuration."""

import difflib
import importlib.machinery
import importlib.util
import inspect
import pathlib

from tokmerge_jax.config.common import Config
from tokmerge_jax.config.published import Publication, Published
from tokmerge_jax.errors import UserError

_FOLDER = pathlib.Path(__file__).parents[1] / "configs"


def load(name: str) -> Config:
    """Loads the configuration in a file.

    Args:
      name: the path of a Python file, or the name of a file in `tokmerge_jax.configs` without
        suffix, such as "msrvtt_b16"; a suffix ":VARIANT" is passed to its `get_config`.

    Raises:
      UserError: if the file cannot be read, or builds no configuration.
    """
    return read(name)[0]


def read(name: str) -> tuple[Config, Publication | None]:
    """Loads the configuration in a file, and the published numbers in its `PUBLISHED`, if any.

    The numbers belong to the configuration without a variant.

    Args:
      name: as in `load`.

    Raises:
      UserError: as in `load`; also if `PUBLISHED` holds something else.
    """
    path, variant = split(name)
    try:
        loader = importlib.machinery.SourceFileLoader(path.stem, str(path))
        spec = importlib.util.spec_from_file_location(path.stem, path, loader=loader)
        assert spec
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        if variant and not inspect.signature(module.get_config).parameters:
            raise UserError(f"the configuration {path} has no variants; leave out :{variant}")
        config = module.get_config(variant) if variant else module.get_config()
        numbers = tuple(getattr(module, "PUBLISHED", ()))
        plain = module.get_config() if numbers and variant else config
    except UserError:
        raise
    except OSError as error:
        near = difflib.get_close_matches(path.stem, names(), n=1)
        raise UserError(
            f"the configuration {name} cannot be loaded: {error.strerror}; see `tokmerge configs`"
            + (f", for example {near[0]}" if near else "")
        ) from error
    except Exception as error:  # a user's file is a program and may raise anything
        raise UserError(
            f"the file {name} is not a configuration ({error}); see `tokmerge configs`"
        ) from error
    for each in (config, plain):
        if not isinstance(each, Config):
            raise UserError(
                f"the configuration {name}: its get_config returns a {type(each).__name__}; build a"
                " configuration of tokmerge_jax.config, as the files of configs/ do"
            )
    if not all(isinstance(number, Published) for number in numbers):
        raise UserError(
            f"the configuration {name}: its PUBLISHED must be a tuple of"
            " tokmerge_jax.config.published.Published"
        )
    return config, Publication(plain.resolved(), numbers) if numbers else None


def split(name: str) -> tuple[pathlib.Path, str]:
    """Splits a name into (file, variant)."""
    file, colon, variant = name.partition(".py:")
    if colon:
        return pathlib.Path(f"{file}.py"), variant
    bare, _, variant = name.partition(":")
    ours = _FOLDER / f"{bare}.py"
    return (ours, variant) if ours.is_file() else (pathlib.Path(name), "")


def title(name: str) -> str:
    """The title of a configuration: its file without folder and suffix, plus its variant."""
    path, variant = split(name)
    return "_".join(filter(None, [path.stem, variant]))


def names() -> list[str]:
    """The names of the package's configurations."""
    return sorted(path.stem for path in _FOLDER.glob("[!_]*.py"))
