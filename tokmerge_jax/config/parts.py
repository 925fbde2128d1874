"""The base class of all parts of a configuration: keys, overrides and type checks."""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from tokmerge_jax.errors import UserError

P = TypeVar("P", bound="Part")

Hint = Any  # the annotation of a key: there is no common class of unions and literals


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a configuration, whose fields are keys or further parts."""

    def to_dict(self) -> dict[str, Any]:  # Any: nested to any depth
        """Key -> value, with parts as nested dictionaries; all values are JSON values."""
        return dataclasses.asdict(self)

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, joined by dots, such as "model.merger.r"."""
        return tuple(_keys(self))

    def override(self: P, changes: Mapping[str, object]) -> P:
        """Returns a copy with changed values; lists become tuples, and ints floats where needed.

        Args:
          changes: key (of `keys`) -> value; a part's changes may be a nested dictionary.

        Raises:
          UserError: if a key is unknown, or any value, changed or not, has another type.
        """
        changes = flat(changes)
        self.check_keys(changes)
        return _changed(self, changes, "")

    def check_keys(self, keys: Iterable[str]) -> None:
        """Raises UserError if one of the keys is not in `self.keys`; suggests a similar one."""
        known = self.keys
        for key in keys:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                cure = f"did you mean {near[0]}?" if near else "the keys are in tokmerge_jax/config"
                raise UserError(f"the configuration has no key {key!r}; {cure}")


def restore(kind: type[P], tree: object, at: str = "") -> P:
    """Restores a part from the result of `to_dict`, also after a round trip through JSON.

    A key that is not there keeps its default: an earlier version may not have had it.

    Raises:
      UserError: if keys without a default are missing, or keys are unknown, or a value has another
        type.
    """
    if not isinstance(tree, Mapping):
        raise UserError(
            f"the configuration holds {tree!r:.60} in place of keys: {at or 'at its top'}"
        )
    hints, keys = _hints(kind), tree
    needed = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory is dataclasses.MISSING
    }
    if wrong := (needed - keys.keys()) | (keys.keys() - hints.keys()):
        raise UserError(f"the configuration has a missing or unknown key: {at}{min(wrong)}")
    values = {}
    for name in hints.keys() & keys.keys():
        value, hint, key = keys[name], hints[name], f"{at}{name}"
        a_part = isinstance(hint, type) and issubclass(hint, Part)
        values[name] = restore(hint, value, f"{key}.") if a_part else _checked(value, hint, key)
    return kind(**values)


def flat(tree: Mapping[str, object], at: str = "") -> dict[str, object]:
    """Flattens nested dictionaries; keys are joined by dots."""
    values: dict[str, object] = {}
    for name, value in tree.items():
        key = f"{at}{name}"
        values |= flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return values


def expect(part: Part, kind: type[P]) -> P:
    """Returns `part` after checking that it is a `kind`.

    Raises:
      UserError: if it is not, that is, if the configuration belongs to another task.
    """
    if isinstance(part, kind):
        return part
    raise UserError(
        f"the configuration holds {_name(type(part))} where {_name(kind)} is needed; use the"
        " configuration of a system that supports this task"
    )


def none_of(key: str, value: object, known: Iterable[object]) -> UserError:
    """The error for a value that is not one of the known names."""
    return UserError(f"config.{key}={value!r:.80} is unknown; use {', '.join(map(str, known))}")


def _keys(part: Part, at: str = "") -> Iterator[str]:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Part):
            yield from _keys(value, f"{at}{field.name}.")
        else:
            yield f"{at}{field.name}"


def _changed(part: P, changes: Mapping[str, object], at: str) -> P:
    """Rebuilds a part, whose keys begin with `at`, from checked values."""
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
    """Field -> annotation of a part."""
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
    """Whether a value fits an annotation: a class, a union, a tuple or a literal."""
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
