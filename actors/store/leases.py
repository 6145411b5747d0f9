"""Leases: who may use what, in any process that has the same store.

Invariants:
- At any instant one owner at most may use a key. A holder stops `margin` before its lease ends, by its own look at the
  clock before each use; another one may take the lease when it has ended, not before, unless the holder's process is
  certainly gone.
- Each taking has an epoch, one higher than the one before. What is written under an older one is refused, in the
  transaction that would write it (`Lease.check`).

Time is the machine's monotonic clock, which all its processes share and nobody can set: a wall clock that jumps, or a
process that was stopped for an hour, changes nothing. A restart of the machine sets it back, and with it nobody is left
who could hold a lease: one that was taken at a time which is yet to come is free.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast

import msgspec

from telestage.actors.kernel import TaskDetails
from telestage.actors.store.database import Store
from telestage.actors.store.errors import LeaseHeld, LeaseLost, StoreError
from telestage.actors.store.owner import Owner

__all__ = ["Lease", "LeaseStatus", "Leases", "lease_status", "prepare_leases"]

_log = logging.getLogger("telestage.store")

T = TypeVar("T")

PART = "leases"
MIGRATIONS = (
    """
    CREATE TABLE leases (
        key TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        token TEXT,                 -- NULL: nobody holds it
        owner TEXT NOT NULL,
        place TEXT NOT NULL,
        pid INTEGER NOT NULL,
        born INTEGER NOT NULL,
        since REAL NOT NULL,        -- both on the machine's monotonic clock
        until REAL NOT NULL,
        used REAL NOT NULL          -- Unix seconds, for people
    ) WITHOUT ROWID
    """,
)

_MARGIN = 1 / 6  # of a lease: between the moment its holder stops and the one from which another may take it
_AGAIN = 1 / 12  # of a lease: until a renewal that failed is tried again
_COLUMNS = "name, epoch, token, owner, place, pid, born, since, until, used"


class Lease:
    """The right to use a key, as long as it is `valid`. Made by `Leases.take`."""

    __slots__ = ("_clock", "cuts", "deadline", "epoch", "key", "lost", "name", "on_lapse", "token")

    def __init__(self, key: str, name: str, token: str, clock: Callable[[], float]) -> None:
        self.key = key
        self.name = name
        self.token = token
        self.epoch = 0
        self.deadline = 0.0
        self.lost = False
        self.on_lapse: Callable[[], None] | None = None
        self.cuts: set[Callable[[], None]] = set()
        """What cuts, in the moment in which the lease ends, the connections that the key is used through."""
        self._clock = clock

    @property
    def valid(self) -> bool:
        """Whether the key may be used at this instant. To be asked before each use: a process may have been stopped."""
        return self._clock() < self.deadline

    def check(self, connection: sqlite3.Connection) -> None:
        """In a transaction of the store: that this is still the last epoch, and the lease is held.

        Raises:
            LeaseLost: Somebody else has taken it since, or it was given back.
        """
        row = connection.execute("SELECT token, epoch, owner FROM leases WHERE key = ?", (self.key,)).fetchone()
        if row is None or row[0] != self.token or row[1] != self.epoch:
            raise LeaseLost(self.name, self.epoch, None if row is None or row[0] is None else row[2])


class _Asked(Generic[T]):
    """A piece of work, what came of it, and who waits for that."""

    __slots__ = ("_error", "_result", "_work", "answer")

    def __init__(self, work: Callable[[sqlite3.Connection], T], answer: asyncio.Future[T]) -> None:
        self._work = work
        self._result: T | None = None
        self._error: Exception | None = None
        self.answer = answer

    def do(self, connection: sqlite3.Connection) -> None:
        """In the store's thread. That a lease is held changes nothing in the file, and is this one's trouble alone."""
        try:
            self._result = self._work(connection)
        except LeaseHeld as held:
            self._error = held

    def fail(self, error: Exception) -> None:
        """Nothing of the batch was done."""
        self._error = error

    def settle(self) -> None:
        """Tells who waits; nobody does who was cancelled."""
        if self.answer.done():
            return
        if self._error is not None:
            self.answer.set_exception(self._error)
        else:
            self.answer.set_result(cast("T", self._result))


def _done(batch: Sequence[_Asked[Any]], connection: sqlite3.Connection) -> None:
    for each in batch:
        each.do(connection)


class LeaseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A lease as the store has it."""

    key: str
    name: str
    epoch: int
    owner: str | None
    """Who holds it; None if nobody does."""
    used: float
    """When it was last held, in Unix seconds."""


class Leases:
    """The leases of one owner, and the task that renews them all in one transaction every third of a lease.

    Args:
        store: Open, as long as these are used.
        owner: Who takes them.
        seconds: How long a lease lasts. Hazard of a short one: a process that is held up for so long disconnects. Of a
            long one: a machine that lost its power, or a process that hangs, keeps its sessions for so long.

    Raises:
        ValueError: `seconds` isn't a number from 0.1 to 3600.
    """

    def __init__(
        self, store: Store, owner: Owner, seconds: float = 30.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0.1 <= seconds <= 3600:
            raise ValueError(f"a lease lasts 0.1 to 3600 seconds, not {seconds!r}")
        self.owner = owner
        self.seconds = float(seconds)
        self._store = store
        self._clock = clock
        self._held: dict[str, Lease] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asked: list[_Asked[Any]] = []
        self._writing: asyncio.Task[None] | None = None
        self._began = 0.0

    async def open(self) -> None:
        """Makes the table.

        Raises:
            StoreError: The store can't be written.
        """
        await prepare_leases(self._store)

    async def take(self, key: str, name: str) -> Lease:
        """Takes the lease of `key`, for `name`. One that this name holds and that is valid stays as it is.

        Raises:
            LeaseHeld: Somebody else has it.
            StoreError: The store can't be written.
        """
        held = self._held.get(key)
        if held is not None and held.name != name:
            raise LeaseHeld(name, f"{held.name!r} of the same fleet", self.seconds)
        if held is not None and held.valid and not held.lost:
            return held
        lease = Lease(key, name, self.owner.token, self._clock)
        self._held[key] = lease  # before anything is awaited: nobody else of this fleet comes in between
        try:
            lease.epoch, until = await self._write(partial(self._taken, lease))
        except BaseException:
            if self._held.get(key) is lease:
                del self._held[key]
            raise
        lease.deadline = until - self.seconds * _MARGIN
        self._watch()
        return lease

    async def release(self, leases: Iterable[Lease] | None = None) -> None:
        """Gives leases back, by default all: others may have them at once. What they are for isn't used any more.

        Raises:
            StoreError: The store can't be written; they end by themselves.
        """
        given = [lease for lease in (list(self._held.values()) if leases is None else leases) if not lease.lost]
        for lease in given:
            lease.deadline = 0.0
            lease.lost = True
            if self._held.get(lease.key) is lease:
                del self._held[lease.key]
        if not self._held:
            self._rest()
        if given or leases is None:
            await self._write(partial(self._given_back, given, leases is None))

    async def keep(self) -> None:
        """Renews what is held, until it is cancelled; whatever couldn't be renewed lapses in time."""
        third = self.seconds / 3
        failing = False
        try:
            while True:
                await asyncio.sleep(self.seconds * _AGAIN if failing else third)
                try:
                    await self.renew()
                    failing = False
                except StoreError as error:
                    failing = True
                    _log.warning("leases could not be renewed, trying again: %s", error)
        finally:
            self._rest()

    async def renew(self) -> None:
        """Renews all that is held, in one transaction. What somebody else has taken is lost, and lapses at once.

        Raises:
            StoreError: The store can't be written; nothing was renewed.
        """
        held = [lease for lease in self._held.values() if lease.epoch]
        if not held:
            return
        until, lost = await self._store.write(partial(self._renewed, held))
        for lease in held:
            if self._held.get(lease.key) is not lease:
                continue  # it was given back meanwhile, or taken anew
            if lease in lost:
                self._lapse(lease, lost=True)
            else:
                lease.deadline = until - self.seconds * _MARGIN
        self._watch()

    def tasks(self, owner: str) -> Iterator[TaskDetails]:
        """What is being written now (R-T1). It ends by itself, and isn't cancelled: others wait for what it writes."""
        if self._writing is not None and not self._writing.done():
            yield TaskDetails("leases", owner, None, self._began, self._writing.get_name())

    # -- writing ------------------------------------------------------------------------------------------

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Has `work` done in one transaction with all else that is asked for until the one before is in the file.

        A transaction costs a few milliseconds of the disk: a thousand sessions that start or stop are not to wait for
        a thousand of them.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        asked = _Asked(work, answer)
        self._asked.append(asked)
        if self._writing is None:
            self._writing = loop.create_task(self._write_all(), name="telestage leases")
            self._began = time.time()
        return await answer

    async def _write_all(self) -> None:
        batch: list[_Asked[Any]] = []
        try:
            while self._asked:
                batch, self._asked = self._asked, []
                try:
                    await self._store.write(partial(_done, batch))
                except Exception as error:
                    for each in batch:
                        each.fail(error)
                for each in batch:
                    each.settle()
        finally:
            self._writing = None
            for each in (*batch, *self._asked):  # those that are left: it was cancelled, by the end of its loop
                each.answer.cancel()

    # -- in the store's thread -------------------------------------------------------------------------

    def _taken(self, lease: Lease, connection: sqlite3.Connection) -> tuple[int, float]:
        owner, now = self.owner, self._clock()
        row = connection.execute(f"SELECT {_COLUMNS} FROM leases WHERE key = ?", (lease.key,)).fetchone()
        epoch = 1
        if row is not None:
            _, last, token, text, place, pid, born, since, until, _ = row
            holder = Owner(text, token or "", place, pid, born)
            if token is not None and token != owner.token and since <= now < until and not holder.gone:
                raise LeaseHeld(lease.name, text, until - now)
            epoch = last + 1
        values = (
            lease.name, epoch, owner.token, owner.text, owner.place, owner.pid, owner.born,
            now, now + self.seconds, time.time(),
        )  # fmt: skip
        connection.execute(
            f"INSERT OR REPLACE INTO leases (key, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (lease.key, *values),
        )
        return epoch, now + self.seconds

    def _renewed(self, held: Sequence[Lease], connection: sqlite3.Connection) -> tuple[float, set[Lease]]:
        now = self._clock()
        lost: set[Lease] = set()
        for lease in held:
            done = connection.execute(
                "UPDATE leases SET since = ?, until = ?, used = ? WHERE key = ? AND token = ? AND epoch = ?",
                (now, now + self.seconds, time.time(), lease.key, lease.token, lease.epoch),
            )
            if not done.rowcount:
                lost.add(lease)
        return now + self.seconds, lost

    def _given_back(self, given: Sequence[Lease], all_of_them: bool, connection: sqlite3.Connection) -> None:
        if all_of_them:  # those too whose taking was cancelled when it was under way
            connection.execute(
                "UPDATE leases SET token = NULL, used = ? WHERE token = ?", (time.time(), self.owner.token)
            )
            return
        connection.executemany(
            "UPDATE leases SET token = NULL, used = ? WHERE key = ? AND token = ? AND epoch = ?",
            [(time.time(), lease.key, lease.token, lease.epoch) for lease in given],
        )

    # -- in the loop -------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Looks when the first lease comes to its end. Renewals put that off, and it looks once more then."""
        if self._timer is not None:
            return
        deadlines = [lease.deadline for lease in self._held.values() if lease.epoch and lease.deadline]
        if deadlines:
            wait = max(0.0, min(deadlines) - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._look)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        for lease in list(self._held.values()):
            if lease.epoch and lease.deadline and not lease.valid:
                self._lapse(lease, lost=False)
        self._watch()

    def _lapse(self, lease: Lease, *, lost: bool) -> None:
        why = "somebody else has taken it" if lost else "it could not be renewed in time"
        _log.warning("%s: the lease has ended: %s", lease.name, why)
        lease.deadline = 0.0
        lease.lost = lease.lost or lost
        if lost and self._held.get(lease.key) is lease:
            del self._held[lease.key]
        for cut in list(lease.cuts):
            cut()
        if lease.on_lapse is not None:
            lease.on_lapse()


async def prepare_leases(store: Store) -> None:
    """Makes the table of leases, or brings it up to date."""
    await store.prepare(PART, MIGRATIONS)


def lease_status(connection: sqlite3.Connection) -> dict[str, LeaseStatus]:
    """In a transaction of the store that has leases: all of them, by key."""
    now = time.monotonic()
    found = {}
    for key, *values in connection.execute(f"SELECT key, {_COLUMNS} FROM leases"):
        name, epoch, token, text, place, pid, born, since, until, used = values
        held = token is not None and since <= now < until and not Owner(text, token, place, pid, born).gone
        found[key] = LeaseStatus(key=key, name=name, epoch=epoch, owner=text if held else None, used=used)
    return found
