"""Checks the frames and texts that are passed to a system's functions.

Only shapes and types are checked, while a function is traced, so running it costs nothing more.
Without the checks, frames of another number or size would be interpolated or merged silently, and
raw floats cannot be distinguished from normalised ones.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PyTree

from tokmerge_jax.config import Config, expect
from tokmerge_jax.config.common import TextModel
from tokmerge_jax.system import (
    Answering,
    Captioning,
    MultipleChoice,
    Recognition,
    Retrieval,
    System,
)
from tokmerge_jax.types import UserError

F = TypeVar("F", bound=Callable[..., object])
R = TypeVar("R", bound=Retrieval | MultipleChoice | Answering | Recognition | Captioning | None)


def video_checked(function: F, config: Config) -> F:
    """Returns the function with a check: a UserError unless `video` is uint8 [B,T,S,S,3]."""
    vision = config.model.vision

    def check(given: Mapping[str, PyTree]) -> None:
        _check_video(function.__name__, given["video"], vision.frames, vision.image_size)

    return _guarded(function, check)


def views_checked(function: F, config: Config) -> F:
    """As `video_checked`, for V views in a row, each of T frames with their neighbours."""
    vision, frames = config.model.vision, config.model.vision.frames * config.data.neighbours

    def check(given: Mapping[str, PyTree]) -> None:
        _check_video(function.__name__, given["video"], frames, vision.image_size, "V*")

    return _guarded(function, check)


def text_checked(function: F, config: Config, axes: str = "BL") -> F:
    """As `video_checked`, for `text_ids` and `text_mask` with these axes."""
    longest = expect(config.model, TextModel).text.max_positions

    def check(given: Mapping[str, PyTree]) -> None:
        _check_text(function.__name__, given["text_ids"], given["text_mask"], axes, longest)

    return _guarded(function, check)


def unchecked(system: System) -> System:
    """Returns the system without these checks, for frames that are already normalised."""
    return dataclasses.replace(
        system,
        retrieval=_bare(system.retrieval),
        multiple_choice=_bare(system.multiple_choice),
        answering=_bare(system.answering),
        recognition=_bare(system.recognition),
        captioning=_bare(system.captioning),
        trace_video=system.trace_video and _unwrapped(system.trace_video),
    )


def _bare(task: R) -> R:
    """Returns a task's record without checks; None stays None."""
    if task is None:
        return task
    functions = {name: _unwrapped(f) for name, f in vars(task).items() if callable(f)}
    return dataclasses.replace(task, **functions)


def _unwrapped(function: F) -> F:
    """Returns the function without checks; a method stays bound to its object."""
    return inspect.unwrap(function, stop=inspect.ismethod)


def _guarded(function: F, check: Callable[[Mapping[str, PyTree]], None]) -> F:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*arrays: object, **named: object) -> object:
        check(signature.bind(*arrays, **named).arguments)
        return function(*arrays, **named)

    return cast(F, run)


def _check_video(name: str, video: ArrayLike, frames: int, size: int, views: str = "") -> None:
    shape, dtype = np.shape(video), _dtype(video)
    fits = len(shape) == 5 and (
        shape[1] == frames or (views and shape[1] > 0 and shape[1] % frames == 0)
    )
    if dtype != np.uint8 or not fits or shape[2:] != (size, size, 3):
        raise UserError(
            f"{name} reads uint8 frames [B,{views}{frames},{size},{size},3], and was given {dtype}"
            f" {_shown(shape)}; resize them by system.pixels.transform, do not normalise them, and"
            " set config.model.vision.frames for another number of them"
        )


def _check_text(name: str, ids: ArrayLike, mask: ArrayLike, axes: str, longest: int) -> None:
    shape, dtypes = np.shape(ids), (_dtype(ids), _dtype(mask))
    right = np.issubdtype(dtypes[0], np.integer) and dtypes[1] == np.bool_
    fits = len(shape) == len(axes) and shape == np.shape(mask) and 0 < shape[-1] <= longest
    if not (right and fits):
        given = f"{dtypes[0]} {_shown(shape)} and {dtypes[1]} {_shown(np.shape(mask))}"
        raise UserError(
            f"{name} reads integers and a bool mask [{','.join(axes)}], L at most {longest}, and"
            f" was given {given}; make both by the record's tokenize"
        )


def _dtype(array: ArrayLike) -> np.dtype:
    return array.dtype if isinstance(array, jax.Array) else np.asarray(array).dtype


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
