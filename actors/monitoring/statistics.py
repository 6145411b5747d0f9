"""How a monitor and its handlers are doing, as values."""

from __future__ import annotations

import enum

import msgspec

from telestage.actors.monitoring.breaker import BreakerState

__all__ = ["EventMonitorStatistics", "HandlerStatistics", "HealthState", "MonitorHealth"]


class HandlerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One handler of one event type (R-E6)."""

    event_type: str
    name: str
    calls: int
    """Calls made, each retry is one; each ends as a success, a failure or a retry."""
    successes: int
    failures: int
    retries: int
    """Calls that raised `RetryableError` and were, or are to be, made again."""
    skipped: int
    """Events kept from it by its open breaker."""
    consecutive_failures: int
    last_failure: str | None
    last_failure_at: float | None
    """Unix seconds."""
    breaker: BreakerState
    disabled: str | None
    """Why it is called no more; None while it is."""
    mean_latency: float
    """Seconds a call took. Calls of a handler that takes less than 5 us are timed by the batch, of up to 64."""
    max_latency: float

    @property
    def success_rate(self) -> float | None:
        """Successes of those calls that came to an end; None as long as there is none."""
        ended = self.successes + self.failures
        return self.successes / ended if ended else None


class EventMonitorStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A monitor.

    At any instant accepted = processed + failed + unhandled + evicted + discarded + queue_depth + running.
    """

    name: str
    accepted: int
    """Events that were taken in."""
    processed: int
    """All their handlers succeeded."""
    failed: int
    """A handler failed on them, or was kept from them by its open breaker."""
    unhandled: int
    """Nobody was there to handle them: no handler is registered for the type, or all are disabled."""
    refused: int
    """Not taken in: the queue was full."""
    evicted: int
    """Taken in, and dropped for a newer one."""
    discarded: int
    """Taken in, and given up when the monitor stopped."""
    queue_depth: int
    """Events that wait, those included whose retry is due."""
    running: int
    """1 while an event is being handled."""
    capacity: int
    heartbeats: int
    handlers: list[HandlerStatistics]

    @property
    def dropped(self) -> int:
        """Events lost for want of room: refused or evicted (R-E3)."""
        return self.refused + self.evicted


class HealthState(enum.Enum):
    """The state of a monitor, in one word."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """A breaker is open, a handler is disabled, or one has been running for long."""
    OVERLOADED = "overloaded"
    """The queue is fuller than `warn_at`."""
    STOPPED = "stopped"


class MonitorHealth(msgspec.Struct, frozen=True):
    """The state, and every reason for it."""

    state: HealthState
    reasons: tuple[str, ...] = ()
