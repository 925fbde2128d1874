"""Unpickles PyTorch checkpoints without PyTorch, and without running anything that is not ours.

The rule. A pickle names globals and does three things with them; nothing it names is ever imported:

* The few calls that build tensors, dictionaries and numbers (`_calls`, `_INERT_CALLS`) are answered
  by functions of this module.
* Any other global becomes a class of that name without behaviour, and may be instantiated as
  classes are (NEWOBJ, `copyreg._reconstructor`): the instance swallows what the pickle puts into
  it. So the configuration objects that training scripts save beside their weights do no harm.
  A module of TorchScript (`__torch__.*`) keeps its attributes, for the weights are among them.
* Calling any other global (REDUCE), as `os.system` or `eval` would need, is refused by name.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from tokmerge_jax.types import UserError

_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}

# Harmless calls found beside weights, in the states of optimizers and schedulers: never needed,
# so their results are placeholders too.
_INERT_CALLS = frozenset(
    {
        "torch.Size",
        "torch.device",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "_codecs.encode",
        "collections.Counter",
        "collections.defaultdict",
        "builtins.set",
        "builtins.frozenset",
        "torch.jit._pickle.build_boollist",
        "torch.jit._pickle.build_doublelist",
        "torch.jit._pickle.build_intlist",
        "torch.jit._pickle.build_tensorlist",
        "torch.jit._pickle.restore_type_tag",
    }
)

# Python 2's spelling, which protocol 2 writes.
_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class _NoCalls(type):
    """Metaclass: instances come by `__new__` alone (pickle's NEWOBJ), never by a call (REDUCE)."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise UserError(
            f"the file asks to call {cls.__name__}, which building tensors does not need: it is no"
            " plain checkpoint, and may be hostile; nothing of it was run"
        )


class Placeholder(metaclass=_NoCalls):
    """An object that the weights do not need: takes what a pickle gives it and keeps nothing."""

    def __new__(cls, *args: Any) -> "Placeholder":
        """An instance, whatever the arguments."""
        return super().__new__(cls)

    def _swallow(self, *args: Any) -> None:
        return None

    __setstate__ = __setitem__ = append = extend = add = _swallow


class ScriptModule(Placeholder):
    """A module of a TorchScript archive: its attributes, further modules among them, by name."""

    def __setstate__(self, attributes: Any) -> None:
        """Takes the attributes."""
        self.attributes = attributes if isinstance(attributes, dict) else {}

    def tensors(self, prefix: str = "") -> dict[str, np.ndarray]:
        """All tensors in it, by the names that a state dict gives them."""
        found = {}
        for name, value in self.attributes.items():
            if isinstance(value, np.ndarray):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, ScriptModule):
                found |= value.tensors(f"{prefix}{name}.")
        return found


def load(content: bytes, storage: Callable[[str, np.dtype], np.ndarray]) -> Any:
    """The object that the pickle `content` describes.

    Args:
      content: the pickle of a zip checkpoint (its `data.pkl`).
      storage: gives the flat array of a storage from its key and its elements' type.

    Returns:
      Tensors are (read-only) views into the storages, of the strides they were saved with.

    Raises:
      UserError: naming the global that the pickle wants called, or saying that it is damaged.
    """
    try:
        return _Unpickler(io.BytesIO(content), storage).load()
    except UserError:
        raise
    except Exception as error:  # damaged bytes can make the pickle machine raise any of many
        raise UserError(f"its pickle is damaged ({error})") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storage: Callable[[str, np.dtype], np.ndarray]):
        super().__init__(file)
        self._storage = storage
        # Bound methods: a pickle can neither replace nor set their attributes.
        self._calls: Mapping[str, Any] = {
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            "collections.OrderedDict": OrderedDict,
            "copyreg._reconstructor": self._instance,
        }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """What stands in for a global: nothing is looked up, let alone imported."""
        name = f"{_MODULES.get(module_name, module_name)}.{global_name}"
        if name in _INERT_CALLS:
            return self._inert
        if name in self._calls:
            return self._calls[name]
        kind = ScriptModule if module_name.partition(".")[0] == "__torch__" else Placeholder
        return _NoCalls(name, (kind,), {})

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The storage that `pid`, ("storage", its class, key, device, count), stands for."""
        _, kind, key, *_ = pid
        name = kind.__name__.removeprefix("torch.")
        if name not in _STORAGES:
            raise UserError(f"its storages of class {kind.__name__} are not supported")
        return self._storage(key, np.dtype(_STORAGES[name]))

    def _tensor(
        self, storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any
    ) -> np.ndarray:
        if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
            raise UserError(f"a tensor of size {size} and stride {stride} cannot be")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 not in size and last >= storage.size:
            raise UserError(f"a tensor reaches beyond its storage of {storage.size} numbers")
        steps = tuple(step * storage.itemsize for step in stride)
        return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)

    def _parameter(self, data: np.ndarray, *_: Any) -> np.ndarray:
        return data

    def _instance(self, kind: type, *_: Any) -> Placeholder:
        if not isinstance(kind, _NoCalls):
            raise UserError(f"the file asks for an instance of {kind}, which is no plain class")
        return Placeholder.__new__(Placeholder)

    def _inert(self, *_: Any) -> Placeholder:
        return Placeholder.__new__(Placeholder)
