"""What happens to sessions and what is to be done to them (R-G5, R-X2).

These travel in the system lane: never counted against a mailbox's bound, never dropped.
"""

import enum

from telestage.messages.base import Message
from telestage.messages.checks import Elapsed, Seconds, Text, check_seconds, check_string, check_text, settle_member


class SessionState(enum.StrEnum):
    """Where a session is in its life."""

    NEW = "new"
    """Added, not yet connected."""
    CONNECTING = "connecting"
    """Its client is connecting or signing in."""
    READY = "ready"
    """It takes operations."""
    STANDBY = "standby"
    """Another process uses it; it waits until that one doesn't, and connects then (R-X6)."""
    PAUSED = "paused"
    """It queues operations and starts none, until it is resumed."""
    RESTARTING = "restarting"
    """Its supervisor makes it anew; its mailbox stays."""
    STOPPED = "stopped"
    """It was removed, or the fleet has ended."""
    DEAD = "dead"
    """Telegram won't have it any more: revoked, banned, or its key is used elsewhere (R-X4). Or another
    process uses it (R-X6)."""


class SessionChanged(Message, frozen=True, kw_only=True):
    """A session has come into a state. `reason` says why where that isn't plain from the state."""

    session: Text
    state: SessionState
    reason: str | None = None

    def __post_init__(self) -> None:
        check_text(self, "session")
        settle_member(self, "state", SessionState)
        if self.reason is not None:
            check_string(self, "reason")


class PauseSession(Message, frozen=True, kw_only=True):
    """Start no further operation of the session; what runs goes on, what waits stays queued."""

    session: Text

    def __post_init__(self) -> None:
        check_text(self, "session")


class ResumeSession(Message, frozen=True, kw_only=True):
    """Start the session's operations again."""

    session: Text

    def __post_init__(self) -> None:
        check_text(self, "session")


class RemoveSession(Message, frozen=True, kw_only=True):
    """Disconnect the session and forget it, within `timeout` seconds; 5 are what R-T3 promises."""

    session: Text
    timeout: Seconds = 5.0

    def __post_init__(self) -> None:
        check_text(self, "session")
        check_seconds(self, "timeout", zero=False)


class FloodSeen(Message, frozen=True, kw_only=True):
    """Telegram made a session wait: operations of that kind are parked until `until`, in unix seconds.

    None is until a person resumes it.

    `method` is the TL method that was refused, as in `messages.sendMessage`.
    """

    session: Text
    kind: Text
    method: Text
    until: Elapsed | None

    def __post_init__(self) -> None:
        check_text(self, "session", "kind", "method")
        if self.until is not None:
            check_seconds(self, "until", zero=True)
