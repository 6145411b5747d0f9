"""How a monitor and each of its handlers behave, as values that are checked when they are made."""

from __future__ import annotations

import enum
import math

import msgspec

from telestage.actors.kernel import Backoff
from telestage.actors.kernel.overflow import Overflow

__all__ = ["EventMonitorConfig", "HandlerPolicy", "Overflow"]


class HandlerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What follows the failures of one handler.

    Raises:
        ValueError: A value is out of its range; the error says which, and what would be right.
    """

    max_handler_failures: int | None = 5
    """Failures within `failure_reset_interval` that disable the handler (R-E4). None: any number is borne."""

    failure_reset_interval: float = 300.0
    """Seconds after which a failure counts no longer."""

    breaker_failures: int | None = 3
    """Failures in a row that open the circuit breaker (R-E5). None: it never opens."""

    breaker_seconds: float = 60.0
    """Seconds an open breaker keeps events from the handler; then the next one is its trial. Hazard: those events
    pass the handler by for good, and count as failed."""

    max_retries: int = 3
    """How often a call that raised `RetryableError` is made again before it counts as a failure. 0: never."""

    retry_backoff: Backoff = Backoff(first=0.1, factor=2.0, maximum=5.0)
    """Seconds between those calls."""

    keep_order: bool = False
    """Whether later events wait while a retry is due. Default: they go on, so that one handler's trouble is no
    other's; then this handler may see them in another order."""

    timeout: float | None = None
    """Seconds one call may take before it is cancelled and counts as a failure. Default: no limit. Hazard of
    none: an `async` handler that never ends holds its monitor up; its health says so."""

    def __post_init__(self) -> None:
        _whole(self, "max_handler_failures", 1, optional=True)
        _seconds(self, "failure_reset_interval")
        _whole(self, "breaker_failures", 1, optional=True)
        _seconds(self, "breaker_seconds")
        _whole(self, "max_retries", 0)
        backoff = self.retry_backoff
        if not isinstance(backoff, Backoff) or not (
            backoff.first >= 0 and backoff.factor >= 1 and backoff.maximum >= 0 and 0 <= backoff.jitter <= 1
        ):
            raise ValueError(
                f"retry_backoff must be a Backoff with first and maximum 0 s or more, factor 1 or more and "
                f"jitter 0 to 1, not {backoff!r}"
            )
        _seconds(self, "timeout", optional=True)


class EventMonitorConfig(HandlerPolicy, frozen=True, kw_only=True):
    """A monitor: its queue, its health, and the policy of handlers that bring none of their own.

    Raises:
        ValueError: A value is out of its range; the error says which, and what would be right.
    """

    max_queue_size: int = 1000
    """Events that may wait (R-E3). One whose retry is due keeps its place."""

    overflow: Overflow = Overflow.DROP_NEWEST
    """What becomes of one more."""

    block_timeout: float = 30.0
    """Seconds that `Overflow.BLOCK` waits for room."""

    warn_at: float = 0.8
    """The part of the queue that may be full; beyond it comes a WARNING, and the health is OVERLOADED."""

    heartbeat_interval: float | None = 1.0
    """Seconds between looks at the monitor's own health (R-E6). None: only whoever asks looks."""

    stop_timeout: float = 5.0
    """Seconds `stop_monitoring` may take, the draining included (R-E7)."""

    event_types: type[enum.Enum] | tuple[str, ...] | None = None
    """The types there are, by name or as an enum of names; any other is refused. None: any name will do."""

    def __post_init__(self) -> None:
        super(EventMonitorConfig, self).__post_init__()  # noqa: UP008 - msgspec makes the class anew: no __class__ cell
        _whole(self, "max_queue_size", 1)
        if not isinstance(self.overflow, Overflow):
            raise ValueError(f"overflow must be one of Overflow, not {self.overflow!r}")
        _seconds(self, "block_timeout")
        if not isinstance(self.warn_at, int | float) or not 0 < self.warn_at <= 1:
            raise ValueError(f"warn_at must be a part of the queue above 0 and up to 1, not {self.warn_at!r}")
        _seconds(self, "heartbeat_interval", optional=True)
        _seconds(self, "stop_timeout")
        self.known_types()

    def known_types(self) -> frozenset[str] | None:
        """The names of the event types; None if any will do."""
        if self.event_types is None:
            return None
        given = self.event_types
        names = [member.value for member in given] if isinstance(given, type) else list(given)
        if isinstance(given, str) or not names or not all(isinstance(name, str) and name.strip() for name in names):
            raise ValueError(f"event_types must be names, or an enum whose values are names, not {given!r}")
        return frozenset(names)


def _whole(policy: HandlerPolicy, field: str, least: int, *, optional: bool = False) -> None:
    value: object = getattr(policy, field)
    if optional and value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{field} must be {least} or more{' or None' if optional else ''}, not {value!r}")


def _seconds(policy: HandlerPolicy, field: str, *, optional: bool = False) -> None:
    value: object = getattr(policy, field)
    if optional and value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(
            f"{field} must be a finite number of seconds above 0{' or None' if optional else ''}, not {value!r}"
        )
