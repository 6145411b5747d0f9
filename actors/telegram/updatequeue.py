"""The queue from Telethon's receiving to its loop of updates, which takes at once what it can.

Telethon's loop waits for each update by a task and a timer of 15 minutes, which stays in the event loop's heap: 60 us
an update, and an answer to a send is one, too (benchmarks/telegram). While that loop waits and nothing is queued,
what comes is therefore offered to `take` first, in the step in which it was received.

Invariant: what is put is taken, or given to the loop, once and in order: never past anything that is queued.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["WAKE", "UpdateQueue"]


class _Wake:
    """Isn't an update: has the loop look for what else there is to do."""


WAKE = _Wake()


class UpdateQueue:
    """What a client needs of an `asyncio.Queue`, with one reader.

    Args:
        take: Takes what was put, or returns false: then the loop gets it. What it raises, the loop raises.
    """

    __slots__ = ("_items", "_reader", "_take")

    def __init__(self, take: Callable[[Any], bool]) -> None:
        self._take = take
        self._items: deque[Any] | None = None
        self._reader: asyncio.Future[Any] | None = None

    def put_nowait(self, item: Any) -> None:
        """Puts something in; never full."""
        reader = self._reader
        if reader is None or reader.done():
            self._append(item)
            return
        try:
            if self._take(item):
                return
        except Exception as error:
            if not reader.done():
                reader.set_exception(error)
                return
            raise
        if reader.done():  # woken meanwhile
            self._append(item)
        else:
            reader.set_result(item)

    async def put(self, item: Any) -> None:
        """The same."""
        self.put_nowait(item)

    def get(self) -> asyncio.Future[Any]:
        """The next, to be awaited; `asyncio.wait_for` makes no task for it."""
        reader: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._items:
            reader.set_result(self._items.popleft())
        else:
            self._items = None
            self._reader = reader
        return reader

    def wake(self) -> None:
        """Has the reader look around, if it waits."""
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(WAKE)

    def _append(self, item: Any) -> None:
        if self._items is None:
            self._items = deque()
        self._items.append(item)
