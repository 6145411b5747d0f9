"""Operations that can't travel, as they carry functions: calls of the client, and changes of monitors.

Also what a bare Telethon request is when somebody makes it outside a turn: of which kind, and whether it
may be made again when its answer was lost.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from telethon import TelegramClient

from telestage.actors.telegram.book import MonitorSpec
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.shapes import kind_of_request, shape_of
from telestage.messages import Kind

__all__ = ["CallOperation", "GaveUp", "RegisterMonitor", "RemoveMonitor", "kind_of", "repeatable"]

_INT64 = 2**63


class CallOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that is any call of the client.

    Raises:
        TypeError: `function` can't be called, or the priority is no whole number.
        ValueError: A duration that isn't a positive finite number of seconds, or a priority past 64 bits.
    """

    kind: Kind
    function: Callable[[TelegramClient], Awaitable[object]]
    what: str
    priority: int
    timeout: float
    queue_timeout: float
    queued_at: float
    correlation_id: str

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"a call is a function that takes the client, not {self.function!r}")
        if not isinstance(self.priority, int) or isinstance(self.priority, bool):
            raise TypeError(f"a priority is a whole number, not {self.priority!r}")
        if not -_INT64 <= self.priority < _INT64:
            raise ValueError(f"a priority fits 64 bits, unlike {self.priority!r}")
        for name, seconds in (("timeout", self.timeout), ("queue_timeout", self.queue_timeout)):
            if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds < math.inf:
                raise ValueError(f"{name} must be a positive number of seconds, not {seconds!r}")

    @classmethod
    def of(
        cls,
        function: Callable[[TelegramClient], Awaitable[object]],
        kind: Kind,
        limits: Limits,
        *,
        what: str | None = None,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> CallOperation:
        """The operation, with the defaults of its kind for what is None."""
        return cls(
            kind=kind,
            function=function,
            what=str(getattr(function, "__qualname__", type(function).__name__)) if what is None else what,
            priority=limits.priority(kind) if priority is None else priority,
            timeout=limits.timeout(kind) if timeout is None else timeout,
            queue_timeout=limits.queue_timeout,
            queued_at=time.time(),
            correlation_id=secrets.token_hex(16),
        )


class RegisterMonitor(msgspec.Struct, frozen=True, kw_only=True):
    """Start a monitor, in place of the one of that name if there is one."""

    spec: MonitorSpec
    priority: int
    timeout: float
    queue_timeout: float
    correlation_id: str
    kind: Kind = Kind.MONITORING


class RemoveMonitor(msgspec.Struct, frozen=True, kw_only=True):
    """Stop a monitor within 5 s, whatever its handler is doing. Answered by whether there was one."""

    name: str
    priority: int
    queue_timeout: float
    correlation_id: str
    timeout: float = 10.0
    kind: Kind = Kind.MONITORING


class GaveUp(msgspec.Struct, frozen=True):
    """Who asked for the operation doesn't wait for it any more. Comes by the system lane."""

    correlation_id: str


def kind_of(requests: Sequence[object]) -> Kind:
    """The kind of operation that these requests are; the first decides."""
    return kind_of_request(requests[0])


def repeatable(requests: Sequence[object]) -> bool:
    """Whether making these requests twice is the same as once: they only read, or carry a random_id."""
    return all(hasattr(each, "random_id") or shape_of(each).reads for each in requests)
