"""A circuit breaker: a rule without a clock of its own, so that it can be proven by itself.

Closed, it lets every call through and counts failures in a row. Enough of them open it: nothing goes through
until `seconds` have passed. Then it is half-open: one call is the trial, which closes it or opens it again.
"""

from __future__ import annotations

import enum

__all__ = ["BreakerState", "CircuitBreaker"]


class BreakerState(enum.Enum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """One breaker. `now` is in seconds of any clock that never goes back.

    Args:
        failures: In a row, that open it. None: it never opens.
        seconds: How long it stays open.
    """

    __slots__ = ("_failures", "_opened", "_seconds", "row")

    def __init__(self, failures: int | None, seconds: float) -> None:
        self._failures = failures
        self._seconds = seconds
        self._opened: float | None = None
        self.row = 0
        """Failures in a row, up to now."""

    def state(self, now: float) -> BreakerState:
        """What it is at `now`."""
        if self._opened is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._opened + self._seconds else BreakerState.HALF_OPEN

    def succeeded(self) -> None:
        """A call did: closed."""
        self.row = 0
        self._opened = None

    def failed(self, now: float) -> bool:
        """A call didn't; says whether the breaker is open now because of it."""
        self.row += 1
        if self._failures is not None and self.row >= self._failures:  # so is a trial's: the row goes on
            self._opened = now
            return True
        return False
