"""What outlives an instance: the books of a session and of its monitors.

A restart makes a new actor with the same arguments. What must not be lost with the old one, such as which
monitors there are, until when a flood wait parks something, and the counts, stands here. A book is written
by the turns of the actor it belongs to (`paused` by the manager's); anybody may read it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import msgspec
from telethon.events.common import EventBuilder
from telethon.sessions.abstract import Session

from telestage.actors.kernel import Ref, Supervision
from telestage.messages import MonitorStatus, SessionState, SessionStatus

__all__ = ["EventHandler", "MonitorBook", "MonitorSpec", "Running", "SessionBook"]

EventHandler = Callable[..., object | Awaitable[object]]
"""Takes one Telethon event; plain or `async`. What it returns is ignored."""


class MonitorSpec(msgspec.Struct, frozen=True):
    """What a monitor watches for and what it does.

    `supervision` says how its failures are answered. `capacity` is how many events may wait.
    """

    name: str
    builder: EventBuilder
    handler: EventHandler
    supervision: Supervision
    capacity: int


class MonitorBook:
    """One monitor of one session: what it is, and what became of its events."""

    def __init__(self, spec: MonitorSpec, session: str) -> None:
        self.spec = spec
        self.session = session
        self.ref: Ref | None = None
        self.handled = 0
        self.failures = 0
        self.dropped = 0
        self.restarts = 0

    def status(self) -> MonitorStatus:
        """A picture of the monitor."""
        ref = self.ref
        return MonitorStatus(
            name=self.spec.name,
            session=self.session,
            state="starting" if ref is None else "running" if ref.alive else "stopped",
            queued=0 if ref is None else ref.waiting,
            handled=self.handled,
            failures=self.failures,
            dropped=self.dropped,
            restarts=self.restarts,
        )


class Running(msgspec.Struct, frozen=True):
    """The operation that a session runs now (R-Q6): `since` is in Unix seconds."""

    kind: str
    operation_id: str
    what: str
    since: float


class SessionBook:
    """One session: its key, its monitors, its floods and its counts."""

    def __init__(self, name: str, session: Session, options: dict[str, object]) -> None:
        self.name = name
        self.session = session
        self.options = options  # for Telethon's constructor
        self.monitors: dict[str, MonitorBook] = {}
        self.floods: dict[str, float] = {}  # kind -> until, Unix seconds
        self.flood_waits = 0
        self.state = SessionState.NEW
        self.reason: str | None = None
        self.paused = False
        self.restarts = 0
        self.reconnects = 0
        self.operations = 0
        self.running: Running | None = None
        self.ref: Ref | None = None

    def enter(self, state: SessionState, reason: str | None = None) -> None:
        """Notes a new state and why. The end is the end: nothing follows DEAD."""
        if self.state is not SessionState.DEAD:
            self.state = state
            self.reason = reason

    def parked_until(self, kind: str) -> float | None:
        """Until when (Unix seconds) operations of this kind are parked; None if they aren't."""
        until = self.floods.get(kind)
        if until is not None and until <= time.time():
            del self.floods[kind]
            return None
        return until

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
            operations=self.operations,
            floods={kind: until for kind, until in self.floods.items() if until > now},
        )
