"""How a fleet is doing, as values: a picture of one instant that anyone may keep (R-Q6, R-G6, R-T2).

Durations are seconds, instants unix seconds. Each count says whether it is of now or since the start.
Nothing is checked here at construction beyond the types: these values only report.
"""

from msgspec import field

from telestage.messages.base import Message
from telestage.messages.checks import Int64
from telestage.messages.lifecycle import SessionState


class SessionStatus(Message, frozen=True, kw_only=True):
    """One session: what it is doing now, and what it has done since it was added."""

    name: str
    state: SessionState
    reason: str | None = None
    """Why it is in that state, where there is something to say."""
    kind: str | None = None
    """The kind of the operation that runs now; None when none does."""
    running_for: float | None = None
    """Seconds that operation has run."""
    queued: int = 0
    """Operations that wait now."""
    restarts: int = 0
    """Times its supervisor restarted it."""
    reconnects: int = 0
    """Times its client lost the connection and had another, without a restart."""
    operations: int = 0
    """Operations it has ended, however they ended."""
    floods: dict[str, float] = field(default_factory=dict)
    """Kinds that a flood wait parks now, and until when."""
    pid: int | None = None
    """The process it lives in, when that isn't the fleet's own."""


class FloodStatus(Message, frozen=True, kw_only=True):
    """One thing that Telegram makes a session wait for (R-X2)."""

    session: str
    kind: str
    """Which kind of request is parked."""
    peer: Int64 | None = None
    """The marked id of the only one to whom it is parked; None: to all."""
    until: float | None
    """The deadline; None: until a person resumes it, as Telegram named none."""
    seconds: float | None
    """For how long it was asked."""
    method: str
    """The TL method that was refused, as in `messages.sendMessage`."""
    seen_at: float
    reason: str
    """Telegram's name of it: FLOOD_WAIT, FLOOD_PREMIUM_WAIT, SLOWMODE_WAIT or PEER_FLOOD."""


class PermitKindStatus(Message, frozen=True, kw_only=True):
    """The permits of one kind, or of all kinds together. granted = returned + in_use, always (R-G3)."""

    kind: str
    limit: int
    in_use: int = 0
    """Held now."""
    waiting: int = 0
    """Asked for and not yet granted or refused."""
    granted: int = 0
    """Since the start, as are `returned` and `refused`."""
    returned: int = 0
    refused: int = 0
    """Those whose wait ended without a permit."""
    peak: int = 0
    """The most that were held at one instant, since the start."""
    wait_p50: float | None = None
    """Half of the granted waited no longer than this; None before the first."""
    wait_p95: float | None = None
    wait_p99: float | None = None


class PermitHolder(Message, frozen=True, kw_only=True):
    """One permit that is held now, and for how long.

    `operation_id` is the operation's correlation id; in a session that has been restarted n times, followed by `#n`.
    """

    session: str
    operation_id: str
    kind: str
    held_for: float


class PermitStatus(Message, frozen=True, kw_only=True):
    """All permits: `total` counts every operation, `kinds` those with a limit of their own besides."""

    total: PermitKindStatus
    kinds: dict[str, PermitKindStatus] = field(default_factory=dict)
    holders: list[PermitHolder] = field(default_factory=list)

    @property
    def granted(self) -> int:
        """Permits granted since the start, of whatever kind."""
        return self.total.granted

    @property
    def returned(self) -> int:
        """Permits given back since the start, of whatever kind."""
        return self.total.returned

    @property
    def peak(self) -> int:
        """The most permits held at one instant: less than the kinds' peaks together, which come apart."""
        return self.total.peak


class MonitorStatus(Message, frozen=True, kw_only=True):
    """One monitor: events waiting now, and what became of those before."""

    name: str
    session: str
    state: str
    queued: int = 0
    handled: int = 0
    failures: int = 0
    dropped: int = 0
    restarts: int = 0


class TaskStatus(Message, frozen=True, kw_only=True):
    """One asyncio task that runs now (R-T2)."""

    name: str
    type: str
    """What it is for: queue_processor, sending, scraping, monitoring, ..."""
    session: str | None = None
    """None for a task of the runtime itself."""
    operation: str | None = None
    """The correlation id of the operation it works for."""
    age: float
    state: str


class FleetStatus(Message, frozen=True, kw_only=True):
    """The whole fleet at one instant."""

    sessions: list[SessionStatus] = field(default_factory=list)
    permits: PermitStatus
    monitors: list[MonitorStatus] = field(default_factory=list)
    tasks: list[TaskStatus] = field(default_factory=list)
