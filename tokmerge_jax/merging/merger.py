"""The protocol of mergers, and mergers by the names that configurations use.

A method is one file with a subclass of `Merger`: in this folder, where `register` names it, or
anywhere, where a configuration calls it "module:Class". Nothing else has to know it.
"""

import abc
import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar, Literal, TypeVar

from tokmerge_jax.config.parts import none_of
from tokmerge_jax.merging.tokens import Evidence, Tokens
from tokmerge_jax.types import UserError

Place = Literal["input", "time", "before", "within", "attention", "mlp"]
"""Where a network calls a merger: once on patches before the first layer; in a layer on whole
frames after TESTA's attention over time; on tokens before attention, between its map and its
values, between attention and MLP, or after the MLP."""

BLOCK: tuple[Place, ...] = ("before", "within", "attention", "mlp")
"""The places of `layers.block.Block`."""


@dataclasses.dataclass(frozen=True)
class Merger(abc.ABC):
    """Reduces the tokens of one layer from N to N - r.

    Attributes:
      needs: the parts of `Evidence` that it reads; only these are computed.
      place: where the network calls it.
      proportional: whether the sizes of its tokens count in later attention.
      ordered: whether the order of its result follows places, not scores, if there are class
        tokens. Attention over time, which compares the same place of all frames, needs that.
      r: number of tokens that merge or are dropped.
      class_tokens: number of leading tokens that never change.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    place: ClassVar[Place] = "attention"
    proportional: ClassVar[bool] = True
    ordered: ClassVar[bool] = True
    r: int
    class_tokens: int = 0

    @property
    def drops(self) -> bool:
        """Whether it drops tokens, which cannot be followed through the network then."""
        return False

    @classmethod
    def at(cls, layer: int, depth: int, r: int, class_tokens: int) -> "Merger":
        """Makes the merger of one of `depth` layers; a method can depend on the layer here."""
        del layer, depth
        return cls(r, class_tokens)

    @staticmethod
    @abc.abstractmethod
    def most(tokens: int, class_tokens: int) -> int:
        """The largest r in a layer that `tokens` enter; a call caps a larger one."""

    @abc.abstractmethod
    def macs(self, tokens: int, width: int, heads: int) -> int:
        """The merger's own multiply-accumulates in a layer that `tokens` of `width` channels enter.

        They include evidence that the layer does not compute anyway.
        """

    @abc.abstractmethod
    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges tokens [B,N,C], by the evidence about them; returns tokens [B,N-r,C].

        At the place "time", tokens are frames [B,T,N,C] with sizes [B,T,N], the evidence is about
        [B,N,T], and an origin [B,T] is that of whole frames.
        """


M = TypeVar("M", bound=type[Merger])

_MERGERS: dict[str, type[Merger]] = {}


def register(name: str) -> Callable[[M], M]:
    """Registers a merger, so that configurations can name it."""

    def add(kind: M) -> M:
        _MERGERS[name] = kind
        return kind

    return add


def names(places: Sequence[Place] = BLOCK) -> list[str]:
    """The names of all registered mergers that act at one of `places`."""
    for module in pkgutil.iter_modules([str(pathlib.Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")  # which registers what it holds
    return sorted(name for name, kind in _MERGERS.items() if kind.place in places)


def find(
    name: str,
    places: Sequence[Place] = BLOCK,
    *,
    key: str = "model.merger.name",
    also: Sequence[str] = ("none",),
) -> type[Merger]:
    """Finds a merger by its name.

    Args:
      name: a registered name, or "module:Class".
      places: where the network can call a merger.
      key: the configuration's key for it, for the message.
      also: other valid values of the key, for the message.

    Raises:
      UserError: if there is no such merger, it is incomplete, or it acts at another place.
    """
    known = [*also, *names(places), "module:Class"]
    if ":" not in name and name not in _MERGERS:
        raise none_of(key, name, known)
    kind = _imported(name, key) if ":" in name else _MERGERS[name]
    if kind.place not in places:
        raise UserError(
            f"config.{key}={name!r} acts at {kind.place!r}, and here mergers are called at"
            f" {' or '.join(map(repr, places))}; choose one of {', '.join(known)}"
        )
    return kind


def most(name: str, class_tokens: int = 0, places: Sequence[Place] = BLOCK) -> Callable[[int], int]:
    """The largest r of the merger `name` in a layer, by the number of tokens that enter it.

    Raises:
      UserError: see `find`.
    """
    if name == "none":
        return lambda tokens: 0
    return partial(find(name, places).most, class_tokens=class_tokens)


def per_layer(
    name: str,
    schedule: Sequence[int],
    class_tokens: int = 0,
    places: Sequence[Place] = BLOCK,
) -> tuple[Merger | None, ...]:
    """Makes one merger per layer of `schedule` (`schedule.resolve`), None where r is 0.

    Args:
      name: see `find`; or "none".
      schedule: r of each layer.
      class_tokens: number of leading tokens that never change.
      places: see `find`.

    Raises:
      UserError: see `find`.
    """
    if name == "none":
        return (None,) * len(schedule)
    kind = find(name, places)
    return tuple(
        kind.at(layer, len(schedule), r, class_tokens) if r else None
        for layer, r in enumerate(schedule)
    )


def proportional(mergers: Iterable[Merger | None]) -> bool:
    """Whether attention counts the sizes of tokens in a network of these mergers."""
    return all(merger.proportional for merger in mergers if merger)


def _imported(name: str, key: str) -> type[Merger]:
    """Imports the class "module:Class".

    Raises:
      UserError: if it does not exist, is no merger, or lacks one of a merger's methods.
    """
    module, _, attribute = name.partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"config.{key}={name!r} cannot be imported ({error}); write module:Class, of a module"
            " that Python finds"
        ) from error
    if not inspect.isclass(kind) or not issubclass(kind, Merger) or inspect.isabstract(kind):
        raise UserError(
            f"config.{key}={name!r} is no merger; derive it from tokmerge_jax.merging.Merger, with"
            " the methods most, macs and __call__"
        )
    return kind
