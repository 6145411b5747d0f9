"""Reading what belongs to the loop from the thread of a scrape.

Invariant: it is read on the loop, a little in each of its turns, so that a large system isn't held up by a scrape; and
no scrape waits longer than its deadline.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future
from typing import Generic, TypeVar

__all__ = ["LoopReader"]

T = TypeVar("T")


class LoopReader(Generic[T]):
    """Has something read on a loop for whichever thread wants it.

    To be made on the loop.

    Args:
        read: Reads, and yields whenever the loop should have a turn; returns what was read.
        timeout: Seconds another thread waits for it.
    """

    def __init__(self, read: Callable[[], Generator[None, None, T]], timeout: float) -> None:
        self._read = read
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def read(self) -> T | None:
        """What is read now; None if the loop doesn't answer in time, or is closed.

        On the loop's own thread it is read at once, in one piece.
        """
        if threading.get_ident() == self._thread:
            steps = self._read()
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    value: T = end.value
                    return value
        future: Future[T] = Future()
        try:
            self._loop.call_soon_threadsafe(self._begin, future)
        except RuntimeError:  # it is closed
            return None
        try:
            return future.result(self._timeout)
        except (TimeoutError, CancelledError):
            future.cancel()
            return None

    def _begin(self, future: Future[T]) -> None:
        self._step(self._read(), future)

    def _step(self, steps: Generator[None, None, T], future: Future[T]) -> None:
        if future.cancelled():
            return
        try:
            next(steps)
        except StopIteration as end:
            if future.set_running_or_notify_cancel():
                future.set_result(end.value)
        except Exception as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        else:
            self._loop.call_soon(self._step, steps, future)
