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
from telestage.actors.telegram.inhand import EventInHand, event_key, with_in_hand
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

    async def stopped(self) -> None:
        """Gives up what waits; what it shares with other sessions is theirs."""
        await super().stopped()
        self._monitor.let_go()


async def _give(book: MonitorBook, message: Arrived) -> None:
    """Gives the event to the handler, if the filter's `func` agrees and no other session has had it."""
    spec = book.spec
    book.reach(message)
    if spec.once is not None and not await spec.once.take(
        message.mark, book, message.about, deletion=bool(message.deleted)
    ):
        book.passed_over += 1
        book.finish(message)
        return
    if spec.durable == "before":
        book.done_before(message)
        await book.kept_up()
    try:
        await _handle(book, message)
    except RetryableError:
        raise  # it is to be given again
    except Exception:
        book.finish(message)  # here, as a monitor that is about to stop isn't restarted
        if spec.durable == "each":
            await book.kept_up()
        raise
    book.finish(message)
    if spec.durable == "each":
        await book.kept_up()


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
        if book.keeping is None:
            await _value(book.spec.handler(event))
            return
        with with_in_hand(_in_hand(book, message)):
            await _value(book.spec.handler(event))


def _in_hand(book: MonitorBook, message: Arrived) -> EventInHand:
    mark = message.mark
    received = 0 if mark is None else message.step.checkpoint.high.get(mark[0], 0)
    shared = book.spec.once is not None
    gone = message.deleted if shared else frozenset[int]()
    return EventInHand(book.session, book.spec.name, event_key(message.event), mark, received, shared, gone)


async def _value(result: object) -> object:
    return await result if inspect.isawaitable(result) else result
