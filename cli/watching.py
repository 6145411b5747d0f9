"""What has changed between two pictures of a fleet, as lines that a person or a program reads.

Nothing is said twice. What came and went between two pictures isn't seen, but for restarts and failures, which
are counted.
"""

from __future__ import annotations

import time
from datetime import datetime

import msgspec

from telestage.messages import FleetStatus, MonitorStatus, SessionState, SessionStatus

__all__ = ["Change", "Watcher", "ended"]


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened, by the time (Unix seconds) it was seen."""

    event: str
    """`session`, `flood` or `monitor`."""
    time: float
    session: str
    monitor: str | None = None
    state: str | None = None
    reason: str | None = None
    kind: str | None = None
    """The kind of operation that a flood wait parks."""
    until: float | None = None
    """Unix seconds until which it does."""
    restarts: int = 0
    failures: int = 0

    @property
    def text(self) -> str:
        """The change as a line."""
        who = f"{self.monitor} of {self.session}" if self.monitor else self.session
        if self.until is not None:
            when = datetime.fromtimestamp(self.until).astimezone().strftime("%H:%M:%S")
            return f"{who} waits with {self.kind} until {when}: a flood wait"
        words = f"{who} is {self.state}"
        if self.restarts:
            words += f", restarted {self.restarts} time{'s' if self.restarts > 1 else ''}"
        if self.failures:
            words += f", failed {self.failures} time{'s' if self.failures > 1 else ''}"
        return f"{words}: {self.reason}" if self.reason else words


class Watcher:
    """Compares each picture with the one before."""

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[SessionState, int]] = {}
        self._floods: dict[tuple[str, str], float] = {}
        self._monitors: dict[tuple[str, str], tuple[str, int, int]] = {}

    def changes(self, status: FleetStatus) -> list[Change]:
        """What is new in `status`."""
        found: list[Change] = []
        now = time.time()
        for session in status.sessions:
            self._session(session, now, found)
        gone = {session.name for session in ended(status)}
        for monitor in status.monitors:
            if monitor.session not in gone:  # the session's own line says that much
                self._monitor(monitor, now, found)
        return found

    def _session(self, session: SessionStatus, now: float, found: list[Change]) -> None:
        seen = (session.state, session.restarts)
        if self._sessions.get(session.name) != seen and session.state is not SessionState.NEW:
            self._sessions[session.name] = seen
            found.append(
                Change(
                    event="session",
                    time=now,
                    session=session.name,
                    state=session.state.value,
                    reason=session.reason,
                    restarts=session.restarts,
                )
            )
        for kind, until in session.floods.items():
            # Telegram repeats a wait with a second less each time; that is the same one
            if until > self._floods.get((session.name, kind), 0.0) + 1.0:
                self._floods[session.name, kind] = until
                found.append(Change(event="flood", time=now, session=session.name, kind=kind, until=until))

    def _monitor(self, monitor: MonitorStatus, now: float, found: list[Change]) -> None:
        key = (monitor.session, monitor.name)
        seen = (monitor.state, monitor.failures, monitor.restarts)
        known = self._monitors.get(key)
        self._monitors[key] = seen
        if known is None or known == seen:
            return
        if monitor.state == known[0] and monitor.failures == known[1]:
            return  # the restart that follows a failure
        if monitor.state == "running" and not monitor.failures:
            return  # it has started: the session's own line says so
        found.append(
            Change(
                event="monitor",
                time=now,
                session=monitor.session,
                monitor=monitor.name,
                state=monitor.state,
                restarts=monitor.restarts,
                failures=monitor.failures,
            )
        )


def ended(status: FleetStatus) -> list[SessionStatus]:
    """The sessions that won't come back."""
    return [each for each in status.sessions if each.state in (SessionState.DEAD, SessionState.STOPPED)]
