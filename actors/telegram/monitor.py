"""A Telegram monitor: one handler in an actor of its own, so that its errors and its slowness are its own.

The actor is the one of `telestage.actors.monitoring`. A handler that raises fails its monitor, and supervision restarts
that monitor alone; the events that wait are kept, the one that failed isn't given again unless the handler asks for it
(`RetryableError`). Calls that a handler makes through its event are operations of the session, asked for upwards.
"""

from __future__ import annotations

import contextlib
import functools
import inspect

from telethon.events import StopPropagation

from telestage.actors.monitoring import RetryableError
from telestage.actors.monitoring.actor import MonitorActor as EventActor
from telestage.actors.telegram.book import ARRIVED, Arrived, MonitorBook
from telestage.actors.telegram.scope import named

__all__ = ["MonitorActor"]


class MonitorActor(EventActor):
    """Runs one handler, one event at a time (R-M1)."""

    ask_rank = 2

    def __init__(self, book: MonitorBook) -> None:
        self._monitor = book
        if not book.events.routes:
            book.events.register(ARRIVED, functools.partial(_give, book))
        super().__init__(book.events)

    async def restarting(self, error: BaseException) -> None:
        """Counts it. The event it failed with, or was interrupted at, isn't given again."""
        self._monitor.restarts += 1
        self._monitor.finish()


async def _give(book: MonitorBook, message: Arrived) -> None:
    """Gives the event to the handler, if the filter's `func` agrees."""
    book.reach(message)
    try:
        await _handle(book, message)
    except RetryableError:
        raise  # it is to be given again
    except Exception:
        book.finish(message)  # here, as a monitor that is about to stop isn't restarted
        raise
    book.finish(message)


async def _handle(book: MonitorBook, message: Arrived) -> None:
    if message.error is not None:
        raise message.error
    event = message.event
    func = book.spec.builder.func
    if func is not None and not await _value(func(event)):
        book.passed_over += 1
        return
    name = f"telestage monitoring {book.session}/{book.spec.name}"
    with named(name), contextlib.suppress(StopPropagation):  # each monitor is alone: there is nothing to stop
        await _value(book.spec.handler(event))


async def _value(result: object) -> object:
    return await result if inspect.isawaitable(result) else result
