"""How much a fleet may do at once, and how long things may take.

Each value says its default, its unit and its hazard. A limit that can't be is refused here, before
anything is started.

Where the values come from: those with a number such as R-G1 are the requirements'; paces have their sources beside
them (`DEFAULT_PACES`). The others are choices of ours, as nobody publishes any: `connecting`; `rpc_timeout` and
`liveness`, 60 s as Telethon's own pings are that far apart, so that what is silent for longer isn't just idle;
`peer_flood`, as only a person can tell why; and `pace_recovery`, with which the half that a flood takes is back in half
an hour.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import msgspec

from telestage.messages import DEFAULT_PRIORITIES, DEFAULT_QUEUE_TIMEOUT, DEFAULT_TIMEOUTS, Kind

__all__ = ["CONNECTING", "DEFAULT_PACES", "UPDATES", "Limits", "Pace"]

CONNECTING = "connecting"
"""The kind of permit a session takes to connect, so that a fleet does not connect all at once."""

UPDATES = "updates"
"""The kind that a flood wait parks when Telegram doesn't say yet what was missed. No operation is of it."""


class Pace(enum.StrEnum):
    """What is paced, each session by itself (R-X3)."""

    SENDING = "sending"
    """Messages sent, to whomever. An album, or a forward of several, is one."""
    USER = "user"
    """Messages sent to one user."""
    GROUP = "group"
    """Messages sent to one group or channel."""
    HISTORY = "history"
    """Pages of messages, of found ones, and of members."""
    RESOLVING = "resolving"
    """Usernames and phone numbers looked up."""
    JOINING = "joining"
    """Chats joined."""


DEFAULT_PACES: Mapping[Pace, tuple[int, float]] = MappingProxyType(
    {
        Pace.SENDING: (30, 60.0),  # accounts of users: not published; 20 to 30 a minute is what people call polite
        Pace.USER: (1, 1.1),  # bots, published: about one a second in one chat
        Pace.GROUP: (16, 60.0),  # bots, published: 20 a minute in one group; less a fifth
        Pace.HISTORY: (3, 9.0),  # floods have been seen near 10 pages in 30 s: one in 3 s, three of them at once
        Pace.RESOLVING: (20, 60.0),  # seen by many: scarce, about 20 a minute
        Pace.JOINING: (3, 300.0),  # seen by many
    }
)
"""So many in any so many seconds. Telegram publishes no limits for accounts of users, and they vary with the account's
age and history; where each of these comes from stands beside it."""


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
    """Sessions that connect at once, reconnects included, the most urgent first (see `gate`). Hazard of a high one: a
    storm after an outage."""

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

    liveness: float = 60.0
    """Seconds within which a connection that is there and dead is found, and another made. Hazard of a short one: a
    ping of each quiet session in two thirds of it, and a slow network is taken for a dead one."""

    peer_flood: float | None = None
    """Seconds that sending pauses after PEER_FLOOD, for which Telegram names no end. Default: None, until a person has
    it resumed (`Fleet.resume_sending`). Hazard of a number: an account that goes on sending as a suspected spammer is
    banned."""

    paced: bool = True
    """Whether a session holds itself back before Telegram has to ask for it (R-X3). Hazard of False anywhere but with a
    server of one's own: floods, and then bans."""

    paces: Mapping[Pace, tuple[int, float]] = {}
    """So many in any so many seconds, per session, over `DEFAULT_PACES` (R-X3). Hazard of faster ones: floods."""

    pace_recovery: float = 3600.0
    """Seconds in which a pace comes back from nothing to all of it. A flood wait halves the pace that it concerns, down
    to a sixteenth at least; from then on it rises evenly: from one half in half of this time."""

    priorities: Mapping[Kind, int] = {}
    """Priorities by kind, over `DEFAULT_PRIORITIES` (R-Q3)."""

    monitor_queue: int = 1000
    """Events that may wait per monitor; one more is dropped and counted (R-E3)."""

    def __post_init__(self) -> None:
        for name in ("operations", "scraping", "connecting", "queue", "monitor_queue"):
            _check_count(name, getattr(self, name))
        for kind, limit in self.kinds.items():
            _check_count(f"kinds[{kind!r}]", limit)
        for name in ("queue_timeout", "permit_timeout", "rpc_timeout", "liveness", "pace_recovery"):
            _check_seconds(name, getattr(self, name))
        if self.peer_flood is not None:
            _check_seconds("peer_flood", self.peer_flood)
        if not isinstance(self.paced, bool):
            raise ValueError(f"Limits.paced must be True or False, not {self.paced!r}")
        for pace, most in self.paces.items():
            if not isinstance(pace, Pace):
                raise ValueError(f"Limits.paces goes by Pace ({', '.join(Pace)}), not {pace!r}")
            if len(most) != 2:
                raise ValueError(f"Limits.paces[{str(pace)!r}] must be a number and seconds, not {most!r}")
            _check_count(f"paces[{str(pace)!r}][0]", most[0])
            _check_seconds(f"paces[{str(pace)!r}][1]", most[1])
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

    @classmethod
    def unpaced(cls, **limits: Any) -> Self:  # what the constructor takes
        """Limits without pacing, for a server of one's own. Hazard with Telegram: floods, and then bans."""
        return cls(**{**limits, "paced": False})

    def pace(self, pace: Pace) -> tuple[int, float]:
        """So many, in any so many seconds."""
        return self.paces.get(pace, DEFAULT_PACES[pace])

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
