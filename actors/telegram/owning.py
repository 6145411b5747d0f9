"""One owner: a session of a fleet with a store is used under a lease, which no other process has meanwhile (R-X6).

Invariant: what is leased is the authorization key, whatever the session is called and wherever it is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
from telethon.sessions.abstract import Session

from telestage.actors.store import Lease, LeaseHeld, Leases, Owner, Store, StoreError, Vault
from telestage.actors.telegram.entities import EntityCache
from telestage.actors.telegram.errors import SessionInUse
from telestage.actors.telegram.fingerprint import fingerprint
from telestage.actors.telegram.sessionstore import SessionStore
from telestage.actors.telegram.stored import StoredSession

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


class Owning:
    """The leases of one running fleet."""

    def __init__(self, store: Store, ownership: Ownership, store_key: str | None = None) -> None:
        self._store = store
        self._store_key = store_key
        self._sessions: SessionStore | None = None
        self._cache = EntityCache()
        self.leases = Leases(store, Owner.here(ownership.owner), ownership.lease)
        self._standby = ownership.standby

    async def unlock(self) -> SessionStore:
        """The store's sessions; the first time its key is looked at.

        Raises:
            StoreKeyError: There is no key, or it is another store's.
            StoreError: The store can't be written.
        """
        if self._sessions is None:
            sessions = SessionStore(self._store, Vault.of(self._store_key))
            await sessions.open()
            self._sessions = sessions
        return self._sessions

    async def take(self, name: str, session: Session, waits: Callable[[str], None]) -> Lease | None:
        """Takes the lease of a session; None for one that has no key yet.

        Args:
            waits: Is told by whom the session is used, before it is waited for.

        Raises:
            SessionInUse: Somebody else has it; with `standby`, still after a minute.
            SessionNotStored: It is to come from the store, which has none of that name.
            StoreKeyError: It can't be opened.
            StoreError: The store can't be written.
        """
        if not isinstance(session, StoredSession):
            return await self._take(name, session, waits)
        sessions = await self.unlock()
        if session.held:
            return session.lease  # its last client was left in this process, under the same lease
        await session.load(sessions, self._cache)
        lease = await self._take(name, session, waits)
        await session.load(sessions, self._cache)  # once more: who had it until now may have written
        session.hold(lease)
        return lease

    async def _take(self, name: str, session: Session, waits: Callable[[str], None]) -> Lease | None:
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
