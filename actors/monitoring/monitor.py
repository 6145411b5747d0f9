"""`EventMonitor`: handlers of events, isolated from each other and from whoever brings the events (R-E).

Usable in any program: it needs nothing of Telegram. It lives on the running event loop, and has no task of its own
while nothing happens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from telestage.actors.kernel import ActorSystem, Directive, MailboxFull, Ref, Supervision
from telestage.actors.kernel.done import raised
from telestage.actors.monitoring.actor import MonitorActor
from telestage.actors.monitoring.answers import Answers, answered
from telestage.actors.monitoring.book import EventBook
from telestage.actors.monitoring.errors import MonitorError
from telestage.actors.monitoring.handler import EventHandler
from telestage.actors.monitoring.health import Heartbeat, health_of
from telestage.actors.monitoring.policies import EventMonitorConfig, HandlerPolicy
from telestage.actors.monitoring.statistics import EventMonitorStatistics, MonitorHealth
from telestage.messages import Event, EventPriority

__all__ = ["EventMonitor"]

_log = logging.getLogger("telestage.monitor")

_SUPERVISION = Supervision(intensity=1_000_000, exceeded=Directive.STOP)  # only `Ref.kill` fails it
_NORMAL = EventPriority.NORMAL  # an enum's member costs more to look up than to compare
_TO_END = 2.0  # seconds of a stop kept for handlers that are to be cancelled
_FOR_THE_SYSTEM = 0.3  # of these, for its own system: what a shutdown without any time takes at most


class EventMonitor:
    """A bounded queue of events and the handlers they are given to, one event at a time.

    Events may be queued before it is started; they wait. After a stop it can be started again.

    Args:
        name: Whose monitor it is, for logs and errors.
        config: Default: `EventMonitorConfig()`.
        system: Where its actor is to live. Default: in a system of its own, which it starts and ends.

    Raises:
        ValueError: The name is empty, or has a `/` or begins with a `$`.
        TypeError: `config` isn't an `EventMonitorConfig`.
    """

    def __init__(
        self, name: str, config: EventMonitorConfig | None = None, *, system: ActorSystem | None = None
    ) -> None:
        if not isinstance(name, str) or not name.strip() or "/" in name or name.startswith("$"):
            raise ValueError(f"a monitor's name is a text without '/', and without a '$' in front, not {name!r}")
        if config is not None and not isinstance(config, EventMonitorConfig):
            raise TypeError(f"config is an EventMonitorConfig(...), not {config!r}")
        self._config = EventMonitorConfig() if config is None else config
        self._book = EventBook(name, self._config)
        self._queue = self._book.queue
        self._normal = self._queue.normal
        self._shared = system
        self._system: ActorSystem | None = None
        self._ref: Ref | None = None
        self._heartbeat = Heartbeat(self._book, self._config.heartbeat_interval)
        self._stopping: asyncio.Future[None] | None = None
        self._answers: Answers | None = None
        self._accepted: Coroutine[Any, Any, bool]  # of these; there once the quick path is open

    @property
    def name(self) -> str:
        """Whose monitor it is."""
        return self._book.name

    @property
    def config(self) -> EventMonitorConfig:
        """How it behaves."""
        return self._config

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._ref is not None and self._ref.alive and not self._queue.closed

    # -- handlers ---------------------------------------------------------------------------------

    def register_handler(
        self, event_type: object, handler: EventHandler, *, policy: HandlerPolicy | None = None
    ) -> None:
        """Has `handler` called with each event of a type, at any time: while the monitor runs, too.

        A type may have many handlers, plain and `async` ones mixed; those of one event run concurrently. One that is
        registered for the type already isn't doubled but begins anew: enabled, its breaker closed, its counts zero.

        Args:
            event_type: A name, or a member of an enum of names.
            policy: What follows its failures. Default: as the monitor's config says.

        Raises:
            TypeError: `event_type` can't be one, or `handler` can't be called with one event.
            UnknownEventType: The config names the types, and this is none of them.
        """
        self._book.register(event_type, handler, policy)

    def unregister_handler(self, event_type: object, handler: EventHandler) -> bool:
        """Takes a handler away, after a call that runs; says whether it was there. Raises as `register_handler`."""
        return self._book.unregister(event_type, handler)

    # -- life -------------------------------------------------------------------------------------

    async def start_monitoring(self) -> None:
        """Begins to handle events. Idempotent.

        Raises:
            NameTaken: The shared system has an actor of that name at its top.
            RuntimeError: The shared system doesn't run.
        """
        while self._stopping is not None:
            await asyncio.wait({self._stopping})
        if self.running:
            return
        system = self._shared
        if system is None:
            system = ActorSystem(f"monitor {self.name}", supervision=_SUPERVISION)
            await system.start()
        self._answer_on(asyncio.get_running_loop())
        self._queue.closed = False
        self._ref = system.spawn(MonitorActor, self._book, name=self.name, supervision=_SUPERVISION)
        self._system = system
        self._heartbeat.start()

    async def stop_monitoring(self, *, drain: bool = True, timeout: float | None = None) -> int:
        """Ends it: new events are refused from now on. Idempotent.

        Args:
            drain: Whether what waits is handled first, as far as time allows. Otherwise it is discarded, and what
                runs is cancelled.
            timeout: Seconds for all of it. Default: the config's `stop_timeout`. A handler that resists its
                cancellation is then named in a WARNING and left behind.

        Returns:
            How many events were given up.

        Raises:
            RuntimeError: A handler of this monitor calls it, which would wait for its own end.
        """
        seconds = self._config.stop_timeout if timeout is None else timeout
        if self._stopping is not None:
            await asyncio.wait({self._stopping}, timeout=seconds)
            return 0
        if self._ref is None:
            return 0
        if asyncio.current_task() in self._book.tasks:
            raise RuntimeError("a handler can't wait for its own monitor to stop: let a task of the program do it")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        self._stopping = loop.create_future()
        try:
            self._book.close()
            if drain and self._ref.alive:
                await self._book.until_idle(max(seconds / 2, seconds - _TO_END))
            return await self._end(deadline)
        finally:
            self._stopping.set_result(None)
            self._stopping = None

    async def _end(self, deadline: float) -> int:
        """Ends the actor, and its system if it is ours."""
        self._heartbeat.stop()
        ref, system = self._ref, self._system
        self._ref = self._system = None
        assert ref is not None
        before = self._book.discarded
        loop = asyncio.get_running_loop()
        ref.stop(grace=0.0)
        try:
            if not await ref.stopped(max(0.1, deadline - _FOR_THE_SYSTEM - loop.time())):
                names = ", ".join(f"{handler.name} of {handler.event_type}" for handler in self._book.busy())
                _log.warning("monitor %s: handler %s resists its cancellation; left behind", self.name, names)
        finally:
            self._book.discard()
            if system is not None and system is not self._shared:
                await system.shutdown(timeout=0.0)
        given_up = self._book.discarded - before
        if given_up:
            _log.warning("monitor %s stopped; %d events were given up", self.name, given_up)
        return given_up

    async def __aenter__(self) -> Self:
        await self.start_monitoring()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop_monitoring(drain=error is None)

    # -- events -----------------------------------------------------------------------------------

    def queue_event(self, event: Event) -> Coroutine[Any, Any, bool]:
        """Takes an event in; await it to hear whether it was accepted: false if the queue is full and drops the newest.

        The event is in the queue when the call returns, awaited or not; with `Overflow.BLOCK` and no room it waits
        for room while it is awaited. The awaiting never suspends otherwise.

        Raises:
            TypeError: It is no `Event`. This and the others come when it is awaited.
            MailboxFull: The queue is full, with `Overflow.FAIL`, or stayed full, with `Overflow.BLOCK`.
            MonitorStopped: The monitor has stopped.
            UnknownEventType: The config names the types, and this is none of them.
        """
        normal = self._normal
        if type(event) is Event and event.priority is _NORMAL and len(normal) < self._queue.limit:
            normal.append(event)  # nothing is allocated, nobody is waked: the actor is at it
            return self._accepted
        return self._queue_slowly(event)

    def _queue_slowly(self, event: Event) -> Coroutine[Any, Any, bool]:
        try:
            if not isinstance(event, Event):
                raise TypeError(f"a monitor takes an Event(...), not {event!r}")
            accepted = self._book.offer(event)
        except (TypeError, MailboxFull, MonitorError) as error:
            return raised(error)
        if accepted is None:
            return self._wait_for_room(event)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # `asyncio.run(monitor.queue_event(...))`, before it is started
            return answered(accepted)
        answers = self._answers
        if answers is None or answers.loop is not loop:
            answers = self._answer_on(loop)
        return answers.yes if accepted else answers.no

    async def _wait_for_room(self, event: Event) -> bool:
        accepted = self._book.offer(event)  # there may be room by now
        if accepted is None:
            await self._queue.wait_for_room(event, self._config.block_timeout)
        return True

    def _answer_on(self, loop: asyncio.AbstractEventLoop) -> Answers:
        self._answers = answers = Answers(loop)
        self._accepted = answers.yes
        return answers

    async def idle(self, timeout: float = 30.0) -> bool:
        """Waits until every event has been handled, retries included, for up to `timeout` seconds; says whether.

        False at once when the monitor is stopped and gives up what waits.
        """
        return await self._book.until_idle(timeout)

    # -- a look inside ----------------------------------------------------------------------------

    def get_stats(self) -> EventMonitorStatistics:
        """How the monitor and each of its handlers are doing. Only reads; disturbs nobody."""
        return self._book.statistics()

    def health(self) -> MonitorHealth:
        """The state in one word, and the reasons for it."""
        return health_of(self._book, self._heartbeat.stuck_for)

    def __repr__(self) -> str:
        return f"<EventMonitor {self.name}: {'running' if self.running else 'stopped'}, {len(self._queue)} wait>"
