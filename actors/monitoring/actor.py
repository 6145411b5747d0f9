"""The monitor actor: takes events from its book's queue and gives each to the handlers of its type.

Invariants:
- One event at a time, the most urgent first. The handlers of one event run concurrently with each other.
- A handler's error never leaves here, unless the book says that supervision is to answer it. Nor does it delay
  another handler: a call that is to be made again waits aside (`HandlerPolicy.keep_order` says otherwise).
- A turn lasts until a call ends after `SLICE`; then the rest of the program has its turn. Between its turns there
  is no task.

Calls of a handler that is alone with its event type and takes next to no time are made in one loop, timed and
counted together: a look at the clock a call, or a Task, would cost as much as all of the rest.
"""

from __future__ import annotations

import asyncio
import inspect
from operator import length_hint
from time import perf_counter_ns
from types import CoroutineType

from telestage.actors.kernel import Actor, handles
from telestage.actors.monitoring.book import EventBook, HandleEvents, Retry
from telestage.actors.monitoring.errors import FatalError, RetryableError
from telestage.actors.monitoring.handler import STRIDE, Handler
from telestage.actors.monitoring.queue import Happening

__all__ = ["MonitorActor"]

SLICE = 250_000
"""Nanoseconds of a turn. A turn of the event loop costs 10 to 20 us besides."""

_Outcome = float | BaseException | None
"""Of a call: the seconds until it is to be made again, the error it failed with, or None for a success."""


class MonitorActor(Actor):
    """Runs one set of handlers (R-M1)."""

    def __init__(self, book: EventBook) -> None:
        self._book = book
        book.attach(self.ref)

    async def stopped(self) -> None:
        """Gives up what waits."""
        self._book.discard()

    @handles(HandleEvents)
    async def work(self, message: HandleEvents) -> None:
        """Handles what waits, for a slice of time."""
        tasks = self._book.tasks
        task = asyncio.current_task()
        tasks.add(task)
        try:
            await self._work()
        finally:
            tasks.discard(task)

    async def _work(self) -> None:
        book = self._book
        queue = book.queue
        turn = book.turn
        end = perf_counter_ns() + SLICE
        event: Happening | None = None
        while True:
            if book.due:
                await self._again(book.due.pop(0))
            else:
                event = queue.pop()
                if event is None:
                    book.rest()
                    return
                queue.admit()
            while event is not None:
                handler = book.alone.get(event.type)
                if handler is not None and handler.quick:
                    event = await self._run(handler, event)
                else:
                    await self._handle(event)
                    event = None
                if book.turn != turn:
                    return
                if event is not None and perf_counter_ns() > end:
                    queue.back(event)
                    event = None
            queue.admit()
            if perf_counter_ns() > end:
                asyncio.get_running_loop().call_soon(book.go_on)
                return

    async def _run(self, handler: Handler, event: Happening) -> Happening | None:
        """Gives `event`, and those that follow and are of its type, to the one handler they have.

        Returns:
            The next event, taken out and not handled yet; None if there is none.
        """
        book = self._book
        turn = book.turn
        queue = book.queue
        normal = queue.normal
        waiters = queue.waiters
        kind = handler.event_type
        call = handler.call
        coroutine = CoroutineType
        following: Happening | None = event
        calls = STRIDE
        span = iter(range(STRIDE))
        book.running = 1
        book.begin_span(handler, span)
        began = perf_counter_ns()
        try:
            for _ in span:
                result = call(event)
                if type(result) is coroutine or (result is not None and inspect.isawaitable(result)):
                    await result
                    if book.turn != turn:  # left behind
                        raise asyncio.CancelledError
                if normal and not queue.above:
                    event = normal.popleft()
                else:
                    following = queue.pop()
                    if following is None:
                        break
                    event = following
                if waiters:
                    queue.admit()
                if event.type != kind or not handler.quick:
                    break
            calls -= length_hint(span)
            book.running = 0
            book.end_span(calls, calls, perf_counter_ns() - began)
            return None if following is None else event
        except BaseException as error:
            if book.turn != turn:
                raise
            calls -= length_hint(span)
            book.end_span(calls, calls - 1, perf_counter_ns() - began)
            raised = error
        if _goes_through(raised):
            self._interrupted(handler)
            raise raised
        outcome = await self._call(handler, event, 0, raised)
        self._conclude(event, [(handler, outcome)], failed=False)
        return None

    async def _handle(self, event: Happening) -> None:
        """Gives an event to all its handlers."""
        book = self._book
        turn = book.turn
        able = [handler for handler in book.routes.get(event.type, ()) if handler.disabled is None]
        if not able:
            book.unhandled += 1
            return
        now = asyncio.get_running_loop().time()
        allowed = [handler for handler in able if handler.allows(now)]
        book.running = 1
        try:
            outcomes = await self._together(allowed, event)
        except asyncio.CancelledError:
            if book.turn == turn:
                self._interrupted()
            raise
        self._conclude(event, outcomes, failed=len(allowed) < len(able))

    async def _together(self, handlers: list[Handler], event: Happening) -> list[tuple[Handler, _Outcome]]:
        """The outcomes of the calls, which run concurrently."""
        if len(handlers) == 1:
            return [(handlers[0], await self._call(handlers[0], event, 0))]
        book = self._book
        registry = self.system.tasks
        path = self.ref.path
        tasks: list[tuple[Handler, asyncio.Task[_Outcome]]] = []
        for handler in handlers:
            if handler.is_async:
                call = self._call(handler, event, 0)
                task = registry.spawn(call, type="monitoring", owner=path, operation=event.type)
                tasks.append((handler, task))
        running = {task for _, task in tasks}
        book.tasks |= running
        try:
            plain = [(handler, await self._call(handler, event, 0)) for handler in handlers if not handler.is_async]
            if running:
                await asyncio.wait(running)
        except asyncio.CancelledError:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            raise
        finally:
            book.tasks -= running
        return plain + [(handler, asyncio.CancelledError() if t.cancelled() else t.result()) for handler, t in tasks]

    async def _again(self, retry: Retry) -> None:
        """Makes a call again that was put aside."""
        book, handler, case = self._book, retry.handler, retry.case
        turn = book.turn
        outcome: _Outcome = RetryableError()
        if handler.disabled is None and handler.allows(asyncio.get_running_loop().time()):
            try:
                outcome = await self._call(handler, case.event, retry.attempt)
            except asyncio.CancelledError:
                if book.turn == turn:
                    book.given_again(case, failed=True)
                raise
        if isinstance(outcome, float):
            retry.attempt += 1
            book.retry_later(retry, outcome)
            return
        book.given_again(case, failed=outcome is not None)
        self._answer(outcome)

    async def _call(
        self, handler: Handler, event: Happening, attempt: int, error: BaseException | None = None
    ) -> _Outcome:
        """Makes a call, and makes it again at once if the order is to be kept; `error` is what it has raised already.

        Raises:
            CancelledError: It was interrupted, or left behind.
        """
        policy = handler.policy
        if error is None:
            error = await self._try(handler, event)
        while error is not None:
            now = asyncio.get_running_loop().time()
            if not isinstance(error, RetryableError) or not handler.may_retry(attempt, now):
                handler.failed(error, now, log=not self._book.raises)
                return error
            handler.retries += 1
            seconds = self._book.retry_delay(handler, attempt)
            if not policy.keep_order:
                return seconds
            await asyncio.sleep(seconds)
            attempt += 1
            error = await self._try(handler, event)
        return None

    async def _try(self, handler: Handler, event: Happening) -> BaseException | None:
        """Makes one call, and notes how long it took; returns what it raised."""
        turn = self._book.turn
        error: BaseException | None = None
        handler.running += 1
        began = perf_counter_ns()
        try:
            result = handler.call(event)
            if result is not None and inspect.isawaitable(result):
                handler.is_async = True
                if handler.policy.timeout is None:
                    await result
                else:
                    async with asyncio.timeout(handler.policy.timeout):
                        await result
        except (Exception, asyncio.CancelledError) as raised:
            error = raised
        finally:
            handler.running -= 1
        if self._book.turn != turn:  # left behind: nobody counts any more
            raise asyncio.CancelledError from error
        handler.ended(1, perf_counter_ns() - began)
        if error is None:
            handler.succeeded()
        elif _goes_through(error):
            handler.interrupted()
            raise error
        return error

    def _conclude(self, event: Happening, outcomes: list[tuple[Handler, _Outcome]], *, failed: bool) -> None:
        """The handlers of an event have been called, some of them perhaps to be called again."""
        book = self._book
        book.running = 0
        delays = [(handler, outcome) for handler, outcome in outcomes if isinstance(outcome, float)]
        error = next((outcome for _, outcome in outcomes if isinstance(outcome, BaseException)), None)
        failed = failed or error is not None
        if delays:
            book.give_again(event, delays, failed)
        else:
            book.settle(failed)
        self._answer(error)

    def _answer(self, error: _Outcome) -> None:
        """Has supervision answer a failure, if the book says so."""
        if self._book.raises and isinstance(error, BaseException):
            if isinstance(error, FatalError):
                self.stop(error)
            raise error

    def _interrupted(self, handler: Handler | None = None) -> None:
        """The event in hand came to no end."""
        book = self._book
        book.running = 0
        if handler is not None:
            handler.interrupted()
        if book.queue.closed:
            book.discarded += 1
        else:
            book.failed += 1


def _goes_through(error: BaseException) -> bool:
    """Whether it isn't the handler's own: this task was cancelled, or the program ends."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and bool(task.cancelling())
    return not isinstance(error, Exception)
