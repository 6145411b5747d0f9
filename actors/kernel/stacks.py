"""Where a suspended coroutine waits: its frames, down to the innermost await.

`Task.get_stack` knows the outermost frame only. This follows what each coroutine awaits, also through tasks, async
generators and objects of asyncio that don't say what they wrap. It only reads, and is bounded.
"""

from __future__ import annotations

import asyncio
import gc
import linecache
import os
from collections.abc import Iterable
from pathlib import Path
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import NamedTuple

__all__ = ["Place", "frames_of", "lines", "places_of"]

_KERNEL = str(Path(__file__).parent) + os.sep
_LIBRARY = str(Path(os.__file__).parent) + os.sep
_DEEPEST = 100  # awaits followed
_OUTER, _INNER = 3, 5  # frames shown of a longer stack


class Place(NamedTuple):
    """A line that is being executed."""

    file: str
    line: int
    function: str

    @property
    def of_kernel(self) -> bool:
        """Whether it is the runtime's own, and so of little interest."""
        return self.file.startswith(_KERNEL)


def places_of(awaited: object) -> list[Place]:
    """The frames of a suspended coroutine, a Task or whatever is awaited, the outermost first."""
    places: list[Place] = []
    for _ in range(_DEEPEST):
        if isinstance(awaited, asyncio.Task):
            awaited = awaited.get_coro()
        following: object
        if isinstance(awaited, CoroutineType):
            frame, following = awaited.cr_frame, awaited.cr_await
        elif isinstance(awaited, GeneratorType):
            frame, following = awaited.gi_frame, awaited.gi_yieldfrom
        elif isinstance(awaited, AsyncGeneratorType):
            frame, following = awaited.ag_frame, awaited.ag_await
        elif awaited is None or isinstance(awaited, asyncio.Future):
            break
        else:  # an object in between, such as that of `async for`
            awaited = _wrapped(awaited)
            continue
        if frame is not None:
            places.append(_place(frame.f_code, frame.f_lineno))
            if following is None and isinstance(awaited, GeneratorType):
                following = frame.f_locals.get("driven")  # as `carrying` names the coroutine that it steps by hand
        awaited = following
    return places


def frames_of(frame: FrameType | None) -> list[Place]:
    """The frames of the loop's thread, the outermost first, without those of the loop itself."""
    places: list[Place] = []
    while frame is not None and len(places) < _DEEPEST:
        if frame.f_code.co_qualname == "Handle._run" and places:
            break
        places.append(_place(frame.f_code, frame.f_lineno))
        frame = frame.f_back
    else:
        del places[_INNER:]  # of a loop that isn't asyncio's own, or one that waits
    return places[::-1]


def lines(places: Iterable[Place]) -> list[str]:
    """The stack as text, a line a frame, and the source of the innermost that isn't of the standard library.

    The runtime's own frames are left out, unless there are no others.
    """
    shown = list(places)
    shown = [place for place in shown if not place.of_kernel] or shown
    if not shown:
        return []
    theirs = [place for place in shown if not _of_library(place.file)]
    marked = theirs[-1] if theirs else shown[-1]
    left_out = len(shown) - _OUTER - _INNER
    text: list[str] = []
    for number, place in enumerate(shown):
        if left_out > 0 and _OUTER <= number < _OUTER + left_out and place is not marked:
            if number == _OUTER:
                text.append(f"... {left_out} more ...")
            continue
        text.append(f"{short(place.file)}:{place.line} in {place.function}")
        if place is marked and (source := linecache.getline(place.file, place.line).strip()):
            text.append(f"    {source[:120]}")
    return text


def short(file: str) -> str:
    """The file relative to the working directory, where it can still be clicked on, or to the standard library."""
    if _of_library(file):
        return file.removeprefix(_LIBRARY)
    try:
        here = str(Path.cwd()) + os.sep
    except OSError:  # it is gone
        return file
    return file.removeprefix(here)


def _of_library(file: str) -> bool:
    return file.startswith("<frozen") or (file.startswith(_LIBRARY) and "site-packages" not in file)


def _place(code: CodeType, line: int | None) -> Place:
    return Place(code.co_filename, line or code.co_firstlineno, code.co_qualname)


def _wrapped(awaited: object) -> object:
    """The coroutine or generator inside an object that doesn't show it."""
    for each in gc.get_referents(awaited):
        if isinstance(each, CoroutineType | AsyncGeneratorType | GeneratorType | asyncio.Future):
            return each
    return None
