"""The permits of a fleet as its manager and its sessions know them.

Invariant: who waits for a permit waits with the manager, which alone passes permits on. Here one that is free is
taken, and one that nobody waits for is given back, both without a message: on one event loop, each is a single step by
the same rules (see `permits`) on the same books.
"""

from __future__ import annotations

import logging
from time import monotonic

from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.gate import ConnectGate
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.permits import PermitPool
from telestage.messages import PermitStatus

__all__ = ["PermitBoard"]

_log = logging.getLogger("telestage.manager")  # in whose name permits are granted, wherever it happens


class PermitBoard:
    """What outlives an instance of the manager, and can be read from outside its turns."""

    def __init__(self, limits: Limits) -> None:
        self.sessions: dict[str, SessionBook] = {}
        self.pool = PermitPool(limits.operations, limits.permits())
        self.patience = limits.permit_timeout
        self.gate = ConnectGate(limits.connecting)
        self._open = True

    def take(self, session: str, operation: str, kind: str) -> bool:
        """Takes a permit if one is free and nobody waits for any; else it has to be asked for.

        Raises:
            ValueError: That operation holds a permit already.
        """
        if not self._open or not self.pool.take(session, operation, kind, monotonic()):
            return False
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("permit asked for: %s %s %s", session, kind, operation)
            _log.debug("permit granted: %s %s %s after %.3f s", session, kind, operation, 0.0)
        return True

    def give_back(self, operation: str) -> bool:
        """Gives a permit back, or what is left of it, if nobody waits for one; else the manager has to be told."""
        pool = self.pool
        if pool.waiting:
            return False
        if _log.isEnabledFor(logging.DEBUG):
            self.log_return(operation)
        pool.release(operation, 0.0)
        return True

    def log_return(self, operation: str) -> None:
        """Logs for how long a permit was held, as it comes back (R-D4)."""
        held = self.pool.held_for(operation, monotonic())
        if held is not None:
            _log.debug("permit returned: %s after %.3f s", operation, held)

    def status(self) -> PermitStatus:
        """A picture of the permits."""
        return self.pool.status(monotonic())

    def reclaim(self) -> None:
        """Takes back what is still held at the end: no message of the sessions gets through any more (R-G3)."""
        self._open = False
        now = monotonic()
        for session in list(self.sessions):
            self.pool.release_session(session, now)
