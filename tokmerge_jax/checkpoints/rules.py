"""The rule engine that converts a checkpoint's names and arrays to our parameters, and back.

It is strict both ways: every parameter must be filled, every tensor used or explicitly ignored, and
every shape must fit; otherwise one error lists everything that does not.
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

_SHOWN = 10  # number of faults in an error
_LETTERS = 200  # largest length of a fault in an error
_RESTORED = ("float16", "bfloat16", "float32", "float64")
_MOST = np.finfo(np.float32).max
_HALF = 2**-8  # the largest error of numbers up to 1 in bfloat16, and more than in float16


def each(count: Iterable[int], rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Repeats the rules for every layer i in `count`; `{i}` in names stands for the number."""
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
    """The first table whose marker matches a name in the checkpoint, or else the last table."""
    names = tuple(names)
    for table in tables[:-1]:
        if any(re.search(table.marker, name) for name in names):
            return table
    return tables[-1]


def flatten(params: Params) -> dict[str, PyTree]:
    """Path ("text/layer_0/mlp/out/kernel") -> leaf of a parameter tree."""
    return flatten_dict(params, sep="/")


def identity(
    abstract_params: Params,
    names: Iterable[str],
    ignored: tuple[str, ...] = (),
    tables: Sequence[RuleSet] = (),
) -> RuleSet:
    """The table for loading weights under our own names, "text/layer_0/mlp/out/kernel".

    Args:
      abstract_params: the network's parameters.
      names: the names in the weights.
      ignored: patterns of names that are ignored.
      tables: the network's tables of foreign names. If the weights hold none of the parameters in a
        table's `fresh`, the first such table's `fresh` and `ignored` apply. `Resize` operations,
        `dropped` and `restart` come from the first table, so its `dropped` patterns must match our
        names too.
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
    return RuleSet(
        own,
        ignored,
        first.dropped,
        fresh=start.fresh,
        neutral=start.neutral,
        restart=first.restart,
    )


def load(
    table: RuleSet,
    state_dict: StateDict,
    abstract_params: Params,
    origin: str = "the weights",
    *,
    to_train: bool = False,
) -> Params:
    """Converts a checkpoint's tensors to a parameter tree of NumPy arrays, views where possible.

    Half precision is widened to float32 and double precision rounded to it (`dtypes` records the
    original types). Rounding, and tensors that the table drops, are reported as warnings, one per
    reason. A tensor with one element fits a parameter with one element, whatever its axes.

    Args:
      table: the network's rules.
      state_dict: the checkpoint's name -> tensor.
      abstract_params: the expected tree, leaves with `shape` and `dtype`.
      origin: the source of the tensors, for errors and warnings.
      to_train: whether missing parameters in the table's `fresh` are initialised.

    Raises:
      UserError: if a parameter is not filled, a tensor has no place, or a shape or type does not
        fit (the message lists the first ten and counts the rest); or if only training can use the
        weights and `to_train` is False.
    """
    wanted = flatten(abstract_params)
    sources = {name: table.rename(name) for name in state_dict}
    tensors = {to: state_dict[name] for name, to in sources.items() if not table.ignores(to)}
    dropped = {name: why for name in tensors if (why := table.drops(name))}
    tensors = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    faults = _duplicates(sources, tensors) + _drop_tied(table, tensors)
    other = _drop_computed(table, tensors)
    faults += [] if to_train else other
    filled = {name: draw(wanted[name].shape) for name, draw in table.fresh.items()}
    filled = {name: drawn.astype(wanted[name].dtype) for name, drawn in filled.items()}
    untrained = "" if to_train else initialised(table, abstract_params)
    for rule in table.rules:
        if rule.source in tensors:
            tensor = np.asarray(tensors.pop(rule.source))
            filled |= _apply(rule, tensor, wanted, faults)
        else:
            faults += [f"{target} is not filled: no {rule.source}" for target in rule.targets]
    ruled = {target for rule in table.rules for target in rule.targets} | filled.keys()
    faults += [f"{name} is not filled: no rule" for name in wanted if name not in ruled]
    faults += [f"{name} {_shape(tensor)} has no place" for name, tensor in tensors.items()]
    if faults or untrained:
        raise _misfit(table, state_dict, origin, faults, untrained)
    used = {rule.source for rule in table.rules}
    doubles = [name for name, to in sources.items() if to in used and _double(state_dict[name])]
    rounded = dict.fromkeys(doubles, "rounded from float64 to float32")
    _warn({name: f"left out, for {why}" for name, why in dropped.items()} | rounded, origin)
    return unflatten_dict(filled, sep="/")


def _misfit(
    table: RuleSet, state_dict: StateDict, origin: str, faults: list[str], untrained: str
) -> UserError:
    """The error of weights that have faults, or hold nothing for the parameters `untrained`."""
    if not faults:
        return UserError(
            f"{origin} are only a start for training and hold nothing for {untrained}; train from"
            " them with tokmerge train, or name a checkpoint of the system"
        )
    if untrained:
        faults = [*faults, f"nothing for {untrained}, which only training can initialise"]
    if table.describe:
        origin += f" ({table.describe(state_dict)})"
    return UserError(
        f"{origin} do not fit the model of the configuration ({len(faults)} faults; is it the"
        " right checkpoint, of the right size?):\n  " + "\n  ".join(_first(faults))
    )


def initialised(table: RuleSet, abstract_params: Params) -> str:
    """Names the parameters that training from such a checkpoint initialises: "side/, head/".

    Empty if there are none, or if their initial values change nothing.
    """
    return "" if table.neutral else _group_names(table.fresh, flatten(abstract_params))


def restarted(table: RuleSet, state_dict: StateDict, abstract_params: Params) -> RuleSet:
    """The table with `restart` among `fresh`, if a tensor does not fit a parameter in `restart`."""
    wanted, faults = flatten(abstract_params), list[str]()
    heads = {rule.source: rule for rule in table.rules if rule.targets[0] in table.restart}
    for name, tensor in state_dict.items():
        if (source := table.rename(name)) in heads:
            _apply(heads[source], np.asarray(tensor), wanted, faults)
    if not faults:
        return table
    return dataclasses.replace(
        table,
        rules=tuple(rule for rule in table.rules if rule.source not in heads),
        ignored=(*table.ignored, *(f"{re.escape(source)}$" for source in heads)),
        fresh={**table.fresh, **table.restart},
    )


def unload(table: RuleSet, params: Params, dtypes: object = None) -> dict[str, np.ndarray]:
    """Inverts `load`: returns PyTorch's name -> contiguous tensor.

    Args:
      table: the network's rules.
      params: the parameter tree.
      dtypes: name -> type of the tensors that were not float32. It was made by `dtypes` below, but
        comes from a file, so it is checked.

    Raises:
      UserError: if `dtypes` is not such a mapping, or names a type that `load` does not take.
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
    """Name -> type of the used tensors that are not float32, for `unload`."""
    used = {rule.source for rule in table.rules}
    renamed = {table.rename(name): tensor.dtype for name, tensor in state_dict.items()}
    return {
        name: str(dtype) for name, dtype in renamed.items() if name in used and dtype != np.float32
    }


def summary(table: RuleSet, state_dict: StateDict) -> dict[tuple[str, str], list[str]]:
    """Summarises the conversion of tensors that `load` accepts.

    Returns:
      (checkpoint's name, our names) -> tensors, with all numbers in the keys replaced by "*".
    """
    targets = {rule.source: ", ".join(rule.targets) for rule in table.rules}
    groups: dict[tuple[str, str], list[str]] = {}
    for name in state_dict:
        renamed = table.rename(name)
        unused = "left out" if table.drops(renamed) else "ignored"
        target = targets.get(renamed, "computed" if renamed in table.computed else unused)
        key = re.sub(r"\d+", "*", name), re.sub(r"\d+", "*", target)
        groups.setdefault(key, []).append(name)
    return groups


def _warn(changed: Mapping[str, str], origin: str) -> None:
    """Warns the caller of `load` about changed tensors, once per kind of change."""
    for change in dict.fromkeys(changed.values()):
        first, *others = (name for name, what in changed.items() if what == change)
        more = f" and {len(others)} more" if others else ""
        warnings.warn(f"{origin}: {first}{more} {change}", stacklevel=3)


def _first(faults: Sequence[str]) -> list[str]:
    """The first ten faults, cut to a bounded length, and the number of the others."""
    more = [f"... and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    shown = (fault if len(fault) <= _LETTERS else f"{fault[:_LETTERS]}..." for fault in faults)
    return [*itertools.islice(shown, _SHOWN), *more]


def _double(tensor: np.ndarray | np.generic) -> bool:
    return tensor.dtype == np.float64


def _group_names(names: Collection[str], wanted: Iterable[str]) -> str:
    """Names parameters by the outermost groups that hold no other parameter: "side/, head/"."""
    others = {group for name in wanted if name not in names for group in _groups(name)}
    outermost = (next(g for g in _groups(name) if g not in others) for name in names)
    return ", ".join(dict.fromkeys(outermost))


def _groups(name: str) -> tuple[str, ...]:
    """The groups that contain a parameter, outermost first, then the parameter itself."""
    return (*(name[: slash.end()] for slash in re.finditer("/", name)), name)


def _duplicates(sources: Mapping[str, str], tensors: Mapping[str, PyTree]) -> list[str]:
    counts = Counter(sources.values())
    return [f"{name} is there twice" for name, n in counts.items() if n > 1 and name in tensors]


def _drop_tied(table: RuleSet, tensors: dict[str, PyTree]) -> list[str]:
    """Removes second names of tied tensors; returns faults for those that differ from the first."""
    pairs = {
        second: first for second, first in table.tied.items() if {second, first} <= tensors.keys()
    }
    return [
        f"{second} differs from {first}, which it should share"
        for second, first in pairs.items()
        if not np.array_equal(tensors.pop(second), tensors[first])
    ]


def _drop_computed(table: RuleSet, tensors: dict[str, PyTree]) -> list[str]:
    """Removes tensors that the network computes; returns faults for those that differ."""
    faults = []
    for name in table.computed.keys() & tensors.keys():
        stored, (what, compute) = np.asarray(tensors.pop(name)), table.computed[name]
        ours = compute()
        same = stored.size == ours.size and np.allclose(
            stored.astype(np.float32).reshape(ours.shape), ours, rtol=0, atol=_HALF
        )
        if not same:
            faults.append(f"{name} {_shape(stored)} is not {what}, {_shape(ours)}")
    return faults


def _apply(
    rule: Rule, tensor: np.ndarray, wanted: Mapping[str, PyTree], faults: list[str]
) -> dict[str, np.ndarray]:
    """Applies `rule` to `tensor` and returns the parameters; adds errors to `faults`."""
    if not jnp.issubdtype(tensor.dtype, jnp.floating) or tensor.dtype.itemsize > 8:
        faults.append(f"{rule.source} is {tensor.dtype}, which float32 does not hold exactly")
        return {}
    try:
        if isinstance(rule.operation, Resize):
            table = wanted[rule.targets[0]]
            if tensor.shape[-1:] != table.shape[-1:] or tensor.size > 64 * math.prod(table.shape):
                raise ValueError("a table of another width, or one that is far too large")
        results = rule.operation.forward(tensor)
    except (ValueError, IndexError, KeyError):
        shapes = ", ".join(f"{t} {_shape(wanted[t])}" for t in rule.targets if t in wanted)
        faults.append(f"{rule.source} {_shape(tensor)} cannot become {shapes or 'zeros'}")
        return {}
    params_made = {}
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
            params_made[target] = result.astype(wanted[target].dtype, copy=False)
    return params_made


def _shape(array: np.ndarray | np.generic | jax.ShapeDtypeStruct) -> str:
    return str(list(array.shape))
