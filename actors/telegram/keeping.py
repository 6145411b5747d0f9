"""Has the store know where updates stand, soon after handlers are done with them.

Invariants:
- What handlers were done with begins to be written no later than `FLUSH_SECONDS` after it, or after the one write that
  may be under way by then; sooner, if there is more of it than `MOST`. Nothing is written while nothing moves.
- One write at a time for the whole fleet, and each one transaction. One that fails loses nothing: it is made again.

Several monitors that wait for their marks wait for the same write.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from telestage.actors.store import Lease, Store, StoreError
from telestage.actors.telegram.checkpoint import ACCOUNT, Account, Channel, Checkpoint, Mark, Received, Recent
from telestage.actors.telegram.once import Once
from telestage.actors.telegram.positions import (
    MIGRATIONS,
    PART,
    Batch,
    MarkRow,
    PositionRow,
    SeenRow,
    Stored,
    read,
    read_seen,
    write,
)

__all__ = ["FLUSH_SECONDS", "Keeper", "SessionKeeping"]

_log = logging.getLogger("telestage.fleet")

FLUSH_SECONDS = 0.02
"""From the first change to its write: what comes meanwhile goes with it."""

MOST = 500
"""Changes that aren't waited with."""

_AGAIN_SECONDS = 1.0  # before a write is made again that failed
_CLOSE_SECONDS = 5.0

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Keeper:
    """Writes for all sessions of a fleet.

    Args:
        store: Open, while it is used.
        spawn: Makes a task that is registered.
    """

    def __init__(self, store: Store, spawn: Spawn) -> None:
        self._store = store
        self._spawn = spawn
        self._moved: dict[tuple[str, int], SessionKeeping] = {}
        self._marks: dict[tuple[str, str, int, bool], int] = {}
        self._seen: dict[tuple[str, Mark], None] = {}
        self._floors: dict[tuple[str, int, bool], int] = {}
        self._forgotten: dict[tuple[str, str], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._next: asyncio.Future[None] | None = None
        self._closed = False

    async def open(self, shared: Iterable[Once] = ()) -> None:
        """Makes its tables, and reads what the monitors of several sessions have had.

        Raises:
            StoreError: The file can't be read or written.
        """
        await self._store.prepare(PART, MIGRATIONS)
        for once in shared:
            await self.resume(once)

    async def resume(self, once: Once) -> None:
        """Has a monitor of several sessions know what it has had, and what it has from now on written."""
        window, floors = await self._store.read(partial(read_seen, monitor=once.name))
        once.resume(window, floors)
        once.on_seen = self.seen
        once.on_passed = self.passed

    async def read(self, session: str, key: str | None) -> Stored:
        """What is stored of a session."""
        return await self._store.write(partial(read, session=session, key=key))

    # -- what is to be written -------------------------------------------------------------------------

    def moved(self, keeping: SessionKeeping, entry: int) -> None:
        """One entry of a session stands elsewhere."""
        self._moved[keeping.session, entry] = keeping
        self._wake()

    def ended(self, session: str, monitor: str, mark: Mark) -> None:
        """A monitor is done with an update."""
        entry, fresh, number = mark
        self._marks[session, monitor, entry, fresh] = number
        self._wake()

    def forget(self, session: str, monitor: str) -> None:
        """A monitor was taken away."""
        for key in [key for key in self._marks if key[:2] == (session, monitor)]:
            del self._marks[key]
        self._forgotten[session, monitor] = None
        self._wake()

    def seen(self, monitor: str, mark: Mark) -> None:
        """A monitor of several sessions is done with an update."""
        self._seen[monitor, mark] = None
        self._wake()

    def passed(self, monitor: str, mark: Mark) -> None:
        """Its window has no room for this one any more."""
        entry, fresh, number = mark
        self._floors[monitor, entry, fresh] = number
        self._wake()

    # -- writing ---------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Returns when all that was noted by now is in the file.

        Raises:
            StoreError: It could not be written, and will be tried again.
        """
        if not self._due:
            if self._writing is not None:  # it may have taken what is meant
                await asyncio.shield(self._writing)
            if not self._due:
                return
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        written = self._next
        self._begin()
        await asyncio.shield(written)

    async def close(self) -> None:
        """Writes what is left, for up to 5 s, and ends. What can't be written then is told in an ERROR."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._writing is not None:
                    await asyncio.wait({self._writing})
                while self._due:
                    await self._write(self._take())
        except (StoreError, TimeoutError) as error:
            _log.error("where updates stand could not be stored; what came last comes a second time: %s", error)

    @property
    def _due(self) -> bool:
        return bool(self._moved or self._marks or self._seen or self._floors or self._forgotten)

    def _wake(self) -> None:
        if self._writing is not None or self._closed:
            return
        if len(self._marks) + len(self._moved) + len(self._seen) >= MOST:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is None and not self._closed:
            self._writing = self._spawn(self._work())

    async def _work(self) -> None:
        pause = FLUSH_SECONDS
        try:
            await self._write(self._take())
        except StoreError as error:
            pause = _AGAIN_SECONDS
            _log.warning("where updates stand could not be stored, trying again in %g s: %s", pause, error)
        finally:
            self._writing = None
            if self._due and not self._closed:
                if self._next is not None and pause < _AGAIN_SECONDS:
                    self._begin()
                elif self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(pause, self._begin)

    async def _write(self, batch: Batch) -> None:
        waiting, self._next = self._next, None
        try:
            await self._store.write(partial(write, batch=batch))
        except BaseException as error:
            self._put_back(batch)
            if waiting is not None and not waiting.done():
                interrupted = StoreError(self._store.path, "the fleet stopped in the middle of a write")
                waiting.set_exception(error if isinstance(error, StoreError) else interrupted)
                waiting.exception()  # looked at: nobody needs to wait for it
            raise
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _take(self) -> Batch:
        moved, self._moved = self._moved, {}
        marks, self._marks = self._marks, {}
        seen, self._seen = self._seen, {}
        floors, self._floors = self._floors, {}
        forgotten, self._forgotten = self._forgotten, {}
        self._taken = moved
        rows = [keeping.row(entry) for (_, entry), keeping in moved.items()]
        owners = {keeping.session: keeping.lease for keeping in moved.values() if keeping.lease is not None}
        return Batch(
            owners=owners,
            positions=[row for row in rows if row is not None],
            marks=[MarkRow(*key, number) for key, number in marks.items()],
            seen=[SeenRow(monitor, *mark) for monitor, mark in seen],
            passed=[SeenRow(*key, number) for key, number in floors.items()],
            forgotten=list(forgotten),
        )

    def _put_back(self, batch: Batch) -> None:
        """What has come since then is newer."""
        self._moved = {**self._taken, **self._moved}
        marks = {(row.session, row.monitor, row.entry, row.fresh): row.number for row in batch.marks}
        self._marks = {**marks, **self._marks}
        self._seen = {**{(row.monitor, (row.entry, row.fresh, row.number)): None for row in batch.seen}, **self._seen}
        self._floors = {**{(row.monitor, row.entry, row.fresh): row.number for row in batch.passed}, **self._floors}
        self._forgotten = {**dict.fromkeys(batch.forgotten), **self._forgotten}


class SessionKeeping:
    """What a session has to do with it.

    Args:
        keeper: Of the fleet.
        session: Its name.
    """

    __slots__ = ("_checkpoint", "_epoch", "_key", "keeper", "lease", "session")

    def __init__(self, keeper: Keeper, session: str) -> None:
        self.keeper = keeper
        self.session = session
        self.lease: Lease | None = None
        self._epoch = 0
        self._key: str | None = None
        self._checkpoint = Checkpoint()

    def owned_by(self, lease: Lease | None) -> bool:
        """Whether it goes on under this lease, which nobody else had meanwhile."""
        return lease is None or (self.lease is lease and self._epoch == lease.epoch)

    async def begin(
        self, checkpoint: Checkpoint, key: str | None, lease: Lease | None
    ) -> dict[str, dict[tuple[int, bool], int]]:
        """Has a checkpoint go on where the file says, and what moves it written; returns the marks by monitor.

        Args:
            key: What tells the login, for another's position is of no use. None: not known yet.
            lease: Of the session. Nothing is written of it when that is another's.

        Raises:
            StoreError: The file can't be read.
        """
        stored = await self.keeper.read(self.session, key)
        self._key = key
        self.lease = lease
        self._epoch = 0 if lease is None else lease.epoch
        self._checkpoint = checkpoint
        checkpoint.resume(*_received(stored))
        checkpoint.on_move = self._moved
        return stored.marks

    def ended(self, monitor: str, mark: Mark) -> None:
        """A monitor is done with an update."""
        self.keeper.ended(self.session, monitor, mark)
        self.keeper.moved(self, mark[0])  # up to where things were received goes with it

    def forget(self, monitor: str) -> None:
        """A monitor was taken away."""
        self.keeper.forget(self.session, monitor)

    def row(self, entry: int) -> PositionRow | None:
        """What is to be written of an entry; None if nothing is known of it."""
        checkpoint = self._checkpoint
        high = checkpoint.high.get(entry, 0)
        if entry == ACCOUNT:
            at = checkpoint.account
            if at is None:
                return None
            return PositionRow(
                session=self.session,
                entry=entry,
                key=self._key,
                pts=at.pts,
                received=max(high, at.pts),
                qts=at.qts,
                date=int(at.date.timestamp()),
                seq=at.seq,
                last_id=at.last_id,
                hash=None,
                type=None,
                recent=at.recent.packed(),
            )
        channel = checkpoint.channels.get(entry)
        if channel is None:
            return None
        hash, type = checkpoint.hash_of(entry) or (None, None)
        return PositionRow(
            session=self.session,
            entry=entry,
            key=None,
            pts=channel.pts,
            received=max(high, channel.pts),
            qts=0,
            date=0,
            seq=0,
            last_id=channel.last_id,
            hash=hash,
            type=None if type is None else int(type),
            recent=channel.recent.packed(),
        )

    def _moved(self, entries: Iterable[int]) -> None:
        for entry in entries:
            self.keeper.moved(self, entry)


def _received(stored: Stored) -> tuple[Received | None, dict[int, int]]:
    """Where a session goes on, and up to where what comes may have come before."""
    high = {row.entry: row.received for row in stored.positions}
    recent = {row.entry: Recent.unpacked(row.recent) for row in stored.positions if row.recent}
    last_ids = {row.entry: row.last_id for row in stored.positions if row.last_id}
    of_channels = [row for row in stored.positions if row.entry != ACCOUNT]
    channels = {row.entry: Channel(row.pts, row.last_id, recent.get(row.entry, Recent())) for row in of_channels}
    hashes = {row.entry: (row.hash, row.type) for row in of_channels if row.hash is not None and row.type is not None}
    for row in stored.positions:
        if row.entry == ACCOUNT:
            date = datetime.datetime.fromtimestamp(row.date, datetime.UTC)
            account = Account(row.pts, row.qts, date, row.seq)
            return Received(account, channels, last_ids, hashes, recent), high
    return None, high
