"""One owner: a session of a fleet with a store is used under a lease, which no other process has meanwhile (R-X6).

Invariant: what is leased is the authorization key, whatever the session is called and wherever it is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable

import msgspec
from telethon.sessions.abstract import Session

from telestage.actors.store import Lease, LeaseHeld, Leases, Owner, Store, StoreError
from telestage.actors.telegram.errors import SessionInUse

__all__ = ["Ownership", "Owning", "fingerprint"]

_log = logging.getLogger("telestage.session")

_LONGEST = 60.0  # seconds in one attempt to start: a start has a deadline, and is tried again
_GIVING_BACK = 3.0  # seconds; a lease that couldn't be given back ends by itself


class Ownership(msgspec.Struct, frozen=True, kw_only=True):
    """How the sessions of a fleet with a store are owned.

    Args:
        owner: What others are told of who has a session. Default: the machine, the process and the start.
        lease: Seconds that a lease lasts; it is renewed every third, and its holder stops a sixth before its end.
            Hazard of a short one: a process that is held up for so long disconnects. Of a long one: after a loss of
            power, or beside a process that hangs, nobody has the session for so long.
        standby: Whether to wait for a session that is in use, and take it over when it is free. Default: it has ended
            for this fleet, with `SessionInUse`.
    """

    owner: str | None = None
    lease: float = 30.0
    standby: bool = False

    def __post_init__(self) -> None:
        Owner.here(self.owner)
        if not isinstance(self.lease, int | float) or isinstance(self.lease, bool) or not 0.1 <= self.lease <= 3600:
            raise ValueError(f"Ownership.lease must be 0.1 to 3600 seconds, not {self.lease!r}")


def fingerprint(session: Session) -> str | None:
    """What a session is known by: a hash of its authorization key, which tells nothing of it; None without one."""
    key: object = getattr(session.auth_key, "key", None)
    return hashlib.sha256(b"telestage session " + key).hexdigest()[:32] if isinstance(key, bytes) and key else None


class Owning:
    """The leases of one running fleet."""

    def __init__(self, store: Store, ownership: Ownership) -> None:
        self.leases = Leases(store, Owner.here(ownership.owner), ownership.lease)
        self._standby = ownership.standby

    async def take(self, name: str, session: Session, waits: Callable[[str], None]) -> Lease | None:
        """Takes the lease of a session; None for one that has no key yet.

        Args:
            waits: Is told by whom the session is used, before it is waited for.

        Raises:
            SessionInUse: Somebody else has it; with `standby`, still after a minute.
            StoreError: The store can't be written.
        """
        key = fingerprint(session)
        if key is None:
            return None
        clock = asyncio.get_running_loop().time
        give_up = clock() + _LONGEST
        while True:
            try:
                return await self.leases.take(key, name)
            except LeaseHeld as held:
                left = give_up - clock()
                if not self._standby or left <= 0:
                    raise SessionInUse(name, held.owner, waits=self._standby) from None
                waits(held.owner)
                await asyncio.sleep(min(max(held.seconds, 0.01), self.leases.seconds / 3, left))

    async def give_back(self, lease: Lease) -> None:
        """The session is disconnected: another may have it at once."""
        try:
            async with asyncio.timeout(_GIVING_BACK):
                await self.leases.release([lease])
        except (StoreError, TimeoutError) as error:
            _log.warning("%s: its lease could not be given back, and ends by itself: %s", lease.name, error)
