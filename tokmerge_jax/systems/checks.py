"""What every system asks of its configuration's numbers, told by their keys."""

from operator import attrgetter

from ml_collections import ConfigDict

from tokmerge_jax.types import UserError

Relation = tuple[str, str, str, bool]
"""Two keys of a configuration, how the first must stand to the second, and whether it does."""


def positive(config: ConfigDict, *keys: str, leave_out: tuple[str, ...] = ()) -> None:
    """Raises UserError unless the numbers at `keys`, or all in a part of that key, are 1 or more.

    Args:
      config: the configuration.
      keys: joined by dots, without the leading "config.".
      leave_out: names within a part that may be anything.
    """
    for key in keys:
        found = attrgetter(key)(config)
        numbers = found.items() if isinstance(found, ConfigDict) else [("", found)]
        for name, number in numbers:
            if name not in leave_out and number < 1:
                place = f"{key}.{name}" if name else key
                raise UserError(f"config.{place}={number} must be at least 1")


def at_least_zero(config: ConfigDict, *keys: str) -> None:
    """Raises UserError unless the numbers at `keys` are 0 or more."""
    for key in keys:
        if attrgetter(key)(config) < 0:
            raise UserError(f"config.{key}={attrgetter(key)(config)} must be 0 or more")


def towers(config: ConfigDict, *further: Relation) -> None:
    """Raises UserError unless the sizes of `config.model.vision` and `.text` go together.

    Args:
      config: the configuration.
      further: relations of the system's own.
    """
    vision, words = config.model.vision, config.model.text
    relations(
        config,
        ("model.vision.image_size", "a multiple of", "model.vision.patch_size",
         vision.image_size % vision.patch_size == 0),
        ("model.vision.width", "a multiple of", "model.vision.heads",
         vision.width % vision.heads == 0),
        ("model.text.width", "a multiple of", "model.text.heads", words.width % words.heads == 0),
        ("data.max_text_length", "at most", "model.text.max_positions",
         config.data.max_text_length <= words.max_positions),
        *further,
    )  # fmt: skip


def relations(config: ConfigDict, *rows: Relation) -> None:
    """Raises UserError, naming both keys, unless all relations hold."""
    for key, relation, other, holds in rows:
        if not holds:
            value, limit = (attrgetter(name)(config) for name in (key, other))
            raise UserError(f"config.{key}={value} must be {relation} config.{other}={limit}")
