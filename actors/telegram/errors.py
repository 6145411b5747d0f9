"""What can go wrong with an operation of a session.

    TelestageError
    └── SessionError
        ├── OperationTimeout    the operation ran longer than it may; it was cancelled
        ├── PermitTimeout       no permit came in time; the operation was not begun
        ├── PaceTimeout         the session would hold it back past its deadline; not begun
        ├── FloodParked         Telegram said to wait until a time past the operation's deadline
        ├── OperationCancelled  something that the operation itself waited for was cancelled
        ├── ReplyLost           whether it was done isn't known: the session was restarted meanwhile
        ├── SessionUnknown      the fleet has no session of that name
        ├── SessionExists       the fleet has one already
        ├── SessionDraining     the fleet ends, and takes nothing new
        ├── SessionNotStored    the store has no session of that name
        └── SessionDead         Telegram won't have the session any more, for the reason it carries
            └── SessionInUse    another process, or another fleet, uses it; says who

What Telegram itself answers (`telethon.errors.RPCError`) reaches the caller as it is, but for flood
waits and the ends of sessions. The mailbox's errors (`MailboxFull`, `QueueWaitTimeout`, `AskCycle`)
are the kernel's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from telestage.actors.kernel.errors import TelestageError

__all__ = [
    "FloodParked",
    "OperationCancelled",
    "OperationTimeout",
    "PaceTimeout",
    "PermitTimeout",
    "ReplyLost",
    "SessionDead",
    "SessionDraining",
    "SessionError",
    "SessionExists",
    "SessionInUse",
    "SessionNotStored",
    "SessionUnknown",
]


class SessionError(TelestageError):
    """An operation of a session failed. `session` is its name."""

    def __init__(self, session: str, text: str) -> None:
        super().__init__(f"session {session!r}: {text}")
        self.session = session


class OperationTimeout(SessionError):
    """The operation ran for `seconds`, its limit, and was cancelled. Telegram may have done it."""

    def __init__(self, session: str, kind: str, seconds: float) -> None:
        super().__init__(session, f"{kind} operation cancelled after {seconds:g} s, its timeout")
        self.kind = kind
        self.seconds = seconds


class PermitTimeout(SessionError):
    """No permit of this kind was free for `seconds`; the operation was not begun."""

    def __init__(self, session: str, kind: str, seconds: float) -> None:
        super().__init__(session, f"no permit for {kind} within {seconds:g} s; the operation was not begun")
        self.kind = kind
        self.seconds = seconds


class PaceTimeout(SessionError):
    """The session would hold the operation back until `until` (Unix seconds) at least, past its deadline; not begun."""

    def __init__(self, session: str, pace: str, until: float) -> None:
        super().__init__(session, f"{pace} is paced: not before {_when(until)}, past the deadline; not begun")
        self.pace = pace
        self.until = until


class FloodParked(SessionError):
    """Telegram made this kind of request wait until `until` (Unix seconds), past the operation's deadline.

    It is infinite after PEER_FLOOD, which has no end but a person's `Fleet.resume_sending`. `peer` is the marked id of
    the only one that it is about, None where it is about all.
    """

    def __init__(self, session: str, kind: str, until: float, peer: int | None = None) -> None:
        about = kind if peer is None else f"{kind} to {peer}"
        if until == math.inf:
            text = f"{about} is paused after PEER_FLOOD, until a person has it resumed (Fleet.resume_sending)"
        else:
            text = f"{about} is parked by a flood wait until {_when(until)}"
        super().__init__(session, text)
        self.kind = kind
        self.until = until
        self.peer = peer
        self.again = True
        """Whether the operation may be begun again then: nothing would be done twice."""


def _when(until: float) -> str:
    return datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")


class OperationCancelled(SessionError):
    """The operation ended by a `CancelledError` that nobody had asked for: a task it waited for was cancelled."""

    def __init__(self, session: str, kind: str) -> None:
        super().__init__(session, f"something that the {kind} operation waited for was cancelled")
        self.kind = kind


class ReplyLost(SessionError):
    """The session was restarted while it ran the operation; whether Telegram did it isn't known."""

    def __init__(self, session: str, kind: str) -> None:
        super().__init__(session, f"restarted during a {kind} operation; whether it was done is not known")
        self.kind = kind


class SessionDraining(SessionError):
    """The fleet ends: it takes no new operation. Nothing of this one was begun."""

    def __init__(self, session: str) -> None:
        super().__init__(session, "the fleet ends and takes no new operation; this one was not begun")


class SessionUnknown(SessionError):
    """The fleet has no session of that name."""

    def __init__(self, session: str) -> None:
        super().__init__(session, "the fleet has no session of that name")


class SessionExists(SessionError):
    """The fleet has a session of that name already."""

    def __init__(self, session: str) -> None:
        super().__init__(session, "the fleet has a session of that name already")


class SessionNotStored(SessionError):
    """The store has no session of that name; `reason` says which it has."""

    def __init__(self, session: str, known: Sequence[str]) -> None:
        has = f"; it has {', '.join(known)}" if known else ""
        self.reason = f"the store has no session of that name{has}"
        super().__init__(session, self.reason)


class SessionDead(SessionError):
    """The session has ended for good; `reason` says why. Nothing retries it."""

    def __init__(self, session: str, reason: str) -> None:
        super().__init__(session, f"dead: {reason}")
        self.reason = reason


class SessionInUse(SessionDead):
    """`owner` uses the session now, so it isn't used here: Telegram ends for good what is used twice at once (R-X6)."""

    def __init__(self, session: str, owner: str, *, waits: bool = False) -> None:
        super().__init__(session, f"in use by {owner}")
        self.owner = owner
        self.waits = waits
        """Whether it is tried again."""
