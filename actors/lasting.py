"""What of a fleet outlives its process: the sessions' leases, their floods, and where their updates stand.

Invariant: all of it is in the fleet's store; without a store nothing is kept, and nothing here does anything.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from telestage.actors.kernel import TaskDetails, TaskRegistry
from telestage.actors.store import Store, StoreError
from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.floodstore import FloodKeeper
from telestage.actors.telegram.keeping import Keeper, SessionKeeping
from telestage.actors.telegram.once import Once
from telestage.actors.telegram.owning import Ownership, Owning
from telestage.actors.telegram.stored import StoredSession

__all__ = ["Lasting"]

_log = logging.getLogger("telestage.fleet")


class Lasting:
    """The store of a fleet, and what its sessions keep there while it runs.

    Args:
        store: Opened here unless somebody else has; None keeps nothing.
        key: Of the store's sealed sessions. Default: TELESTAGE_STORE_KEY of the environment.
    """

    def __init__(self, store: Store | None, key: str | None, ownership: Ownership) -> None:
        self.store = store
        self.owning: Owning | None = None
        """While the store is open."""
        self._key = key
        self._ownership = ownership
        self._ours = False  # it was opened here
        self._keeper: Keeper | None = None
        self._floods: FloodKeeper | None = None

    async def open(self, books: Iterable[SessionBook]) -> None:
        """Opens the store, unless somebody else has.

        Raises:
            StoreError: It can't be used.
            StoreKeyError: One of the sessions is stored, and can't be opened with the key.
        """
        if self.store is None:
            return
        if not self.store.is_open:
            self._ours = True
            await self.store.open()
        self.owning = Owning(self.store, self._ownership, self._key)
        await self.owning.leases.open()
        if any(isinstance(book.session, StoredSession) for book in books):
            await self.owning.unlock()  # a wrong key is no single session's trouble

    async def start(self, tasks: TaskRegistry, shared: Iterable[Once]) -> None:
        """Renews leases, and writes what is noted, from now on.

        Args:
            shared: What monitors have had that get each event once from all their sessions.
        """
        if self.store is None or self.owning is None:
            return
        tasks.add_source(self.tasks)
        tasks.spawn(self.owning.leases.keep(), type="leases", owner="fleet")
        keeper = Keeper(self.store, lambda work: tasks.spawn(work, type="storing", owner="fleet"))
        await keeper.open(shared)
        self._keeper = keeper
        floods = FloodKeeper(self.store, lambda work: tasks.spawn(work, type="floods", owner="fleet"))
        await floods.open()
        self._floods = floods

    def tasks(self) -> Iterator[TaskDetails]:
        """What writes into the store now, beside the tasks that are registered as such (R-T1)."""
        if self.owning is not None:
            yield from self.owning.leases.tasks("fleet")
        if self._floods is not None:
            yield from self._floods.tasks("fleet")

    def keep(self, book: SessionBook) -> None:
        """Has a session leased, and where its updates stand, and its floods, stored."""
        book.owning = self.owning
        book.keeping = None if self._keeper is None else SessionKeeping(self._keeper, book.name)
        if self._floods is not None:
            self._floods.keep(book.turnstile)

    def forget(self, book: SessionBook) -> None:
        """The session was taken out of the fleet."""
        if self._floods is not None:
            self._floods.forget(book.turnstile)

    async def resume(self, once: Once | None) -> None:
        """Has monitors that share their events know which of them an earlier process has had."""
        if once is not None and self._keeper is not None:
            await self._keeper.resume(once)

    def check_durable(self, durable: object) -> None:
        """Refuses what asks for a store where there is none."""
        if durable != "soon" and self.store is None:
            raise ValueError(f"durable={durable!r} is about the fleet's store, and it has none: Fleet(..., store=...)")

    async def settle(self) -> None:
        """Writes what was noted; the sessions have ended."""
        if self._keeper is not None:
            await self._keeper.close()
        if self._floods is not None:
            await self._floods.close()
        self._keeper = self._floods = None

    async def close(self) -> None:
        """Gives the leases back, and closes the store if it was opened here."""
        if self.owning is not None and self.store is not None and self.store.is_open:
            try:
                await self.owning.leases.release()  # of those that were left behind, too: they are disconnected
            except StoreError as error:
                _log.warning("leases could not be given back, and end by themselves: %s", error)
        self.owning = None
        if self.store is not None and self._ours:
            self._ours = False
            await self.store.close()
