"""Merging schedules: the number of tokens that merge in each layer, and of those that remain."""

import ast
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

from tokmerge_jax.types import UserError

FORMS = (
    "an int (every layer), (int, float) (ToMe's r and inflection), or a list per layer of ints or"
    " of fractions below 1"
)


def resolve(
    spec: Any,  # what a user wrote, in one of `FORMS` or none
    depth: int,
    tokens: int,
    most: Callable[[int], int],
) -> tuple[int, ...]:
    """Returns the number of tokens that merge in each layer.

    Args:
      spec: an int is the number for every layer. (r, inflection) is ToMe's linear schedule, from
        int(r * (1 - inflection)) to 2 r minus that. Both are capped at `most`.
        A list has an entry for each layer, 0 where it ends early: an int, or a fraction below 1 of
        the tokens that enter the layer. A str is read as a Python literal ("600,200,100").
      depth: number of layers.
      tokens: number of tokens that enter the first layer.
      most: number of tokens that enter a layer -> its largest r (`merger.most`).

    Raises:
      UserError: if `spec` has another form, or an entry is larger than `most` allows; the message
        names the layer, its tokens and r.
    """
    if isinstance(spec, str):
        spec = _literal(spec)
    if _is_count(spec):
        return _capped([int(spec)] * depth, tokens, most)
    if _is_inflected(spec):
        return _capped(_line(int(spec[0]), float(spec[1]), depth), tokens, most)
    return _listed(spec, depth, tokens, most)


def literal(r: Sequence[int]) -> str:
    """Writes a schedule as `resolve` reads it: "4," for the first layer; "4" means all layers."""
    return "".join(f"{merged}," for merged in r)


def token_counts(r: Sequence[int], tokens: int) -> tuple[int, ...]:
    """The number of tokens that enter each layer, and of those that leave the last one."""
    return tuple(tokens - sum(r[:i]) for i in range(len(r) + 1))


def _literal(text: str) -> Any:  # any Python literal
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise UserError(f"the merging schedule r={text!r} cannot be read; write {FORMS}") from error


def _is_count(value: object) -> bool:
    """Whether a value is a whole number that is not negative."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _is_inflected(spec: object) -> bool:
    if not isinstance(spec, tuple) or len(spec) != 2:
        return False
    r, inflection = spec
    return _is_count(r) and isinstance(inflection, float) and -1 <= inflection <= 1


def _line(r: int, inflection: float, depth: int) -> list[int]:
    """ToMe's linear schedule with mean r (section 3); it falls for a negative inflection."""
    low = int(r * (1 - inflection))
    step = (2 * (r - low)) / max(depth - 1, 1)
    return [int(low + step * i) for i in range(depth)]


def _capped(wanted: list[int], tokens: int, most: Callable[[int], int]) -> tuple[int, ...]:
    r = []
    for want in wanted:
        r.append(min(want, most(tokens)))
        tokens -= r[-1]
    return tuple(r)


def _listed(spec: Any, depth: int, tokens: int, most: Callable[[int], int]) -> tuple[int, ...]:
    """The schedule of a list with an entry for each layer."""
    if not isinstance(spec, list | tuple) or not all(
        _is_count(entry) or (isinstance(entry, float) and 0 <= entry < 1) for entry in spec
    ):
        raise UserError(f"the merging schedule r={spec!r} has no known form; write {FORMS}")
    if len(spec) > depth:
        raise UserError(
            f"the merging schedule r={spec!r} has {len(spec)} entries for"
            f" {depth} layer{'s' * (depth != 1)}; leave some out"
        )
    r = []
    for layer, entry in enumerate(spec):
        r.append(int(entry) if _is_count(entry) else int(tokens * entry))
        if r[-1] > most(tokens):
            raise UserError(
                f"the merging schedule merges r={r[-1]} of the {tokens} tokens that enter layer"
                f" {layer}; at most {most(tokens)} can merge"
            )
        tokens -= r[-1]
    return (*r, *[0] * (depth - len(r)))
