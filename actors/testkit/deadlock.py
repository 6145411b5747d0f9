"""The end of a loop in which nothing will ever happen again, said with the names of those that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from io import StringIO
from types import FrameType
from typing import TYPE_CHECKING

from telestage.actors.kernel.envelope import bare
from telestage.actors.kernel.errors import TelestageError

if TYPE_CHECKING:
    from telestage.actors.kernel.dispatcher import Dispatcher

__all__ = ["Deadlock", "dumps_of", "what_waits"]


class Deadlock(TelestageError):
    """In virtual time nothing is ready and no timer is set. `waits` has a line for each who would wait for ever.

    The message has them, and the dump of each actor system.
    """

    def __init__(self, waits: list[str], dumps: str = "") -> None:
        lines = "".join(f"\n  - {line}" for line in waits) or "\n  - nobody: the loop was run without an end"
        super().__init__(f"nothing is ready, no timer is set, and these wait:{lines}\n{dumps}".rstrip())
        self.waits = waits


def dumps_of(dispatchers: Iterable[Dispatcher]) -> str:
    """The dumps of the systems that run."""
    text = StringIO()
    for dispatcher in dispatchers:
        if dispatcher.system.running:
            dispatcher.system.dump(text)
    return text.getvalue()


def what_waits(loop: asyncio.AbstractEventLoop, dispatchers: Iterable[Dispatcher]) -> list[str]:
    """A line for each task that waits, and where, or for its actor; then one for each mailbox that is halted."""
    workers: set[asyncio.Task[object]] = set()
    lines: list[str] = []
    halted: list[str] = []
    for dispatcher in dispatchers:
        workers.update(dispatcher.workers)
        for worker in dispatcher.suspended():
            if worker.cell is not None:
                message = type(bare(worker.cell.current)).__name__
                lines.append(f"actor {worker.cell.path}, handling {message}, {_place(worker.coroutine)}")
        halted += [
            f"actor {actor.path}: {actor.waiting} messages wait, and it doesn't take them"
            for actor in dispatcher.system.statistics()
            if actor.waiting and actor.running is None
        ]
    tasks = sorted(asyncio.all_tasks(loop) - workers, key=lambda task: task.get_name())
    lines += [f"task {task.get_name()}, {_place(task.get_coro())}" for task in tasks]
    return lines + halted


def _place(coroutine: object) -> str:
    """Where the innermost of a chain of coroutines stands."""
    frames = list(_chain(coroutine))
    if not frames:
        return "somewhere"
    inner = frames[-1]
    outer = next((frame for frame in reversed(frames) if not _ours(frame)), inner)
    at = f"in {outer.f_code.co_qualname} ({outer.f_code.co_filename}:{outer.f_lineno})"
    return at if outer is inner else f"{at}, by way of {inner.f_code.co_name}"


def _ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name.startswith("telestage.actors.") or name.partition(".")[0] == "asyncio"


def _chain(awaited: object) -> Iterator[FrameType]:
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            return
        yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
