"""The health of a monitor, and the heartbeat that looks at it (R-E6).

A heartbeat is a timer, no task: it goes on while a handler waits, and ends with its monitor.
"""

from __future__ import annotations

import asyncio
import logging

from telestage.actors.monitoring.book import EventBook
from telestage.actors.monitoring.breaker import BreakerState
from telestage.actors.monitoring.statistics import HealthState, MonitorHealth

__all__ = ["Heartbeat", "health_of"]

_log = logging.getLogger("telestage.monitor")

_LONG = 10.0
"""Seconds without the end of a call after which a busy monitor is DEGRADED."""


def health_of(book: EventBook, stuck_for: float = 0.0) -> MonitorHealth:
    """The state of a monitor now.

    Args:
        stuck_for: Seconds since a call ended, while one is under way.
    """
    if book.ref is None or not book.ref.alive:
        return MonitorHealth(HealthState.STOPPED)
    now = asyncio.get_running_loop().time()
    queue = book.queue
    crowded: list[str] = []
    if len(queue) > queue.mark:
        crowded.append(f"the queue holds {len(queue)} of {queue.capacity} events")
    troubled: list[str] = []
    for route in book.routes.values():
        for handler in route:
            state = handler.breaker.state(now)
            if handler.disabled is not None:
                troubled.append(f"handler {handler.name} of {handler.event_type} is disabled: {handler.disabled}")
            elif state is not BreakerState.CLOSED:
                troubled.append(f"the breaker of handler {handler.name} of {handler.event_type} is {state.value}")
    if stuck_for >= _LONG:
        names = ", ".join(f"{handler.name} of {handler.event_type}" for handler in book.busy())
        troubled.append(f"handler {names} has been running for {stuck_for:.0f} s")
    if crowded:
        return MonitorHealth(HealthState.OVERLOADED, (*crowded, *troubled))
    return MonitorHealth(HealthState.DEGRADED if troubled else HealthState.HEALTHY, tuple(troubled))


class Heartbeat:
    """Looks every `seconds` until it is stopped, and logs when the state changes.

    Args:
        seconds: None: it notices nothing by itself.
    """

    def __init__(self, book: EventBook, seconds: float | None) -> None:
        self._book = book
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._last = HealthState.HEALTHY
        self._progress = -1
        self._since: float | None = None  # when `progress` was first seen as it is, while busy
        self._lost = 0

    def start(self) -> None:
        """Begins, a first look after one interval."""
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._beat)

    def stop(self) -> None:
        """Ends. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def stuck_for(self) -> float:
        """Seconds since a call ended, as far as the heartbeat has seen; 0 when none is under way."""
        book = self._book
        if not book.running or self._since is None or book.progress != self._progress:
            return 0.0
        return asyncio.get_running_loop().time() - self._since

    def _beat(self) -> None:
        book = self._book
        book.heartbeats += 1
        if not book.running:
            self._since = None
        elif book.progress != self._progress or self._since is None:
            self._progress, self._since = book.progress, asyncio.get_running_loop().time()
        health = health_of(book, self.stuck_for)
        if health.state is not self._last:
            level = logging.INFO if health.state is HealthState.HEALTHY else logging.WARNING
            text = f" ({'; '.join(health.reasons)})" if health.reasons else ""
            _log.log(level, "monitor %s is %s, was %s%s", book.name, health.state.value, self._last.value, text)
            self._last = health.state
        lost = book.queue.refused + book.queue.evicted
        if lost > self._lost:
            _log.warning("monitor %s: %d events lost for want of room, %d in all", book.name, lost - self._lost, lost)
            self._lost = lost
        self.start()
