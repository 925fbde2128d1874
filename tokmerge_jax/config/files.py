"""Configuration files: Python whose `get_config` builds a configuration, of a variant if asked."""

import importlib.machinery
import importlib.util
import pathlib

from tokmerge_jax.config.common import Config
from tokmerge_jax.config.published import Publication, Published
from tokmerge_jax.errors import UserError

_FOLDER = pathlib.Path(__file__).parents[1] / "configs"


def load(name: str) -> Config:
    """The configuration of a file.

    Args:
      name: the path of a Python file, or the name of one of `tokmerge_jax.configs` without suffix,
        such as "msrvtt_b16"; ":VARIANT" behind either is given to its `get_config`.

    Raises:
      UserError: if it cannot be read, or builds no configuration.
    """
    return read(name)[0]


def read(name: str) -> tuple[Config, Publication | None]:
    """The configuration of a file, and the numbers that its `PUBLISHED` holds, if it has that.

    Numbers are of the configuration without a variant.

    Args:
      name: as of `load`.

    Raises:
      UserError: as `load`; also if `PUBLISHED` holds something else.
    """
    path, variant = split(name)
    try:
        loader = importlib.machinery.SourceFileLoader(path.stem, str(path))
        spec = importlib.util.spec_from_file_location(path.stem, path, loader=loader)
        assert spec
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        config = module.get_config(variant) if variant else module.get_config()
        numbers = tuple(getattr(module, "PUBLISHED", ()))
        plain = module.get_config() if numbers and variant else config
    except UserError:
        raise
    except OSError as error:
        raise UserError(
            f"the configuration {name} cannot be loaded: {error.strerror}; name a file of configs/"
        ) from error
    except Exception as error:  # any: a user's file is a program
        raise UserError(
            f"the file {name} names no configuration ({error}); name a file of configs/"
        ) from error
    for each in (config, plain):
        if not isinstance(each, Config):
            raise UserError(
                f"the configuration {name}: its get_config returns a {type(each).__name__}; build a"
                " configuration of tokmerge_jax.config, as the files of configs/ do"
            )
    if not all(isinstance(number, Published) for number in numbers):
        raise UserError(
            f"the configuration {name}: its PUBLISHED is no tuple of"
            " tokmerge_jax.config.published.Published"
        )
    return config, Publication(plain.resolved(), numbers) if numbers else None


def split(name: str) -> tuple[pathlib.Path, str]:
    """The file and the variant that a name means."""
    file, colon, variant = name.partition(".py:")
    if colon:
        return pathlib.Path(f"{file}.py"), variant
    bare, _, variant = name.partition(":")
    ours = _FOLDER / f"{bare}.py"
    return (ours, variant) if ours.is_file() else (pathlib.Path(name), "")


def title(name: str) -> str:
    """What a configuration is called: its file without folder and suffix, and its variant."""
    path, variant = split(name)
    return "_".join(filter(None, [path.stem, variant]))


def names() -> list[str]:
    """The configurations of the package."""
    return sorted(path.stem for path in _FOLDER.glob("[!_]*.py"))
