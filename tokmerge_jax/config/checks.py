"""Checks of a configuration's numbers: ranges and relations, reported by their keys."""

import math
from operator import attrgetter

from tokmerge_jax.config.parts import Part
from tokmerge_jax.errors import UserError

Relation = tuple[str, str, str, bool]
"""(key, required relation in words, other key, whether it holds), for two configuration keys."""

_LIMITS = {"depth": 64, "frames": 4096, "image_size": 4096}
_LIMIT = 2**20  # largest value of other sizes


def positive(config: Part, *keys: str, leave_out: tuple[str, ...] = ()) -> None:
    """Raises UserError unless the numbers at `keys` are >= 1; a part stands for all its ints.

    Args:
      config: the configuration.
      keys: keys or parts, joined by dots, without the leading "config.".
      leave_out: names within a part that are not checked.
    """
    for key in keys:
        for place, number in _numbers(config, key):
            if place.rpartition(".")[2] not in leave_out and number < 1:
                raise UserError(f"config.{place}={number} must be at least 1")


def at_least(config: Part, least: int, *keys: str) -> None:
    """Raises UserError unless the numbers at `keys` are finite, and `least` or more."""
    _finite(config, *keys)
    for key in keys:
        if not attrgetter(key)(config) >= least:  # nor is nan
            raise UserError(f"config.{key}={attrgetter(key)(config)} must be {least} or more")


def above_zero(config: Part, *keys: str) -> None:
    """Raises UserError unless the numbers at `keys` are finite and above 0."""
    _finite(config, *keys)
    for key in keys:
        if not attrgetter(key)(config) > 0:  # nor is nan
            raise UserError(f"config.{key}={attrgetter(key)(config)} must be above 0")


def share(config: Part, *keys: str) -> None:
    """Raises UserError unless the numbers at `keys` are from 0 to 1."""
    for key in keys:
        if not 0 <= attrgetter(key)(config) <= 1:
            raise UserError(f"config.{key}={attrgetter(key)(config)} must be from 0 to 1")


def sizes(config: Part, key: str = "model") -> None:
    """Raises UserError for absurd sizes, whose network would take hours or all memory to build."""
    for place, number in _numbers(config, key):
        limit = _LIMITS.get(place.rpartition(".")[2], _LIMIT)
        if number > limit and "merger" not in place:
            raise UserError(f"config.{place}={number} is too large; use at most {limit}")


def vision(config: Part) -> None:
    """Raises UserError unless the sizes of `config.model.vision` are consistent."""
    size = attrgetter("model.vision.image_size", "model.vision.patch_size")(config)
    fits = size[0] % size[1] == 0
    relations(config, ("model.vision.image_size", "a multiple of", "model.vision.patch_size", fits))
    _heads(config, "model.vision")


def towers(config: Part, *further: Relation) -> None:
    """Raises UserError unless the sizes of `config.model.vision` and `.text` are consistent.

    Args:
      config: the configuration.
      further: the system's own relations.
    """
    vision(config)
    _heads(config, "model.text")
    positive(config, "data.max_text_length")
    length, positions = attrgetter("data.max_text_length", "model.text.max_positions")(config)
    fits = ("data.max_text_length", "at most", "model.text.max_positions", length <= positions)
    relations(config, fits, *further)


def answers(config: Part) -> None:
    """Raises UserError unless the decoder has a position for every piece of an answer."""
    positive(config, "data.max_answer_length")
    length, positions = attrgetter("data.max_answer_length", "model.text.max_positions")(config)
    fits = length <= positions
    relations(config, ("data.max_answer_length", "at most", "model.text.max_positions", fits))


def generation(config: Part, part: str) -> None:
    """Raises UserError unless the lengths and beams of text generation are valid."""
    at_least(config, 1, f"{part}.beams")
    at_least(config, 2, f"{part}.max_length")
    at_least(config, 0, f"{part}.min_length")
    least, most = f"{part}.min_length", f"{part}.max_length"
    fits = attrgetter(least)(config) <= attrgetter(most)(config)
    relations(config, (least, "at most", most, fits))


def relations(config: Part, *rows: Relation) -> None:
    """Raises UserError, naming both keys, unless all relations hold."""
    for key, relation, other, holds in rows:
        if not holds:
            value, limit = (attrgetter(name)(config) for name in (key, other))
            raise UserError(f"config.{key}={value} must be {relation} config.{other}={limit}")


def _finite(config: Part, *keys: str) -> None:
    for key in keys:
        if attrgetter(key)(config) == math.inf:
            raise UserError(f"config.{key}=inf must be finite")


def _heads(config: Part, part: str) -> None:
    width, heads = attrgetter(f"{part}.width", f"{part}.heads")(config)
    relations(config, (f"{part}.width", "a multiple of", f"{part}.heads", width % heads == 0))


def _numbers(config: Part, key: str) -> list[tuple[str, int | float]]:
    """(key, number) at a key, or of all ints in the part at that key, nested ones too."""
    value = attrgetter(key)(config)
    if not isinstance(value, Part):
        return [(key, value)]
    every = ((f"{key}.{name}", attrgetter(name)(value)) for name in value.keys)
    return [(place, number) for place, number in every if type(number) is int]
