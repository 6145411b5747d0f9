"""What outlives an instance: the books of a session and of its monitors.

A restart makes a new actor with the same arguments. What must not be lost with the old one, such as which
monitors there are, until when a flood wait parks something, and the counts, stands here. A book is written
by the turns of the actor it belongs to, and by its manager's when that actor has failed or is paused; anybody
may read it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Literal

import msgspec
from telethon.events.common import EventBuilder
from telethon.sessions.abstract import Session

from telestage.actors.kernel import Ref, Supervision
from telestage.actors.monitoring import EventMonitorConfig
from telestage.actors.monitoring.book import EventBook
from telestage.actors.monitoring.handler import EventHandler
from telestage.actors.store import Lease
from telestage.actors.telegram.adaptive import Timeouts
from telestage.actors.telegram.checkpoint import Checkpoint, Mark, Step
from telestage.actors.telegram.connection import Connection
from telestage.actors.telegram.errors import SessionDead, SessionInUse
from telestage.actors.telegram.floods import end_of
from telestage.actors.telegram.keeping import SessionKeeping
from telestage.actors.telegram.once import Once
from telestage.actors.telegram.owning import Owning, fingerprint
from telestage.actors.telegram.turnstile import Turnstile
from telestage.actors.telegram.updatebox import messages_of
from telestage.messages import EventPriority, MonitorStatus, SessionState, SessionStatus

__all__ = [
    "ARRIVED",
    "Arrived",
    "Durable",
    "EventHandler",
    "Kept",
    "MonitorBook",
    "MonitorSpec",
    "Running",
    "SessionBook",
]

_SETTLED = frozenset({SessionState.READY, SessionState.STOPPED, SessionState.DEAD})

ARRIVED = "arrived"
"""The type of what a monitor's queue holds; its handler is the only one."""


Durable = Literal["soon", "each", "before"]
"""When it is in the store that a monitor is done with an event: some time after it, before the next one begins, or
before this one does."""


class MonitorSpec(msgspec.Struct, frozen=True):
    """What a monitor watches for and what it does.

    `supervision` says how its failures are answered, `config` how many events may wait and the like; `once` is there if
    the monitors of that name, of all sessions, get each event once together.
    """

    name: str
    builder: EventBuilder
    handler: EventHandler
    supervision: Supervision
    config: EventMonitorConfig
    once: Once | None = None
    durable: Durable = "soon"


class Kept(msgspec.Struct, frozen=True):
    """An update that waits for its monitor to be taken up."""

    update: Any
    mark: Mark | None
    step: Step
    again: bool
    """Whether it may have come before, in an earlier start of the fleet."""


class Arrived(msgspec.Struct, frozen=True):
    """An event that passed the monitor's filter, but for its `func`; or what the filter raised instead."""

    event: Any
    mark: Mark | None
    step: Step
    error: Exception | None = None

    @property
    def about(self) -> frozenset[int]:
        """The ids of the messages that it concerns."""
        return messages_of(self.update)[0]

    @property
    def deleted(self) -> frozenset[int]:
        """The ids of the messages whose deletion it tells."""
        ids, deletion = messages_of(self.update)
        return ids if deletion else frozenset()

    @property
    def update(self) -> Any:
        """What the event was made from."""
        return getattr(self.event, "original_update", None) or self.event

    @property
    def type(self) -> str:
        """The same for all: a Telegram monitor has one handler."""
        return ARRIVED

    @property
    def priority(self) -> EventPriority:
        """The same for all: they stay in order."""
        return EventPriority.NORMAL


class MonitorBook:
    """One monitor of one session: what it is, and what became of its events.

    Each update it was given, and is not done with, is held in its step (see `checkpoint`), and in `kept` or `_given`.
    """

    def __init__(self, spec: MonitorSpec, session: str) -> None:
        self.spec = spec
        self.session = session
        self.events = EventBook(f"{session}/{spec.name}", spec.config, raises=True)
        self.keeping: SessionKeeping | None = None  # of its session, in a fleet that has a store
        self.ref: Ref | None = None
        self.passed_over = 0  # events its filter's `func` said no to, or that another session had
        self.unfit = 0  # times it could not begin
        self.lost = 0  # events that came after it had stopped, or waited for one that it replaced
        self.restarts = 0
        self.kept: deque[Kept] = deque()  # until it is taken up
        self._given: deque[Arrived] = deque()
        self._hand: Arrived | None = None
        self._done: dict[tuple[int, bool], int] = {}  # the last update it is done with, by what a `Mark` begins with

    @property
    def running(self) -> bool:
        """Whether it takes events."""
        return self.ref is not None and self.ref.alive

    def keep(self, kept: Kept) -> None:
        """Keeps an update until the monitor is taken up; one there is no room for is dropped, and counted."""
        if len(self.kept) < self.spec.config.max_queue_size:
            kept.step.hold()
            self.kept.append(kept)
        else:
            self.lost += 1

    def offer(self, arrived: Arrived) -> None:
        """Gives the monitor an event; one there is no room for is dropped, and counted."""
        arrived.step.hold()
        self._given.append(arrived)
        if not self.events.offer(arrived):
            self._given.pop()
            arrived.step.release()

    def reach(self, arrived: Arrived) -> None:
        """It begins with an event: those before have come to their end, whatever it was."""
        self._hand = arrived
        while self._given and self._given[0] is not arrived:
            self._end(self._given.popleft())

    def finish(self, arrived: Arrived | None = None) -> None:
        """An event has come to its end: by default the one that it began with last. A second time is harmless."""
        arrived = self._hand if arrived is None else arrived
        if self._given and self._given[0] is arrived:
            self._end(self._given.popleft())

    def give_up(self) -> int:
        """Nothing of what it was given comes to it any more; says how many updates were kept for it."""
        kept = len(self.kept)
        for step in [*(each.step for each in self.kept), *(each.step for each in self._given)]:
            step.release()
        self._forget()
        return kept

    def begin(self, keeping: SessionKeeping | None) -> None:
        """Starts anew: what it was not done with comes again."""
        self.ref = None
        self.keeping = keeping
        self._forget()

    def resume(self, done: dict[tuple[int, bool], int]) -> None:
        """Knows what an earlier process was done with."""
        for key, number in done.items():
            self._done[key] = max(number, self._done.get(key, 0))

    def let_go(self) -> None:
        """What it shares with other sessions, and is not done with, is another's turn."""
        if self.spec.once is not None:
            self.spec.once.let_go(self)

    def done_before(self, arrived: Arrived) -> None:
        """It counts as done with an event that it begins with: better not at all than twice."""
        if arrived.mark is not None:
            self._note(arrived.mark)

    async def kept_up(self) -> None:
        """What it was done with by now is in the store.

        Raises:
            StoreError: It could not be written, and will be tried again.
        """
        if self.keeping is not None:
            await self.keeping.keeper.settle()

    def has_done(self, mark: Mark) -> bool:
        """Whether it is done with this update already."""
        entry, new, number = mark
        return self._done.get((entry, new), 0) >= number

    def _forget(self) -> None:
        self.kept.clear()
        self._given.clear()
        self._hand = None
        self.let_go()

    def _end(self, arrived: Arrived) -> None:
        if arrived.mark is not None:
            self._note(arrived.mark)
            if self.spec.once is not None:
                self.spec.once.done(arrived.mark, self, arrived.deleted)
        arrived.step.release()

    def _note(self, mark: Mark) -> None:
        entry, new, number = mark
        self._done[entry, new] = number
        if self.keeping is not None:
            self.keeping.ended(self.spec.name, mark)

    def status(self) -> MonitorStatus:
        """A picture of the monitor."""
        events = self.events
        queue = events.queue
        return MonitorStatus(
            name=self.spec.name,
            session=self.session,
            state="starting" if self.ref is None else "running" if self.running else "stopped",
            queued=len(queue) + len(self.kept),
            handled=events.processed + events.under_way - self.passed_over,
            failures=events.failed + self.unfit,
            dropped=queue.refused + queue.evicted + events.discarded + self.lost,
            restarts=self.restarts,
        )


class Running(msgspec.Struct, frozen=True, gc=False):
    """The operation that a session runs now (R-Q6): `since` is in Unix seconds."""

    kind: str
    operation_id: str
    what: str
    since: float


class SessionBook:
    """One session: its key, its monitors, its floods and its counts."""

    def __init__(
        self, name: str, session: Session, options: dict[str, object], timeouts: Timeouts, turnstile: Turnstile
    ) -> None:
        self.name = name
        self.timeouts = timeouts  # of the whole fleet
        self.session = session
        self.checkpoint = Checkpoint()
        self.keeping: SessionKeeping | None = None  # of a fleet that has a store
        self.options = options  # for Telethon's constructor
        self.monitors: dict[str, MonitorBook] = {}
        self.turnstile = turnstile
        self.flood_waits = 0
        self.state = SessionState.NEW
        self.reason: str | None = None
        self.paused = False
        self.draining = False  # nothing new is taken
        self.restarts = 0
        self.reconnects = 0
        self.operations = 0
        self.running: Running | None = None
        self.ref: Ref | None = None
        self.connection: Connection | None = None
        self.owning: Owning | None = None  # of the fleet, while it runs; None without a store
        self.lease: Lease | None = None
        self.in_use: SessionInUse | None = None  # why it has ended, if that is why
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def settled(self) -> bool:
        """Whether it is ready or has ended: nothing further comes by itself."""
        return self.state in _SETTLED

    @property
    def busy(self) -> bool:
        """Whether an operation runs or waits; what waits in a paused session doesn't count."""
        return not self.paused and (self.running is not None or (self.ref is not None and self.ref.waiting > 0))

    @property
    def task_name(self) -> str:
        """What debuggers call the task that works on what runs now."""
        running = self.running
        parts = () if running is None else (running.kind, self.name, running.what, running.operation_id)
        return " ".join(("telestage", *parts))

    def permit_id(self, operation: str) -> str:
        """What an operation's permit is known by; another one if it is asked again after a restart.

        So what was left behind of an earlier attempt can give back its own permit only.
        """
        return f"{operation}#{self.restarts}" if self.restarts else operation

    def begin(self) -> None:
        """Starts anew, with another actor system: what the last one left doesn't count."""
        self.state = SessionState.NEW
        self.reason = self.running = self.ref = self.lease = self.in_use = None
        self.paused = False
        self.checkpoint = self.checkpoint.successor()
        for monitor in self.monitors.values():
            monitor.begin(self.keeping)

    async def resume(self) -> None:
        """Has updates go on where the store says, if there is one, before the client is there.

        That is at each start, and when the lease was another's meanwhile.

        Raises:
            StoreError: It can't be read.
        """
        if self.keeping is None or (self.checkpoint.resumed and self.keeping.owned_by(self.lease)):
            return
        marks = await self.keeping.begin(self.checkpoint, fingerprint(self.session), self.lease)
        for name, monitor in self.monitors.items():
            monitor.resume(marks.get(name, {}))

    def end_monitors(self) -> None:
        """Stops the monitors, together with the session rather than after it: what waits for them is to come again."""
        self.checkpoint.freeze()
        for monitor in self.monitors.values():
            if monitor.ref is not None:
                monitor.ref.stop(grace=0.0)

    def enter(self, state: SessionState, reason: str | None = None) -> None:
        """Notes a new state and why. The end is the end: nothing follows DEAD."""
        if self.state is SessionState.DEAD:
            return
        self.state = state
        self.reason = reason
        if state in (SessionState.STOPPED, SessionState.DEAD):
            self.turnstile.end()
        if self.settled or state is SessionState.STANDBY:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def ended(self) -> SessionDead:
        """What is raised where the session has ended."""
        return self.in_use or SessionDead(self.name, self.reason or "stopped")

    async def until_settled(self, *, or_standby: bool = False) -> None:
        """Returns when the session is ready or has ended. The deadline is the caller's.

        Args:
            or_standby: Also when it waits for another process.
        """
        while not self.settled and not (or_standby and self.state is SessionState.STANDBY):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def parked_until(self, kind: str) -> float | None:
        """Until when (Unix seconds) operations of this kind are parked; None if they aren't."""
        flood = self.turnstile.ledger.parked(kind, time.time())
        return None if flood is None else end_of(flood)

    def status(self) -> SessionStatus:
        """A picture of the session."""
        now = time.time()
        running = self.running
        return SessionStatus(
            name=self.name,
            state=SessionState.PAUSED if self.paused and self.state is SessionState.READY else self.state,
            reason=self.reason,
            kind=None if running is None else running.kind,
            running_for=None if running is None else max(0.0, now - running.since),
            queued=0 if self.ref is None else self.ref.waiting,
            restarts=self.restarts,
            reconnects=self.reconnects,
            operations=self.operations,
            floods={each.kind: end_of(each) for each in self.turnstile.ledger.now(now) if each.peer is None},
        )
