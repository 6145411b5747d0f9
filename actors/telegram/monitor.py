"""A monitor: one handler in an actor of its own, so that its errors and its slowness are its own.

A handler that raises fails its monitor, and supervision restarts that monitor alone; the events that
wait are kept, the one that failed isn't given again. Calls that a handler makes through its event are
operations of the session, asked for upwards.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import msgspec
from telethon.events import StopPropagation

from telestage.actors.kernel import Actor, handles
from telestage.actors.telegram.book import MonitorBook

__all__ = ["Arrived", "FilterFailed", "MonitorActor"]


class Arrived(msgspec.Struct, frozen=True):
    """An event that passed the monitor's filter, but for its `func`."""

    event: Any


class FilterFailed(msgspec.Struct, frozen=True):
    """The monitor's filter raised."""

    error: Exception


class MonitorActor(Actor):
    """Runs one handler, one event at a time (R-M1)."""

    ask_rank = 2

    def __init__(self, book: MonitorBook) -> None:
        self._book = book

    async def restarting(self, error: BaseException) -> None:
        """Counts it."""
        self._book.restarts += 1

    @handles(Arrived)
    async def arrived(self, message: Arrived) -> None:
        """Gives the event to the handler, if the filter's `func` agrees."""
        book = self._book
        event = message.event
        func = book.spec.builder.func
        try:
            if func is not None and not await _value(func(event)):
                return
            with contextlib.suppress(StopPropagation):  # each monitor is alone: there is nothing to stop
                await _value(book.spec.handler(event))
        except Exception:
            book.failures += 1
            raise
        book.handled += 1

    @handles(FilterFailed)
    def filter_failed(self, message: FilterFailed) -> None:
        """Fails as a handler that raises does."""
        self._book.failures += 1
        raise message.error


async def _value(result: object) -> object:
    return await result if inspect.isawaitable(result) else result
