"""The rule engine: how a checkpoint's names and arrays become our parameters, and back.

Strict both ways: every parameter is filled, every tensor is used or named as ignored, every shape
fits, or one error lists all that does not.
"""

import dataclasses
import itertools
import math
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

from tokmerge_jax.checkpoints.operations import Resize
from tokmerge_jax.names import Identity, Rule, RuleSet, StateDict
from tokmerge_jax.types import Params, UserError

_SHOWN = 10  # faults
_LETTERS = 200  # of a fault
_RESTORED = ("float16", "bfloat16", "float32", "float64")
_MOST = np.finfo(np.float32).max


def each(count: Iterable[int], rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules for every layer i of `count`: `{i}` in their names is the layer's number."""
    rules = tuple(rules)
    return tuple(
        dataclasses.replace(
            rule,
            source=rule.source.replace("{i}", str(i)),
            targets=tuple(target.replace("{i}", str(i)) for target in rule.targets),
        )
        for i in count
        for rule in rules
    )


def choose(tables: Sequence[RuleSet], names: Iterable[str]) -> RuleSet:
    """The first of a network's tables whose marker the names of a checkpoint show, or the last."""
    names = tuple(names)
    for table in tables[:-1]:
        if any(re.search(table.marker, name) for name in names):
            return table
    return tables[-1]


def flatten(params: Params) -> dict[str, PyTree]:
    """Leaves of a parameter tree by path, "text/layer_0/mlp/out/kernel"."""
    return flatten_dict(params, sep="/")


def identity(
    abstract_params: Params,
    names: Iterable[str],
    ignored: tuple[str, ...] = (),
    tables: Sequence[RuleSet] = (),
) -> RuleSet:
    """The table for loading weights under our own names, "text/layer_0/mlp/out/kernel".

    Args:
      abstract_params: the network's.
      names: what the weights hold.
      ignored: patterns of what they may hold in vain.
      tables: the network's tables of foreign names. Where the weights lack all that one of these
        draws anew, it is drawn for them as well, and what it ignores is ignored; what the first one
        resizes or drops is resized and dropped (patterns must then know our names too).
    """
    names, wanted = set(names), flatten(abstract_params)
    lacking = [table for table in tables if table.fresh and not names & table.fresh.keys()]
    start = lacking[0] if lacking else RuleSet(())
    first = tables[0] if tables else RuleSet(())
    resize = {r.targets[0]: r.operation for r in first.rules if isinstance(r.operation, Resize)}
    own = tuple(
        Rule(name, (name,), resize.get(name, Identity()))
        for name in wanted
        if name not in start.fresh
    )
    ignored = (*ignored, *start.ignored)
    return RuleSet(own, ignored, first.dropped, fresh=start.fresh, neutral=start.neutral)


def load(
    table: RuleSet,
    state_dict: StateDict,
    abstract_params: Params,
    origin: str = "the weights",
    *,
    to_train: bool = False,
) -> Params:
    """A checkpoint's tensors as a parameter tree of numpy arrays, views of them where possible.

    Tensors of half precision are widened to the parameters' float32, and those of double precision
    are rounded to it (`dtypes` remembers what they were). Warns of rounding, and of tensors that
    the table drops, once for each reason. One number is one number, whatever its axes.

    Args:
      table: the network's rules.
      state_dict: tensors by the checkpoint's names.
      abstract_params: the tree wanted, leaves with `shape` and `dtype`.
      origin: where the tensors come from, for errors and warnings.
      to_train: draw the table's `fresh` parameters, rather than miss them.

    Raises:
      UserError: listing (ten, and counting the rest) every parameter that is not filled, every
        tensor without a place, every shape that differs and every type that is not a float's; or
        that all is well, but for a training only.
    """
    wanted = flatten(abstract_params)
    sources = {name: table.rename(name) for name in state_dict}
    tensors = {to: state_dict[name] for name, to in sources.items() if not table.ignores(to)}
    dropped = {name: why for name in tensors if (why := table.drops(name))}
    tensors = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    faults = _twice(sources, tensors) + _untied(table, tensors)
    filled = {name: draw(wanted[name].shape) for name, draw in table.fresh.items()}
    filled = {name: drawn.astype(wanted[name].dtype) for name, drawn in filled.items()}
    untrained = "" if to_train or table.neutral else _shortly(filled, wanted)
    for rule in table.rules:
        if rule.source in tensors:
            tensor = np.asarray(tensors.pop(rule.source))
            filled |= _apply(rule, tensor, wanted, faults)
        else:
            faults += [f"{target} is not filled: no {rule.source}" for target in rule.targets]
    ruled = {target for rule in table.rules for target in rule.targets} | filled.keys()
    faults += [f"{name} is not filled: no rule" for name in wanted if name not in ruled]
    faults += [f"{name} {_shape(tensor)} has no place" for name, tensor in tensors.items()]
    if untrained and not faults:
        raise UserError(
            f"{origin} hold only what training starts from, nothing for {untrained}; train from"
            " them with scripts/train.py, or name a checkpoint of the system"
        )
    if faults:
        if untrained:
            faults.append(f"nothing for {untrained}, which only training can do without")
        if table.describe:
            origin += f" ({table.describe(state_dict)})"
        raise UserError(
            f"{origin} do not fit the model of the configuration ({len(faults)} faults; is it the"
            " right checkpoint, of the right size?):\n  " + "\n  ".join(_first(faults))
        )
    used = {rule.source for rule in table.rules}
    doubles = [name for name, to in sources.items() if to in used and _double(state_dict[name])]
    rounded = dict.fromkeys(doubles, "rounded from float64 to float32")
    _warn({name: f"left out, for {why}" for name, why in dropped.items()} | rounded, origin)
    return unflatten_dict(filled, sep="/")


def unload(table: RuleSet, params: Params, dtypes: object = None) -> dict[str, np.ndarray]:
    """The inverse of `load`: contiguous tensors by PyTorch's names, as the rules spell them.

    Args:
      table: the network's rules.
      params: the parameter tree.
      dtypes: names of tensors that were not float32, and their types (as `dtypes` below gave them
        to a file, which can hold anything by now).

    Raises:
      UserError: if `dtypes` is anything else, or gives a type that `load` does not take.
    """
    dtypes = {} if dtypes is None else dtypes
    if not (isinstance(dtypes, Mapping) and all(kind in _RESTORED for kind in dtypes.values())):
        raise UserError(
            f"the dtypes in the weights' constants.json ({f'{dtypes!r}':.100}) are not all of"
            f" {', '.join(_RESTORED)}; convert the weights again"
        )
    flat = flatten(params)
    state_dict = {}
    for rule in table.rules:
        tensor = rule.operation.backward([np.asarray(flat[target]) for target in rule.targets])
        dtype = jnp.dtype(dtypes.get(rule.source, tensor.dtype))
        state_dict[rule.source] = np.asarray(tensor, dtype, order="C")
    if table.both_names:
        state_dict |= {second: state_dict[first] for second, first in table.tied.items()}
    return state_dict


def dtypes(table: RuleSet, state_dict: StateDict) -> dict[str, str]:
    """The types of the tensors in use that are not float32: what `unload` needs to restore them."""
    used = {rule.source for rule in table.rules}
    renamed = {table.rename(name): tensor.dtype for name, tensor in state_dict.items()}
    return {
        name: str(dtype) for name, dtype in renamed.items() if name in used and dtype != np.float32
    }


def summary(table: RuleSet, state_dict: StateDict) -> dict[tuple[str, str], list[str]]:
    """What becomes of tensors that `load` accepts.

    Returns:
      (name, what it becomes) -> the tensors that this stands for; numbers in both are "*".
    """
    targets = {rule.source: ", ".join(rule.targets) for rule in table.rules}
    groups: dict[tuple[str, str], list[str]] = {}
    for name in state_dict:
        unused = "left out" if table.drops(table.rename(name)) else "ignored"
        target = targets.get(table.rename(name), unused)
        key = re.sub(r"\d+", "*", name), re.sub(r"\d+", "*", target)
        groups.setdefault(key, []).append(name)
    return groups


def _warn(changed: Mapping[str, str], origin: str) -> None:
    """Tells the caller of `load` what becomes of which tensors, once for each kind of change."""
    for change in dict.fromkeys(changed.values()):
        first, *others = (name for name, what in changed.items() if what == change)
        more = f" and {len(others)} more" if others else ""
        warnings.warn(f"{origin}: {first}{more} {change}", stacklevel=3)


def _first(faults: Sequence[str]) -> list[str]:
    """The first ten faults, each of bounded length, and the number of all others."""
    more = [f"... and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    shown = (fault if len(fault) <= _LETTERS else f"{fault[:_LETTERS]}..." for fault in faults)
    return [*itertools.islice(shown, _SHOWN), *more]


def _double(tensor: np.ndarray | np.generic) -> bool:
    return tensor.dtype == np.float64


def _shortly(names: Collection[str], wanted: Iterable[str]) -> str:
    """Parameters by the outermost groups that hold no others of `wanted`: "side/, head/"."""
    others = {group for name in wanted if name not in names for group in _groups(name)}
    found = (next(g for g in _groups(name) if g not in others) for name in names)
    return ", ".join(dict.fromkeys(found))


def _groups(name: str) -> tuple[str, ...]:
    """The groups that hold a parameter, outermost first, and the parameter itself."""
    return (*(name[: slash.end()] for slash in re.finditer("/", name)), name)


def _twice(sources: Mapping[str, str], tensors: Mapping[str, PyTree]) -> list[str]:
    counts = Counter(sources.values())
    return [f"{name} is there twice" for name, n in counts.items() if n > 1 and name in tensors]


def _untied(table: RuleSet, tensors: dict[str, PyTree]) -> list[str]:
    """Takes second names out of `tensors`; tells those whose tensor is not that of the first."""
    pairs = {
        second: first for second, first in table.tied.items() if {second, first} <= tensors.keys()
    }
    return [
        f"{second} differs from {first}, which it should share"
        for second, first in pairs.items()
        if not np.array_equal(tensors.pop(second), tensors[first])
    ]


def _apply(
    rule: Rule, tensor: np.ndarray, wanted: Mapping[str, PyTree], faults: list[str]
) -> dict[str, np.ndarray]:
    """The parameters that `rule` makes of `tensor`; adds what is wrong with them to `faults`."""
    if not jnp.issubdtype(tensor.dtype, jnp.floating) or tensor.dtype.itemsize > 8:
        faults.append(f"{rule.source} is {tensor.dtype}, which float32 does not hold exactly")
        return {}
    try:
        if isinstance(rule.operation, Resize):
            _check_resizable(tensor, wanted[rule.targets[0]])
        results = rule.operation.forward(tensor)
    except (ValueError, IndexError, KeyError):
        shapes = ", ".join(f"{t} {_shape(wanted[t])}" for t in rule.targets if t in wanted)
        faults.append(f"{rule.source} {_shape(tensor)} cannot become {shapes}")
        return {}
    made = {}
    for target, result in zip(rule.targets, results, strict=True):
        if target in wanted and result.size == math.prod(wanted[target].shape) == 1:
            result = result.reshape(wanted[target].shape)
        if target not in wanted:
            faults.append(f"{rule.source} is for {target}, which the model lacks")
        elif result.shape != wanted[target].shape:
            faults.append(
                f"{rule.source} {_shape(tensor)} becomes {_shape(result)}, but {target} is"
                f" {_shape(wanted[target])}"
            )
        elif _double(result) and np.abs(result).max(initial=0, where=np.isfinite(result)) > _MOST:
            faults.append(f"{rule.source} holds numbers beyond float32")
        else:
            made[target] = result.astype(wanted[target].dtype, copy=False)
    return made


def _check_resizable(tensor: np.ndarray, wanted: jax.ShapeDtypeStruct) -> None:
    """Raises ValueError for a table that is of another width, or out of all proportion."""
    if tensor.shape[-1:] != wanted.shape[-1:] or tensor.size > 64 * math.prod(wanted.shape):
        raise ValueError("no table to resize")


def _shape(array: np.ndarray | np.generic | jax.ShapeDtypeStruct) -> str:
    return str(list(array.shape))
