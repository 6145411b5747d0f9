"""One handler of one event type: what it is, and what came of its calls.

Invariants:
- A handler that is called counts each call once: as a success, a failure or a retry.
- `quick` says that a call needs nothing but the call: alone with its event type, enabled, no failure in a row, no
  timeout, and known to take next to no time. Whatever makes a difference clears it.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Awaitable, Callable

from telestage.actors.monitoring.breaker import BreakerState, CircuitBreaker
from telestage.actors.monitoring.errors import FatalError
from telestage.actors.monitoring.policies import HandlerPolicy
from telestage.actors.monitoring.statistics import HandlerStatistics

__all__ = ["STRIDE", "EventHandler", "Handler", "checked_handler"]

_log = logging.getLogger("telestage.monitor")

EventHandler = Callable[..., object | Awaitable[object]]
"""Takes one event; plain or `async`. What it returns is ignored."""

STRIDE = 64
"""Calls that are timed together, of a handler that takes next to no time. One look at the clock costs as much as
the call of such a one."""

_NEXT_TO_NOTHING = 5_000  # ns
_TO_BE_TRUSTED = 8  # calls in a row of so little time


def checked_handler(handler: object) -> EventHandler:
    """The handler, if it can be called with one event.

    Raises:
        TypeError: It can't.
    """
    if not callable(handler) or isinstance(handler, type):
        raise TypeError(f"a handler is a function that takes one event, not {handler!r}")
    if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
        raise TypeError(f"a handler is a plain or an async function; {_name(handler)} yields")
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # some built-in functions can't say
        return handler
    try:
        signature.bind(None)
    except TypeError as error:
        raise TypeError(f"a handler takes one event, and {_name(handler)}{signature} doesn't: {error}") from None
    return handler


class Handler:
    """A registered handler and its book."""

    __slots__ = (
        "_short",
        "alone",
        "breaker",
        "call",
        "calls",
        "disabled",
        "event_type",
        "failures",
        "is_async",
        "last_failure",
        "last_failure_at",
        "longest_ns",
        "monitor",
        "name",
        "ns",
        "policy",
        "quick",
        "recent",
        "retries",
        "running",
        "skipped",
    )

    def __init__(self, monitor: str, event_type: str, call: EventHandler, policy: HandlerPolicy) -> None:
        self.monitor = monitor
        self.event_type = event_type
        self.call = call
        self.policy = policy
        self.name = _name(call)
        self.breaker = CircuitBreaker(policy.breaker_failures, policy.breaker_seconds)
        self.is_async = _is_async(call)
        self.recent: list[float] = []  # when it failed, of the failures that still count
        self.disabled: str | None = None
        self.alone = True  # of its event type
        self.quick = False
        self._short = 0  # calls in a row that took next to no time
        self.running = 0
        self.calls = 0  # ended ones
        self.failures = 0
        self.retries = 0
        self.skipped = 0
        self.ns = 0
        self.longest_ns = 0
        self.last_failure: str | None = None
        self.last_failure_at: float | None = None

    def ended(self, calls: int, ns: int) -> None:
        """Notes that `calls` of them took `ns` in all. Whether they failed is another matter."""
        self.calls += calls
        self.ns += ns
        if ns > calls * _NEXT_TO_NOTHING:
            self._short = 0
            self.quick = False
            if ns > self.longest_ns:
                self.longest_ns = ns
        else:
            if ns > self.longest_ns * calls:
                self.longest_ns = ns // calls
            if not self.quick:
                self._short += calls
                self.refresh()

    def refresh(self) -> None:
        """Works out `quick` anew."""
        self.quick = (
            self._short >= _TO_BE_TRUSTED
            and self.alone
            and not self.breaker.row  # nor is it disabled, then
            and self.policy.timeout is None
        )

    def allows(self, now: float) -> bool:
        """Whether it may be called at `now`; counts it as skipped if its breaker is open."""
        if self.breaker.state(now) is BreakerState.OPEN:
            self.skipped += 1
            return False
        return True

    def succeeded(self) -> None:
        """A call came to its end."""
        if self.breaker.row:
            self.breaker.succeeded()

    def may_retry(self, attempt: int, now: float) -> bool:
        """Whether retry number `attempt`, counted from 0, is still to be made: never of a trial."""
        return (
            attempt < self.policy.max_retries
            and self.disabled is None
            and self.breaker.state(now) is BreakerState.CLOSED
        )

    def failed(self, error: BaseException, now: float, *, log: bool = True) -> None:
        """Counts a failure, and draws its consequences."""
        self.quick = False
        self.failures += 1
        self.last_failure = f"{type(error).__name__}: {error}"
        self.last_failure_at = time.time()
        opened = self.breaker.failed(now)
        policy = self.policy
        most = policy.max_handler_failures
        if most is not None:
            since = now - policy.failure_reset_interval
            self.recent = [*(when for when in self.recent if when >= since), now]
        if isinstance(error, FatalError):
            self.disable(f"FatalError: {error}")
        elif most is not None and len(self.recent) >= most:
            self.disable(f"{most} failures within {policy.failure_reset_interval:g} s")
        if log:
            what = (
                "disabled"
                if self.disabled
                else f"its breaker is open for {policy.breaker_seconds:g} s"
                if opened
                else ""
            )
            _log.log(
                logging.ERROR if self.disabled else logging.WARNING,
                "monitor %s: handler %s of %s failed%s",
                self.monitor,
                self.name,
                self.event_type,
                f"; {what}" if what else "",
                exc_info=error,
            )

    def interrupted(self) -> None:
        """A call was interrupted from outside: a failure that says nothing about the handler."""
        self.failures += 1

    def disable(self, why: str) -> None:
        """It is called no more."""
        self.disabled = why
        self.quick = False

    def statistics(self, now: float, under_way: int) -> HandlerStatistics:
        """A picture of it; `under_way` calls of those that are timed together have ended."""
        calls = self.calls + under_way
        return HandlerStatistics(
            event_type=self.event_type,
            name=self.name,
            calls=calls,
            successes=calls - self.failures - self.retries,
            failures=self.failures,
            retries=self.retries,
            skipped=self.skipped,
            consecutive_failures=self.breaker.row,
            last_failure=self.last_failure,
            last_failure_at=self.last_failure_at,
            breaker=self.breaker.state(now),
            disabled=self.disabled,
            mean_latency=self.ns / self.calls / 1e9 if self.calls else 0.0,
            max_latency=self.longest_ns / 1e9,
        )


def _name(handler: object) -> str:
    if isinstance(handler, functools.partial):
        return _name(handler.func)
    return str(getattr(handler, "__qualname__", type(handler).__qualname__))


def _is_async(handler: object) -> bool:
    if isinstance(handler, functools.partial):
        return _is_async(handler.func)
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004 - not whether, but what
