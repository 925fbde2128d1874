"""What functions of a system refuse to read, for they would misread it: frames and texts."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from tokmerge_jax.config import Config, expect
from tokmerge_jax.config.common import TextModel
from tokmerge_jax.types import Predict, System, UserError

_OF_VIDEOS = ("encode_video", "trace_video", "caption", "classify")
_OF_TEXTS = {"encode_text": "BL", "read": "BPL"}  # names of the axes


def checked(config: Config, predict: Mapping[str, Predict]) -> dict[str, Predict]:
    """`types.System.predict`, whose functions of frames and texts check what they are given.

    Only shapes and types are looked at, which is done while a function is traced and costs nothing
    where it runs. Frames of another number or size would be interpolated or merged as nobody asked,
    and floats cannot be told from normalised ones.

    Args:
      config: the system's.
      predict: the functions, which raise a UserError from now on.
    """
    read = (*_OF_VIDEOS, *_OF_TEXTS)
    return {
        name: _guarded(name, function, config) if name in read else function
        for name, function in predict.items()
    }


def unchecked(system: System) -> System:
    """The system, its functions as they were before `checked`: floats are taken to be normalised.

    For whoever has normalised pixels of his own.
    """
    functions = {name: inspect.unwrap(function) for name, function in system.predict.items()}
    return dataclasses.replace(system, predict=functions)


def _guarded(name: str, function: Predict, config: Config) -> Predict:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*arrays: Any, **named: Any) -> Any:
        given = signature.bind(*arrays, **named).arguments
        if name in _OF_VIDEOS:
            _check_video(name, given["video"], config)
        else:
            _check_text(name, given["text_ids"], given["text_mask"], config)
        return function(*arrays, **named)

    return run


def _check_video(name: str, video: ArrayLike, config: Config) -> None:
    vision, frames, views = config.model.vision, config.model.vision.frames, ""
    shape, dtype = np.shape(video), _dtype(video)
    if name == "classify":
        frames, views = frames * config.data.neighbours, "V*"
    fits = len(shape) == 5 and (
        shape[1] == frames or (views and shape[1] > 0 and shape[1] % frames == 0)
    )
    if dtype != np.uint8 or not fits or shape[2:] != (vision.image_size, vision.image_size, 3):
        size = vision.image_size
        raise UserError(
            f"{name} reads uint8 frames [B,{views}{frames},{size},{size},3], and was given {dtype}"
            f" {_shown(shape)}; resize frames by system.transform, do not normalise them, and set"
            " config.model.vision.frames for another number of them"
        )


def _check_text(name: str, ids: ArrayLike, mask: ArrayLike, config: Config) -> None:
    axes, longest = _OF_TEXTS[name], expect(config.model, TextModel).text.max_positions
    shape, dtypes = np.shape(ids), (_dtype(ids), _dtype(mask))
    right = np.issubdtype(dtypes[0], np.integer) and dtypes[1] == np.bool_
    fits = len(shape) == len(axes) and shape == np.shape(mask) and 0 < shape[-1] <= longest
    if not (right and fits):
        given = f"{dtypes[0]} {_shown(shape)} and {dtypes[1]} {_shown(np.shape(mask))}"
        raise UserError(
            f"{name} reads integers and a bool mask [{','.join(axes)}], L at most {longest}, and"
            f" was given {given}; make both by system.tokenize"
        )


def _dtype(array: ArrayLike) -> np.dtype:
    return array.dtype if isinstance(array, jax.Array) else np.asarray(array).dtype


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
