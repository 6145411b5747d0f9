"""Every asyncio task that belongs to the runtime or to an actor, registered as it is made (R-T).

A task leaves the registry by itself when it ends. The registry can say what runs, and end it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from time import time
from typing import TypeVar

import msgspec

__all__ = ["TaskDetails", "TaskRegistry"]

_log = logging.getLogger("telestage.tasks")

R = TypeVar("R")


class TaskDetails(msgspec.Struct, frozen=True):
    """One running task: its type, whose it is, the operation it belongs to, and since when (Unix seconds)."""

    type: str
    owner: str
    operation: str | None
    created: float
    name: str
    state: str = "running"
    """Or `cancelling`: it was cancelled and has not ended yet."""

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return time() - self.created


class TaskRegistry:
    """The running tasks of one system."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._tasks: dict[asyncio.Task[object], TaskDetails] = {}
        self._sources: list[Callable[[], Iterator[TaskDetails]]] = []

    def spawn(
        self,
        coroutine: Coroutine[object, object, R],
        *,
        type: str,  # the requirement's own word for it
        owner: str,
        operation: str | None = None,
    ) -> asyncio.Task[R]:
        """Starts a task that is registered until it ends.

        Args:
            type: What kind of work it is, such as `sending`.
            owner: Path or name of the actor or session it belongs to.
            operation: The operation it is part of, if any.
        """
        return self.adopt(self.loop.create_task(coroutine), type=type, owner=owner, operation=operation)

    def adopt(self, task: asyncio.Task[R], *, type: str, owner: str, operation: str | None = None) -> asyncio.Task[R]:
        """Registers a task that somebody else has made, such as an `asyncio.TaskGroup`; arguments as for `spawn`.

        It gets its name from here, and returns to whoever made it.
        """
        task.set_name(f"telestage {type} {owner}")
        self._tasks[task] = TaskDetails(type, owner, operation, time(), task.get_name())
        task.add_done_callback(self.forget)
        return task

    def add_source(self, source: Callable[[], Iterator[TaskDetails]]) -> None:
        """Has `source` asked for tasks that are kept elsewhere, such as suspended handlers."""
        self._sources.append(source)

    def forget(self, task: asyncio.Task[R]) -> None:
        """Drops a task from the registry; it does so by itself when it ends."""
        self._tasks.pop(task, None)

    def details(self, *, type: str | None = None, owner: str | None = None) -> list[TaskDetails]:
        """What runs now, the oldest first; optionally only of one type, or of one owner and those below it."""
        found = [
            details if not task.cancelling() else msgspec.structs.replace(details, state="cancelling")
            for task, details in self._tasks.items()
        ]
        for source in self._sources:
            found.extend(source())
        return sorted(
            (
                task
                for task in found
                if (type is None or task.type == type)
                and (owner is None or task.owner == owner or task.owner.startswith(f"{owner}/"))
            ),
            key=lambda task: task.created,
        )

    def running(self) -> list[tuple[asyncio.Task[object], TaskDetails]]:
        """The registered tasks themselves, the oldest first; without those of other sources."""
        return sorted(self._tasks.items(), key=lambda item: item[1].created)

    def count(self, *, type: str | None = None, owner: str | None = None) -> int:
        """How many run now; the same choices as `details`."""
        return len(self.details(type=type, owner=owner))

    def by_type(self) -> dict[str, int]:
        """How many run now of each type."""
        return dict(Counter(task.type for task in self.details()))

    async def cancel_all(self, *, owner: str | None = None, timeout: float = 5.0) -> list[TaskDetails]:
        """Cancels what belongs to `owner` (default: everything) and waits for it to end.

        The caller's own task is left alone, and so are suspended handlers: they end with their actors.

        Returns:
            What still runs after `timeout` seconds; it is named in a WARNING and dropped from the registry.
        """
        chosen = {
            task: details
            for task, details in self._tasks.items()
            if (owner is None or details.owner == owner or details.owner.startswith(f"{owner}/"))
            and task is not asyncio.current_task()
        }
        for task in chosen:
            task.cancel()
        if chosen:
            await asyncio.wait(chosen, timeout=timeout)
        resisting = [details for task, details in chosen.items() if not task.done()]
        for details in resisting:
            _log.warning(
                "a %s task of %s resists cancellation after %.1f s; left behind",
                details.type,
                details.owner,
                details.age,
            )
        for task in chosen:
            self.forget(task)
        return resisting
