"""How much a fleet may do at once, and how long things may take.

Each value says its default, its unit and its hazard. A limit that can't be is refused here, before
anything is started.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from telestage.messages import DEFAULT_PRIORITIES, DEFAULT_QUEUE_TIMEOUT, DEFAULT_TIMEOUTS, Kind

__all__ = ["CONNECTING", "UPDATES", "Limits"]

CONNECTING = "connecting"
"""The kind of permit a session takes to connect, so that a fleet does not connect all at once."""

UPDATES = "updates"
"""The kind that a flood wait parks when Telegram doesn't say yet what was missed. No operation is of it."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a fleet.

    Raises:
        ValueError: A limit below 1, or a duration that isn't a positive finite number of seconds.
    """

    operations: int = 50
    """Operations of all kinds and sessions at once (R-G1). Hazard of a high one: floods for the whole address."""

    scraping: int = 5
    """Scraping operations at once, within `operations` (R-G1)."""

    connecting: int = 10
    """Sessions that connect at once. Hazard of a high one: a storm after an outage."""

    kinds: Mapping[str, int] = {}
    """Limits of further kinds, such as `{"sending": 20}`, each within `operations`."""

    queue: int = 100
    """Operations that may wait per session; one more fails with `MailboxFull` (R-Q2)."""

    queue_timeout: float = DEFAULT_QUEUE_TIMEOUT
    """Seconds an operation may wait to be begun; then it never is: `QueueWaitTimeout` (R-Q4)."""

    permit_timeout: float = 30.0
    """Seconds an operation may wait for its permit, its session waiting with it: `PermitTimeout` (R-G2)."""

    timeouts: Mapping[Kind, float] = {}
    """Seconds an operation may run, by kind, over `DEFAULT_TIMEOUTS` (R-Q5). Hazard of a long one: a call that
    hangs keeps its session for that long."""

    adaptive_timeouts: Mapping[Kind, tuple[float, float]] = {}
    """Kinds whose timeout is twice the p99 of what they take, and between which bounds, in seconds (R-G7). Until 20
    have been seen it is the fixed one. Default: none. Hazard of a low bound: what is rarely slow is cut off."""

    rpc_timeout: float = 60.0
    """Seconds a single call to Telegram may take; Telethon itself would wait for ever."""

    peer_flood: float = 3600.0
    """Seconds that sending pauses after PEER_FLOOD, for which Telegram names no end. Hazard of a short one: an
    account that goes on sending as a suspected spammer is banned."""

    priorities: Mapping[Kind, int] = {}
    """Priorities by kind, over `DEFAULT_PRIORITIES` (R-Q3)."""

    monitor_queue: int = 1000
    """Events that may wait per monitor; one more is dropped and counted (R-E3)."""

    def __post_init__(self) -> None:
        for name in ("operations", "scraping", "connecting", "queue", "monitor_queue"):
            _check_count(name, getattr(self, name))
        for kind, limit in self.kinds.items():
            _check_count(f"kinds[{kind!r}]", limit)
        for name in ("queue_timeout", "permit_timeout", "rpc_timeout", "peer_flood"):
            _check_seconds(name, getattr(self, name))
        for kind, seconds in self.timeouts.items():
            _check_kind("timeouts", kind)
            _check_seconds(f"timeouts[{str(kind)!r}]", seconds)
        for kind, bounds in self.adaptive_timeouts.items():
            _check_kind("adaptive_timeouts", kind)
            for seconds in bounds:
                _check_seconds(f"adaptive_timeouts[{str(kind)!r}]", seconds)
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise ValueError(
                    f"Limits.adaptive_timeouts[{str(kind)!r}] must be a lower and an upper bound, not {bounds!r}"
                )
        for kind, priority in self.priorities.items():
            _check_kind("priorities", kind)
            if not isinstance(priority, int) or isinstance(priority, bool):
                raise ValueError(f"Limits.priorities[{str(kind)!r}] must be a whole number, not {priority!r}")

    def timeout(self, kind: Kind) -> float:
        """Seconds an operation of this kind may run."""
        return self.timeouts.get(kind, DEFAULT_TIMEOUTS[kind])

    def priority(self, kind: Kind) -> int:
        """The priority of an operation of this kind."""
        return self.priorities.get(kind, DEFAULT_PRIORITIES[kind])

    def permits(self) -> Mapping[str, int]:
        """The limits of single kinds, by kind."""
        return MappingProxyType({Kind.SCRAPING.value: self.scraping, CONNECTING: self.connecting, **dict(self.kinds)})


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"Limits.{name} must be a whole number of 1 or more, not {value!r}")


def _check_seconds(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"Limits.{name} must be a positive number of seconds, not {value!r}")


def _check_kind(name: str, value: object) -> None:
    if not isinstance(value, Kind):
        raise ValueError(f"Limits.{name} goes by Kind ({', '.join(Kind)}), not {value!r}")
