"""Reads the pickle of a PyTorch checkpoint without PyTorch, and without running any of its code.

`pickletools` splits the pickle into instructions; a machine executes them on values of its own, and
never looks up, imports or calls anything that the pickle names:

* Strings, numbers, lists, tuples, dictionaries with string keys and tensors are kept, since weights
  consist of them. A tensor is only a description; its numbers are read on demand.
* Every other object becomes a `Placeholder`, whatever the pickle calls, builds or puts into it, so
  that objects beside the weights cannot affect them. A TorchScript module (`__torch__.*`) keeps its
  attributes, since the weights are among them.
* Calls that only an attack needs (`_HOSTILE`) are refused by name. This is a warning, not the
  protection: they would be as inert as all others.

The number of instructions is bounded, and so are time and memory.
"""

import dataclasses
import pickletools
import re
from collections.abc import Callable, Sequence

import numpy as np

from tokmerge_jax.types import UserError

_INSTRUCTIONS = 300_000  # a tensor takes about forty
_NAMES, _NAME = 10_000_000, 50  # bytes for all names in a TorchScript archive; overhead per name
_LETTERS = 100  # largest length of a module's or global's name; longer names are cut
_ARGUMENTS = 8  # largest number of arguments of a call that makes a tensor or number
_NUMBER = 16  # largest size of a number in bytes

_HOSTILE = re.compile(
    r"(subprocess|pty|runpy|importlib|_?ctypes|webbrowser|_?pickle|marshal)\."
    r"|(os|posix|nt)\.(system|popen|exec|spawn|posix_spawn|fork|kill|remove|unlink|rmdir|rename"
    r"|putenv)"
    r"|(shutil\.rmtree|socket\.(socket|create_connection)|commands\.getoutput|code\.interact"
    r"|pdb\.run|timeit\.timeit)$"
    r"|builtins\.(eval|exec|execfile|compile|open|input|__import__|apply|breakpoint|globals"
    r"|setattr|delattr)$"
    r"|torch\.(load$|hub\.)"
)

# Python 2's spelling, which protocol 2 writes.
_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BYTEARRAY8"),
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A class or function named in the pickle; it is never looked up."""

    name: str


@dataclasses.dataclass(slots=True, eq=False)
class Placeholder:
    """A stand-in for an object that the weights do not need.

    Attributes:
      name: its class, or the function that would make it.
      network: whether it is a PyTorch module (its state has `_modules`).
    """

    name: str
    network: bool = False

    def build(self, state: object) -> None:
        """Receives the object's state without keeping it."""
        self.network |= isinstance(state, dict) and "_modules" in state


@dataclasses.dataclass(slots=True, eq=False)
class _NumpyType(Placeholder):
    """NumPy's description of a dtype."""

    dtype: np.dtype = dataclasses.field(kw_only=True)

    def build(self, state: object) -> None:
        """Reads the byte order, the second entry of NumPy's state."""
        match state:
            case (_, "<" | ">" | "|" as order, *_):
                self.dtype = self.dtype.newbyteorder(order)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A storage shared by tensors: its class, such as "torch.FloatStorage", and its key."""

    kind: str
    key: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view of a storage as the pickle describes it, unchecked."""

    storage: object
    offset: object
    size: object
    stride: object


@dataclasses.dataclass(slots=True, eq=False)
class ScriptModule(Placeholder):
    """A module of a TorchScript archive: name -> attribute (tensors, further modules, ...)."""

    attributes: dict[str, object] = dataclasses.field(default_factory=dict)

    def build(self, state: object) -> None:
        """Stores the attributes."""
        self.attributes = state if isinstance(state, dict) else {}

    def tensors(self) -> dict[str, Tensor]:
        """State-dict name -> tensor, of all tensors in the module.

        Raises:
          UserError: if shared or circular modules give too many names.
        """
        named, left = {}, _NAMES
        waiting: list[tuple[str, ScriptModule]] = [("", self)]
        while waiting:
            prefix, module = waiting.pop()
            for name, value in module.attributes.items():
                left -= _NAME + len(prefix) + len(f"{name}")
                if left < 0:
                    raise UserError("its modules contain each other too many times")
                if isinstance(value, Tensor):
                    named[f"{prefix}{name}"] = value
                elif isinstance(value, ScriptModule):
                    waiting.append((f"{prefix}{name}.", value))
        return named


def load(content: bytes, extra_instructions: int = 0) -> object:
    """Builds the object that the pickle `content` describes.

    Args:
      content: the pickle of a zip checkpoint (its `data.pkl`).
      extra_instructions: number of allowed instructions beyond those of a small checkpoint.

    Returns:
      Dictionaries, lists, tuples, numbers, strings; `Tensor`, `ScriptModule`, `Placeholder`.

    Raises:
      UserError: if the pickle asks for a hostile call (the message names it), or is damaged.
    """
    machine = _Machine()
    limit = _INSTRUCTIONS + extra_instructions
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > limit:
                raise UserError(f"its pickle has more than {limit:,} instructions")
            if opcode.name == "STOP":
                break
            machine.steps[opcode.name](argument)
        return machine.stack.pop()
    except (UserError, MemoryError):
        raise
    except Exception as error:  # at damaged bytes, an instruction may fail in any way
        raise UserError(f"its pickle is damaged ({f'{error!r}':.200})") from error


class _Machine:
    """A pickle machine: its stack, its memo, and the implementation of every instruction.

    Attributes:
      stack: the values.
      steps: name of an instruction -> function of its argument.
    """

    def __init__(self):
        self.stack: list = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        push = self.stack.append
        self.steps: dict[str, Callable] = {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "MARK": lambda _: self._marks.append(len(self.stack)),
            "POP": self._pop,
            "POP_MARK": lambda _: self._marked(),
            "DUP": lambda _: push(self.stack[-1]),
            "TUPLE": lambda _: push(tuple(self._marked())),
            "TUPLE1": lambda _: push(self._take(1)),
            "TUPLE2": lambda _: push(self._take(2)),
            "TUPLE3": lambda _: push(self._take(3)),
            "EMPTY_LIST": lambda _: push([]),
            "LIST": lambda _: push(self._marked()),
            "APPEND": lambda _: self._extend(self._take(1)),
            "APPENDS": lambda _: self._extend(self._marked()),
            "EMPTY_DICT": lambda _: push({}),
            "DICT": lambda _: push(_dictionary(self._marked())),
            "SETITEM": lambda _: self._update(self._take(2)),
            "SETITEMS": lambda _: self._update(self._marked()),
            "EMPTY_SET": lambda _: push(Placeholder("builtins.set")),
            "ADDITEMS": lambda _: self._marked(),
            "FROZENSET": lambda _: push(_instance(Global("builtins.frozenset"), self._marked())),
            "GLOBAL": lambda names: push(_global(*names.split(" ", 1))),
            "STACK_GLOBAL": lambda _: push(_global(*self._take(2))),
            "INST": lambda names: push(_call(_global(*names.split(" ", 1)), self._marked())),
            "OBJ": self._object,
            "REDUCE": lambda _: push(_call(*self._take(2))),
            "NEWOBJ": lambda _: push(_instance(*self._take(2))),
            "NEWOBJ_EX": lambda _: push(_instance(*self._take(3))),
            "BUILD": self._build,
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "BINPERSID": lambda _: push(_storage(*self._take(1))),
            "PERSID": lambda _: push(Placeholder("a storage of an unknown kind")),
            **{name: lambda _, value=value: push(value) for name, value in _CONSTANTS.items()},
            **dict.fromkeys(_VALUES, push),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._put),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda i: push(self._memo[i])),
        }

    def _take(self, count: int) -> tuple:
        """Pops the last `count` values from the stack."""
        values = tuple(self.stack[-count:])
        if len(values) < count:
            raise IndexError("the stack is empty")
        del self.stack[-count:]
        return values

    def _marked(self) -> list:
        """Pops the values since the last mark from the stack."""
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _pop(self, _: object) -> None:
        if self._marks and self._marks[-1] == len(self.stack):
            self._marks.pop()
        else:
            self.stack.pop()

    def _object(self, _: object) -> None:
        kind, *arguments = self._marked()
        self.stack.append(_call(kind, arguments))

    def _put(self, index: int) -> None:
        self._memo[index] = self.stack[-1]

    def _extend(self, values: Sequence) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def _update(self, values: Sequence) -> None:
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(_dictionary(values))

    def _build(self, _: object) -> None:
        target, state = self._take(2)
        if isinstance(target, Placeholder):
            target.build(state)
        self.stack.append(target)


def _dictionary(values: Sequence) -> dict[str | Placeholder, object]:
    """Builds a dict from alternating keys and values; other keys than str may hash slowly, so they
    are replaced.
    """
    return {
        key if isinstance(key, str) else Placeholder(type(key).__name__): value
        for key, value in zip(values[::2], values[1::2], strict=True)
    }


def _global(module: object, name: object) -> Global:
    if not (isinstance(module, str) and isinstance(name, str)):  # others may be unhashable
        raise TypeError("a name that is not a string")
    return Global(f"{_MODULES.get(module, module):.{_LETTERS}}.{name:.{_LETTERS}}")


def _storage(pid: tuple) -> Storage | Placeholder:
    """The storage of a persistent id ("storage", class, key, device, count)."""
    match pid:
        case ("storage", Global(name), str(key), *_):
            return Storage(name, key)
    return Placeholder("a storage of an unknown kind")


def _instance(kind: object, *_: object) -> Placeholder:
    """An instance made by `__new__` alone."""
    name = kind.name if isinstance(kind, Global | Placeholder) else type(kind).__name__
    return ScriptModule(name) if name.startswith("__torch__.") else Placeholder(name)


def _call(function: object, arguments: object) -> object:
    """The result of a call: a tensor, dictionary or number, or else a placeholder."""
    if not isinstance(function, Global):
        return _instance(function)
    if _HOSTILE.match(function.name):
        raise UserError(
            f"the file asks to call {function.name}, which building tensors does not need: it is"
            " not a plain checkpoint, and may be hostile; none of its code was run"
        )
    make = _CALLS.get(function.name)
    if make is None or not isinstance(arguments, tuple | list):
        return _instance(function)
    return make(*arguments[:_ARGUMENTS])


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    return Tensor(storage, offset, size, stride)


def _first(value: object, *_: object) -> object:
    return value


def _numpy_type(code: object, *_: object) -> Placeholder:
    if isinstance(code, str) and re.fullmatch(r"[iu][1248]|f[248]|b1", code):
        return _NumpyType("numpy.dtype", dtype=np.dtype(code))
    return Placeholder("numpy.dtype")


def _numpy_number(kind: object, raw: object = b"", *_: object) -> object:
    if isinstance(kind, _NumpyType) and isinstance(raw, bytes) and len(raw) == kind.dtype.itemsize:
        return np.frombuffer(raw, kind.dtype)[0]
    return Placeholder("numpy.core.multiarray.scalar")


def _encode(text: object, *_: object) -> object:
    """The bytes of a number, which protocol 2 stores as a latin-1 string."""
    if isinstance(text, str) and len(text) <= _NUMBER:
        return text.encode("latin-1", "replace")
    return Placeholder("_codecs.encode")


_CALLS: dict[str, Callable] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    # A tensor with extra attributes, or of a subclass.
    "torch._tensor._rebuild_from_type_v2": lambda function, kind, arguments, *_: _call(
        function, arguments
    ),
    "collections.OrderedDict": lambda *pairs: (
        Placeholder("collections.OrderedDict") if pairs else {}
    ),
    "builtins.getattr": _instance,  # a nested class, a method, a member of an enumeration
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray.scalar": _numpy_number,
    "numpy._core.multiarray.scalar": _numpy_number,
    "_codecs.encode": _encode,
}
