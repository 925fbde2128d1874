"""The schedules that `cost_model.py` times: those of --schedules, or the configuration's scaled."""

import ast
import contextlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from tokmerge_jax import registry
from tokmerge_jax.config import Config, clip, testa
from tokmerge_jax.merging import schedule
from tokmerge_jax.merging import testa as space_time
from tokmerge_jax.system import System
from tokmerge_jax.tasks.synthetic import changed
from tokmerge_jax.types import UserError

_SHARES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # of the configuration's merging

Values = Mapping[str, Any]
"""Keys of config.model and their values."""


def requested(config: Config, schedules: str) -> dict[str, System]:
    """The systems of `schedules`, the value of --schedules, by their text.

    Raises:
      UserError: if one cannot be read or cannot work.
    """
    model, systems = config.model.to_dict(), {}
    known = {f"{part}.{key}" for part in ("merger", "join") for key in model.get(part, {})}
    for text in filter(None, map(str.strip, schedules.split(";"))):
        words = (word.rpartition("=") for word in text.split())
        values = {key or "merger.r": read(value) for key, _, value in words}
        if unknown := values.keys() - known:
            raise UserError(
                f"--schedules, {text!r}: config.model has no {', '.join(sorted(unknown))} that"
                f" says how tokens merge; it has {', '.join(sorted(known))}"
            )
        try:
            systems[text] = registry.build(changed(config, values))
        except (TypeError, ValueError) as error:
            raise UserError(f"--schedules, {text!r}: {error}") from error
    return systems


def read(text: str) -> Any:
    """Reads a value of --schedules: a Python literal in which 100x3 is 100,100,100; or a name."""
    runs = r"(\d+)x(\d+)"
    literal = re.sub(runs, lambda run: ",".join([run[1]] * int(run[2])), text)
    try:
        return ast.literal_eval(literal + ",") if re.search(runs, text) else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def spell(values: Values) -> str:
    """Values in the form of --schedules."""
    return " ".join(
        f"{key}={_spell(value)}" if len(values) > 1 else _spell(value)
        for key, value in values.items()
    )


def _spell(value: Any) -> str:
    if not isinstance(value, tuple):
        return f"{value:g}"
    if len(set(value)) == 1:
        return f"{value[0]}x{len(value)}"
    used = max(layer + 1 for layer, merged in enumerate(value) if merged)
    return ",".join(map(str, value[:used]))


def automatic(own: System) -> dict[str, System]:
    """Systems that merge a scaled r, or the r spread evenly, where these are valid."""
    settings, systems = merging(own), {}
    r = settings["merger.r"]
    tries = [scaled(settings, share) for share in _SHARES]
    tries.append({**settings, "merger.r": (sum(r) // len(r),) * len(r)})
    for values in tries:
        with contextlib.suppress(UserError):
            system = registry.build(changed(own.config, values))
            costs = [other.merging.cost for other in systems.values()]
            if system.merging.cost not in costs and merges(system):
                systems[spell(values)] = system
    return systems


def merging(system: System) -> dict[str, Any]:
    """The configuration's values that control how much is merged."""
    model, settings = system.config.model, {"merger.r": system.merging.schedule.r}
    if isinstance(model.merger, testa.Merger):
        frames, depth = model.vision.frames, model.vision.depth
        kind, _ = space_time.find(model.merger.name, model.merger.frames_by)
        most = partial(kind.most, class_tokens=space_time.protected_frames(settings["merger.r"]))
        settings["merger.frames"] = schedule.resolve(model.merger.frames, depth, frames, most)
    if isinstance(model, clip.Model) and model.merger.name == "tempme":
        settings |= {"join.cross": model.join.cross, "join.intra": model.join.intra}
    return settings


def scaled(settings: Values, share: float) -> dict[str, Any]:
    """Scales all values by `share`."""
    return {
        key: tuple(round(share * r) for r in value) if isinstance(value, tuple) else share * value
        for key, value in settings.items()
    }


def merges(system: System) -> bool:
    """Whether any layer has fewer output tokens than input tokens."""
    return any(layer.tokens_out < layer.tokens_in for layer in system.merging.cost)
