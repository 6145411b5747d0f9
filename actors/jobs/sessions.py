"""What jobs need to know of the sessions of their fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from telestage.actors.telegram.anysession import AnySession
from telestage.actors.telegram.handle import SessionHandle

__all__ = ["JobSessions"]


class JobSessions(Protocol):
    """The sessions of a fleet, for its jobs, which end by themselves as the fleet drains."""

    def session(self, name: str) -> SessionHandle:
        """The session of that name, which raises a flood wait at once.

        Raises:
            SessionUnknown: There is none.
        """
        ...

    def any(self, names: Sequence[str]) -> AnySession:
        """Those sessions of these that are there, for reads that may be moved from one to another."""
        ...

    def names(self, pattern: str) -> list[str]:
        """The names that match, in the order in which they were added."""
        ...

    def has(self, name: str) -> bool:
        """Whether a session is there for this fleet, and not in use by another one."""
        ...
