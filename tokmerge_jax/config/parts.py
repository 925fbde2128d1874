"""What every part of a configuration can do: name its keys, take other values, check types."""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from tokmerge_jax.errors import UserError

P = TypeVar("P", bound="Part")

Hint = Any  # the type of a key as annotations write it: no class has unions and literals alike


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a configuration: its fields are keys, or parts with keys of their own."""

    def to_dict(self) -> dict[str, Any]:  # of any depth
        """The values by their keys, parts as dictionaries: all that JSON can hold."""
        return dataclasses.asdict(self)

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, those of parts joined by dots, such as "model.merger.r"."""
        return tuple(_keys(self))

    def override(self: P, changes: Mapping[str, object]) -> P:
        """The same with other values; a list becomes a tuple, and an int where a float belongs one.

        Args:
          changes: the values by their keys (`keys`); those of a part may stand in a dictionary.

        Raises:
          UserError: if there is no such key, or a value, changed or not, is not of the key's type.
        """
        known, changes = self.keys, flat(changes)
        for key in changes:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                cure = f"did you mean {near[0]}?" if near else "its keys stand in its class"
                raise UserError(f"the configuration has no key {key!r}; {cure}")
        return _changed(self, changes, "")


def restore(kind: type[P], tree: object, at: str = "") -> P:
    """The part that `to_dict` made `tree` of, or JSON of that.

    Raises:
      UserError: if it lacks keys, or has others, or a value is not of its key's type.
    """
    hints, keys = _hints(kind), tree if isinstance(tree, Mapping) else {}
    if wrong := hints.keys() ^ keys.keys():
        raise UserError(f"the configuration lacks, or must not have, the key {at}{min(wrong)}")
    values = {}
    for name, hint in hints.items():
        value, key = keys[name], f"{at}{name}"
        a_part = isinstance(hint, type) and issubclass(hint, Part)
        values[name] = restore(hint, value, f"{key}.") if a_part else _checked(value, hint, key)
    return kind(**values)


def flat(tree: Mapping[str, object], at: str = "") -> dict[str, object]:
    """The values of nested dictionaries by their keys, which dots join."""
    found: dict[str, object] = {}
    for name, value in tree.items():
        key = f"{at}{name}"
        found |= flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return found


def expect(part: Part, kind: type[P]) -> P:
    """The part, which is of that kind.

    Raises:
      UserError: if it is not: the configuration is that of another task.
    """
    if isinstance(part, kind):
        return part
    raise UserError(
        f"the configuration holds {_name(type(part))} where {_name(kind)} is needed; choose the"
        " configuration of a system that does this task"
    )


def none_of(key: str, value: object, known: Iterable[object]) -> UserError:
    """The error of a name that is none of those known."""
    names = [*map(str, known)]
    which = f"neither {' nor '.join(names)}" if len(names) == 2 else f"none of {', '.join(names)}"
    return UserError(f"config.{key}={value!r:.80} is {which}")


def _keys(part: Part, at: str = "") -> Iterator[str]:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Part):
            yield from _keys(value, f"{at}{field.name}.")
        else:
            yield f"{at}{field.name}"


def _changed(part: P, changes: Mapping[str, object], at: str) -> P:
    """The part at the keys that begin with `at`, made anew of checked values."""
    values = {}
    for name, hint in _hints(type(part)).items():
        value, key = getattr(part, name), f"{at}{name}"
        if isinstance(value, Part):
            values[name] = _changed(value, changes, f"{key}.")
        else:
            values[name] = _checked(changes.get(key, value), hint, key)
    return type(part)(**values)


@functools.cache
def _hints(kind: type[Part]) -> dict[str, Hint]:
    """The types of a part's fields."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _checked(value: object, hint: Hint, key: str) -> object:
    value = tuple(value) if isinstance(value, list) else value
    if not _fits(value, hint):
        if typing.get_origin(hint) is Literal:
            raise none_of(key, value, typing.get_args(hint))
        raise UserError(f"config.{key}={value!r:.80} must be of type {_name(hint)}")
    return float(value) if hint is float and isinstance(value, int) else value


def _fits(value: object, hint: Hint) -> bool:
    """Whether a value is of a type: a class, a union, a tuple, or one of named values."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind is types.UnionType:
        return any(_fits(value, part) for part in parts)
    if kind is Literal:
        return value in parts
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    number = int | float if hint is float else hint
    return isinstance(value, number) and (hint is bool or not isinstance(value, bool))


def _name(hint: Hint) -> str:
    if isinstance(hint, type) and issubclass(hint, Part):
        return f"{hint.__module__.rpartition('.')[2]}.{hint.__name__}"
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
