"""What outlives an instance of the monitor actor: the queue, the handlers, and what became of the events.

Written by the turns of the actor and by whoever brings events, all on one event loop; anybody may read it. At any
instant every event that was taken in is in exactly one place: waiting, being handled, or counted.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import random
from collections.abc import Iterator
from operator import length_hint
from typing import Any

from telestage.actors.kernel import Ref
from telestage.actors.kernel.steps import Notice
from telestage.actors.monitoring.errors import MonitorStopped, UnknownEventType
from telestage.actors.monitoring.handler import STRIDE, EventHandler, Handler, checked_handler
from telestage.actors.monitoring.policies import EventMonitorConfig, HandlerPolicy
from telestage.actors.monitoring.queue import EventQueue, Happening
from telestage.actors.monitoring.statistics import EventMonitorStatistics

__all__ = ["Case", "EventBook", "HandleEvents", "Retry"]

_log = logging.getLogger("telestage.monitor")


class HandleEvents(Notice, frozen=True):
    """Told to the actor when events wait, or calls are to be made again."""


_GO_ON = HandleEvents()


class Case:
    """An event that some handlers are to be given again."""

    __slots__ = ("event", "failed", "left")

    def __init__(self, event: Happening, left: int, failed: bool) -> None:
        self.event = event
        self.left = left  # retries that are due
        self.failed = failed


class Retry:
    """A call to be made again: number `attempt`, counted from 1."""

    __slots__ = ("attempt", "case", "handler", "timer")

    def __init__(self, case: Case, handler: Handler, attempt: int) -> None:
        self.case = case
        self.handler = handler
        self.attempt = attempt
        self.timer: asyncio.TimerHandle | None = None


class EventBook:
    """The book of one monitor.

    Args:
        name: For logs and errors.
        config: See there.
        raises: Whether a failure is raised out of the actor, so that supervision answers it. Default: the handler's
            own policy does, and the others never notice.
    """

    __slots__ = (
        "_idle",
        "_retries",
        "_rng",
        "_span",
        "_spanned",
        "_stride",
        "alone",
        "config",
        "discarded",
        "due",
        "failed",
        "heartbeats",
        "name",
        "processed",
        "queue",
        "raises",
        "ref",
        "routes",
        "running",
        "tasks",
        "turn",
        "types",
        "unhandled",
    )

    def __init__(self, name: str, config: EventMonitorConfig, *, raises: bool = False) -> None:
        self.name = name
        self.config = config
        self.raises = raises
        self.types = config.known_types()
        self.queue = EventQueue(name, config.max_queue_size, config.overflow, config.warn_at)
        self.routes: dict[str, list[Handler]] = {}
        self.alone: dict[str, Handler] = {}  # the handlers that are the only one of their type
        self.ref: Ref | None = None
        self.turn = 0  # of the actor; one that isn't the latest was left behind, and does nothing more
        self.processed = 0
        self.failed = 0
        self.unhandled = 0
        self.discarded = 0
        self.heartbeats = 0
        self.running = 0  # events being handled
        self.due: list[Retry] = []
        self.tasks: set[asyncio.Task[Any] | None] = set()  # in which handlers run now
        self._rng: random.Random | None = None  # made when first needed: it takes 2.5 kB
        self._retries: set[Retry] = set()  # those that wait for their time
        self._span: Iterator[int] = iter(())  # an iterator over the calls that are timed together
        self._spanned: Handler | None = None
        self._stride = 0
        self._idle: list[asyncio.Future[bool]] = []

    # -- handlers ---------------------------------------------------------------------------------

    def register(self, event_type: object, handler: object, policy: HandlerPolicy | None = None) -> Handler:
        """Adds a handler; one that is registered for the type already begins anew.

        Raises:
            TypeError: `event_type` is no name, or `handler` can't be called with an event.
            UnknownEventType: The monitor knows its types, and this is none of them.
        """
        name = self._type_name(event_type)
        call = checked_handler(handler)
        if policy is not None and not isinstance(policy, HandlerPolicy):
            raise TypeError(f"policy must be a HandlerPolicy, not {policy!r}")
        entry = Handler(self.name, name, call, policy or self.config)
        route = list(self.routes.get(name, ()))
        place = next((n for n, known in enumerate(route) if known.call == call), len(route))
        for old in route[place : place + 1]:
            old.disable("registered anew")  # for a turn that has it in hand
        route[place : place + 1] = [entry]
        self._set_route(name, route)
        return entry

    def unregister(self, event_type: object, handler: EventHandler) -> bool:
        """Takes a handler away; says whether it was there."""
        name = self._type_name(event_type)
        route = self.routes.get(name, [])
        left = [entry for entry in route if entry.call != handler]
        for entry in route:
            if entry.call == handler:
                entry.disable("unregistered")
        self._set_route(name, left)
        return len(left) < len(route)

    def _set_route(self, name: str, route: list[Handler]) -> None:
        self.routes[name] = route
        self.alone.pop(name, None)
        if len(route) == 1:
            self.alone[name] = route[0]
        for entry in route:
            entry.alone = len(route) == 1
            entry.refresh()

    def _type_name(self, event_type: object) -> str:
        name = event_type.value if isinstance(event_type, enum.Enum) else event_type
        if not isinstance(name, str) or not name.strip():
            raise TypeError(f"an event type is a name, or a member of an enum of names, not {event_type!r}")
        if self.types is not None and name not in self.types:
            raise UnknownEventType(self.name, name, self.types)
        return str(name)

    # -- events -----------------------------------------------------------------------------------

    def offer(self, event: Happening) -> bool | None:
        """Takes an event in, as `EventQueue.offer` does, and wakes the actor.

        Raises:
            MailboxFull: The policy is to fail.
            MonitorStopped: It takes no events any more.
            UnknownEventType: The monitor knows its types, and the event's is none of them.
        """
        queue = self.queue
        if queue.closed or (self.ref is not None and not self.ref.alive):
            raise MonitorStopped(self.name, event)
        if self.types is not None and event.type not in self.types:
            raise UnknownEventType(self.name, event.type, self.types)
        lost = queue.refused + queue.evicted
        taken = queue.offer(event)
        if not queue.crowded and (len(queue) > queue.mark or taken is None):
            queue.crowded = True
            _soon(
                "monitor %s: its queue is over %.0f %% full: %d of %d events wait",
                self.name,
                100 * self.config.warn_at,
                len(queue),
                queue.capacity,
            )
        if not lost and queue.refused + queue.evicted:
            _soon("monitor %s: its queue is full; %s from now on", self.name, self.config.overflow.value)
        self.wake()
        return taken

    def wake(self) -> None:
        """Has the actor look, if it isn't about to."""
        queue = self.queue
        if not queue.awake:
            self.go_on()
        queue.settle()
        if self.types is not None:
            queue.limit = 0  # each is looked at

    def go_on(self) -> None:
        """Gives the actor its next turn."""
        if self.ref is not None and self.ref.alive:
            self.queue.awake = True
            self.ref.tell(_GO_ON)

    def attach(self, ref: Ref) -> None:
        """An instance of the actor begins."""
        self.ref = ref
        self.turn += 1
        self.queue.awake = False
        self._leave_span()
        self.failed += self.running  # the last instance was left behind with it
        self.running = 0
        self.wake()

    # -- what the actor's turns note ---------------------------------------------------------------

    def begin_span(self, handler: Handler, span: Iterator[int]) -> None:
        """Calls begin that are timed together, each counted by a step of `span`."""
        self._spanned, self._span, self._stride = handler, span, STRIDE

    def end_span(self, calls: int, succeeded: int, ns: int) -> None:
        """They have ended."""
        handler, self._spanned = self._spanned, None
        if handler is not None:
            handler.ended(calls, ns)
        self.processed += succeeded

    def _leave_span(self) -> None:
        """The call that runs now is left behind, so that they won't end: those that have been made count."""
        ended = self.under_way
        handler, self._spanned = self._spanned, None
        if handler is not None:
            handler.calls += ended
        self.processed += ended

    def settle(self, failed: bool) -> None:
        """An event has been handled."""
        if failed:
            self.failed += 1
        else:
            self.processed += 1

    def give_again(self, event: Happening, delays: list[tuple[Handler, float]], failed: bool) -> None:
        """An event has been handled but for the calls that are to be made again; it keeps its place."""
        self.queue.away += 1
        case = Case(event, len(delays), failed)
        for handler, seconds in delays:
            self.retry_later(Retry(case, handler, 1), seconds)

    def given_again(self, case: Case, failed: bool) -> None:
        """One of those calls has been made, for the last time."""
        case.failed = case.failed or failed
        case.left -= 1
        if not case.left:
            self.queue.away -= 1
            self.settle(case.failed)

    def retry_delay(self, handler: Handler, attempt: int) -> float:
        """Seconds before a call is made again, after `attempt` retries."""
        if self._rng is None:
            self._rng = random.Random()
        return handler.policy.retry_backoff.delay(attempt, self._rng)

    def retry_later(self, retry: Retry, seconds: float) -> None:
        """Has a call made again in `seconds`."""
        self._retries.add(retry)
        retry.timer = asyncio.get_running_loop().call_later(seconds, self._retry_due, retry)

    def _retry_due(self, retry: Retry) -> None:
        self._retries.discard(retry)
        self.due.append(retry)
        self.wake()

    def rest(self) -> None:
        """There is nothing to do until the next `wake`."""
        self.queue.awake = False
        self.queue.settle()
        if self._idle and not self.queue:
            self._tell_idle(True)

    async def until_idle(self, seconds: float) -> bool:
        """Waits until every event has been handled; says whether that was so within `seconds`.

        False at once when what waits is given up meanwhile.
        """
        if not self.queue and not self.queue.awake:
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        try:
            await asyncio.wait({waiter}, timeout=seconds)
        finally:
            self._idle.remove(waiter)
        return waiter.done() and waiter.result()

    def _tell_idle(self, handled: bool) -> None:
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(handled)

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Takes no more events; who waits for room is refused."""
        queue = self.queue
        queue.closed = True
        queue.limit = 0
        while queue.waiters:
            waiter, event = queue.waiters.pop(0)
            if not waiter.done():
                waiter.set_exception(MonitorStopped(self.name, event))

    def discard(self) -> int:
        """Gives up what waits, retries included; says how many events that were."""
        self.turn += 1
        for retry in self._retries:
            if retry.timer is not None:
                retry.timer.cancel()
        self._retries.clear()
        self.due.clear()
        given_up = len(self.queue) + self.running
        self.queue.clear()
        self.discarded += given_up
        self.running = 0
        self._leave_span()
        self.queue.awake = False
        self.queue.limit = 0
        self._tell_idle(False)
        return given_up

    # -- a look inside ----------------------------------------------------------------------------

    @property
    def under_way(self) -> int:
        """How many calls of those that are timed together have ended; the step taken last is the one that runs."""
        if self._spanned is None:
            return 0
        return max(0, self._stride - length_hint(self._span) - 1)

    @property
    def progress(self) -> int:
        """Grows whenever a call ends."""
        calls = sum(handler.calls for route in self.routes.values() for handler in route)
        return calls + self.under_way + self.unhandled + self.failed

    def busy(self) -> list[Handler]:
        """The handlers that run now."""
        found = [handler for route in self.routes.values() for handler in route if handler.running]
        return found if self._spanned is None else [*found, self._spanned]

    def statistics(self) -> EventMonitorStatistics:
        """A picture of the monitor. Only reads."""
        now = asyncio.get_running_loop().time()
        under_way = self.under_way
        queue = self.queue
        processed = self.processed + under_way
        depth = len(queue)
        ended = processed + self.failed + self.unhandled + queue.evicted + self.discarded
        return EventMonitorStatistics(
            name=self.name,
            accepted=ended + depth + self.running,
            processed=processed,
            failed=self.failed,
            unhandled=self.unhandled,
            refused=queue.refused,
            evicted=queue.evicted,
            discarded=self.discarded,
            queue_depth=depth,
            running=self.running,
            capacity=queue.capacity,
            heartbeats=self.heartbeats,
            handlers=[
                handler.statistics(now, under_way if handler is self._spanned else 0)
                for route in self.routes.values()
                for handler in route
            ],
        )


def _soon(text: str, *what: object) -> None:
    """Logs a WARNING in the loop's next turn: whoever brings events never waits for what a log's handlers do.

    Where no loop runs it is at once.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        _log.warning(text, *what)
    else:
        loop.call_soon(_log.warning, text, *what)
