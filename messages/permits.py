"""How a session asks the manager for a permit, is given it and gives it back (R-G).

A permit is known by the operation it is for: `operation_id` is that operation's correlation id.
Kinds are strings, not `Kind`, because a fleet can limit kinds of its own (R-G1).
"""

from telestage.messages.base import Message
from telestage.messages.checks import INT64, Elapsed, Int64, Text, check_seconds, check_text, check_whole


class PermitRequest(Message, frozen=True, kw_only=True):
    """An operation of a session would like to run. Higher `priority` is granted first (R-G4)."""

    operation_id: Text
    session: Text
    kind: Text
    priority: Int64

    def __post_init__(self) -> None:
        check_text(self, "operation_id", "session", "kind")
        check_whole(self, "priority", -INT64, INT64 - 1)


class PermitGranted(Message, frozen=True, kw_only=True):
    """The operation may run, and holds the permit until it is returned.

    `waited` is how long it was asked for, in seconds.
    """

    operation_id: Text
    kind: Text
    waited: Elapsed

    def __post_init__(self) -> None:
        check_text(self, "operation_id", "kind")
        check_seconds(self, "waited", zero=True)


class PermitReturned(Message, frozen=True, kw_only=True):
    """The operation has ended, however it ended; its permit is free again (R-G3)."""

    operation_id: Text

    def __post_init__(self) -> None:
        check_text(self, "operation_id")
