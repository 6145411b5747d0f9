"""What a handler says by raising, and what a monitor refuses.

    TelestageError
    ├── RetryableError          raised by a handler: this call may be tried again
    ├── FatalError              raised by a handler: it can never succeed again; it is disabled
    └── MonitorError
        ├── MonitorStopped      the monitor has stopped; carries the event
        └── UnknownEventType    not one of the types the monitor was given

An event that a full queue refuses is the kernel's `MailboxFull`, which carries it.
"""

from __future__ import annotations

from telestage.actors.kernel import TelestageError

__all__ = ["FatalError", "MonitorError", "MonitorStopped", "RetryableError", "UnknownEventType"]


class RetryableError(TelestageError):
    """A handler raises it when the same call may succeed later: it is called again after a backoff."""


class FatalError(TelestageError):
    """A handler raises it when it can't go on at all: it is called no more until it is registered again."""


class MonitorError(TelestageError):
    """A monitor refused something."""


class MonitorStopped(MonitorError):
    """The monitor takes no events any more; `event` is the one refused."""

    def __init__(self, monitor: str, event: object) -> None:
        super().__init__(f"monitor {monitor!r} has stopped and takes no events: start it again first")
        self.monitor = monitor
        self.event = event


class UnknownEventType(MonitorError):
    """The monitor was given its event types, and `event_type` isn't one of them."""

    def __init__(self, monitor: str, event_type: str, known: frozenset[str]) -> None:
        shown = ", ".join(repr(each) for each in sorted(known)[:10]) + (", ..." if len(known) > 10 else "")
        super().__init__(f"monitor {monitor!r} knows no event type {event_type!r}, only {shown or 'none'}")
        self.monitor = monitor
        self.event_type = event_type
