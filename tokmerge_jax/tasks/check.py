"""Two numbers by which weights are known: one of themselves, one of what they compute.

They are the same on every machine, up to rounding, and others for wrong or damaged weights.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from tokmerge_jax import evaluation, parallel, registry
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.checkpoints.known import KNOWN
from tokmerge_jax.config import Config
from tokmerge_jax.config.common import ActionData, TextModel
from tokmerge_jax.system import System
from tokmerge_jax.types import Params, UserError

TOLERANCE = 1e-3
"""Largest difference of `Check.outputs` between machines."""

_WORDS = 8  # word pieces of the text
_HASH = 2654435761  # odd, near 2^32 divided by the golden ratio


class Check(NamedTuple):
    """The numbers of `check`.

    Attributes:
      weights: all parameters with fixed signs, summed, divided by the root of their number.
      outputs: the same of the features of a fixed clip and, if the system encodes texts, of a fixed
        text, in float32 without merging, whose choices could differ between machines.
    """

    weights: float
    outputs: float

    def agrees(self, other: "Check") -> bool:
        """Whether both are of the same weights, up to the rounding of another machine."""
        same = np.isclose(self.weights, other.weights, rtol=1e-9, atol=1e-12)
        return bool(same and abs(self.outputs - other.outputs) <= TOLERANCE)


def check(config: Config, params: Params) -> Check:
    """Computes the numbers of the parameters of a configuration's system.

    Raises:
      UserError: if a value of the configuration is invalid.
    """
    changes: dict[str, object] = {"model.merger.name": "none", "dtype": "float32"}
    if isinstance(config.data, ActionData):
        changes |= {"data.clips": 1, "data.crops": 1}
    system = registry.build(config.override(changes))
    weights = (leaf for _, leaf in sorted(rules.flatten(params).items()))
    return Check(_signed(weights), _signed(_features(system, params)))


def confirm(numbers: Check, name: str) -> None:
    """Raises UserError if `name` is hub:NAME and the table of known weights has other numbers."""
    known = KNOWN.get(name.removeprefix("hub:")) if name.startswith("hub:") else None
    if known and known.check and not numbers.agrees(Check(*known.check)):
        raise UserError(
            f"the weights have the numbers {tuple(numbers)}, but {name} has {known.check};"
            " convert the file again, and download it again if that does not help"
        )


def _features(system: System, params: Params) -> Iterable[np.ndarray]:
    """The features of the clip and the text, one after the other."""
    model = evaluation.Model(params, parallel.make_mesh())
    rows = parallel.batch_size(model.mesh, 1)

    def computed(function, *arrays):
        with jax.default_matmul_precision("highest"):
            outputs = model.compiled(function)(*(np.repeat(x, rows, axis=0) for x in arrays))
        named = outputs if isinstance(outputs, Mapping) else {"logits": outputs}
        return [np.asarray(named[name])[0] for name in sorted(named)]

    if system.recognition:
        return computed(system.recognition.classify, _clip(system))
    task = system.retrieval or system.answering
    assert task, f"{system.name} has no encoder"
    features = computed(task.encode_video, _clip(system))
    if system.retrieval:
        features += computed(system.retrieval.encode_text, *_text(system))
    return features


def _clip(system: System) -> np.ndarray:
    """Stripes that move, uint8 [1,T,S,S,3], without a library's rounding or random generator."""
    size = system.pixels.image_size
    frames = system.pixels.frames * system.config.data.neighbours
    t, y, x, colour = np.ogrid[:frames, :size, :size, :3]
    values = (3 * x + 5 * y + 16 * t + 85 * colour) % 510
    return np.minimum(values, 509 - values).astype(np.uint8)[None]


def _text(system: System) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of a text [1,L], which need no vocabulary; the last id ends a text of CLIP."""
    model = system.config.model
    assert isinstance(model, TextModel)
    last = model.text.vocab_size - 1
    ids = np.array([[*(1 + np.arange(_WORDS - 1) % (last - 1)), last]], np.int32)
    return ids, np.ones(ids.shape, bool)


def _signed(arrays: Iterable[np.ndarray]) -> float:
    """The sum of all values with signs by their place, divided by the root of their number."""
    total, count = 0.0, 0
    for array in arrays:
        values = np.ravel(array).astype(np.float64)
        places = np.arange(count, count + values.size, dtype=np.uint64)
        odd = (places * np.uint64(_HASH) >> np.uint64(16)) & np.uint64(1)
        total += float(values @ (1.0 - 2.0 * odd))
        count += values.size
    return total / max(count, 1) ** 0.5
