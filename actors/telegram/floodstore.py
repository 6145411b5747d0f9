"""Floods and paces in the fleet's store, so that a restart of the process changes nothing.

Invariants:
- A flood that a request meets is in the store before whoever made the request is told, and is read at the start before
  anything is asked of Telegram.
- A pace is written when a flood has slowed it down, and at the fleet's stop: after a crash what was done since is
  forgotten, a window's worth at most, and how slow it is isn't.
- What one fleet or the command line ends there, a running fleet knows within `LOOK_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import msgspec

from telestage.actors.kernel import TaskDetails
from telestage.actors.store import Store, StoreError
from telestage.actors.telegram.floods import PEER_FLOOD
from telestage.actors.telegram.limits import Pace
from telestage.actors.telegram.turnstile import Turnstile
from telestage.messages import FloodStatus

__all__ = ["LOOK_SECONDS", "FloodKeeper", "end_pauses", "floods_in", "open_floods"]

_log = logging.getLogger("telestage.fleet")

LOOK_SECONDS = 2.0
"""While sending is paused until a person resumes it, the store is looked at so often: it may have been done there."""

PART = "floods"
MIGRATIONS = (
    """
    CREATE TABLE floods (
        session TEXT NOT NULL,
        kind TEXT NOT NULL,
        peer INTEGER,               -- NULL: to all
        until REAL,                 -- Unix seconds; NULL: until a person resumes it
        seconds REAL,
        method TEXT NOT NULL,
        seen_at REAL NOT NULL,      -- Unix seconds
        reason TEXT NOT NULL
    );
    CREATE INDEX floods_of ON floods (session);
    CREATE TABLE paces (
        session TEXT NOT NULL,
        pace TEXT NOT NULL,
        peer INTEGER,               -- NULL: to all
        factor REAL NOT NULL,
        saved REAL NOT NULL,        -- Unix seconds
        stamps BLOB NOT NULL        -- MessagePack, Unix seconds
    );
    CREATE INDEX paces_of ON paces (session)
    """,
)

_COLUMNS = "session, kind, peer, until, seconds, method, seen_at, reason"
_PaceRow = tuple[str, int | None, float, float, bytes]
_Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


async def open_floods(store: Store) -> None:
    """Makes the tables.

    Raises:
        StoreError: The store can't be written.
    """
    await store.prepare(PART, MIGRATIONS)


async def floods_in(store: Store) -> list[FloodStatus]:
    """The floods of all sessions that haven't ended, as the store has them."""
    return await store.read(partial(_read, time.time()))


async def end_pauses(store: Store, session: str) -> int:
    """Ends the pauses of a session that only a person ends, and the others that PEER_FLOOD began; says how many."""
    return await store.write(partial(_end_pauses, session))


class FloodKeeper:
    """Keeps the floods and paces of a running fleet.

    Args:
        store: Open, while it is used.
        spawn: Makes a task that is registered.
    """

    def __init__(self, store: Store, spawn: _Spawn) -> None:
        self._store = store
        self._spawn = spawn
        self._writing: dict[asyncio.Task[None], float] = {}
        self._turnstiles: dict[str, Turnstile] = {}
        self._floods: dict[str, list[FloodStatus]] = {}
        self._paces: dict[str, list[_PaceRow]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Reads what the store has.

        Raises:
            StoreError: It can't be read.
        """
        await open_floods(self._store)
        for flood in await floods_in(self._store):
            self._floods.setdefault(flood.session, []).append(flood)
        self._paces = await self._store.read(_read_paces)

    def keep(self, turnstile: Turnstile) -> None:
        """Has a session's turnstile know what the store has, and the store what it meets."""
        name = turnstile.ledger.session
        self._turnstiles[name] = turnstile
        turnstile.ledger.restore(self._floods.pop(name, ()))
        turnstile.ledger.stored = self.written
        turnstile.ledger.on_change = partial(self._changed, turnstile)
        if turnstile.pacer is not None:
            offset = time.time() - time.monotonic()
            for pace, peer, factor, saved, stamps in self._paces.pop(name, ()):
                window = turnstile.pacer.window((Pace(pace), peer), time.monotonic())
                if window.stamps or window.factor(time.monotonic()) < 1.0:
                    continue  # the same fleet once more: it knows better
                times = msgspec.msgpack.decode(stamps, type=list[float])
                window.restore(factor, saved - offset, [stamp - offset for stamp in times])
        self._look_after(turnstile)

    def forget(self, turnstile: Turnstile) -> None:
        """The session is the fleet's no more; the store still knows."""
        name = turnstile.ledger.session
        turnstile.ledger.on_change = turnstile.ledger.stored = None
        if self._turnstiles.pop(name, None) is not None:
            self._floods[name] = turnstile.ledger.now(time.time())  # it may be added again
            self._paces[name] = _rows(turnstile)

    async def written(self) -> None:
        """Returns when what has happened until now is in the store, or couldn't be written."""
        if self._writing:
            await asyncio.wait(set(self._writing))

    async def close(self) -> None:
        """Writes where the paces stand, and waits until all is written."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for turnstile in list(self._turnstiles.values()):
            self._write(partial(_write_paces, turnstile.ledger.session, _rows(turnstile)))
            self.forget(turnstile)
        await asyncio.gather(*self._writing, return_exceptions=True)

    def tasks(self, owner: str) -> Iterator[TaskDetails]:
        """What is being written now (R-T1). It ends by itself, and isn't cancelled: the next process is to know it."""
        for task, began in self._writing.items():
            yield TaskDetails("floods", owner, None, began, task.get_name())

    def _changed(self, turnstile: Turnstile, flood: FloodStatus, begun: bool) -> None:
        self._write(partial(_write_flood if begun else _delete_flood, flood))
        if begun and flood.reason != "SLOWMODE_WAIT":
            # once what slows the pace down has been done, too
            asyncio.get_running_loop().call_soon(self._slowed, turnstile)
        self._look_after(turnstile)

    def _slowed(self, turnstile: Turnstile) -> None:
        if self._turnstiles.get(turnstile.ledger.session) is turnstile:
            self._write(partial(_write_paces, turnstile.ledger.session, _rows(turnstile)))

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        task = asyncio.ensure_future(self._written(work))  # begun at once, and awaited by `close`
        task.set_name("telestage floods")
        self._writing[task] = time.time()
        task.add_done_callback(self._writing.pop)

    async def _written(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            await self._store.write(work)
        except StoreError as error:
            _log.error("a flood could not be stored; this process knows it, the next one won't: %s", error)

    def _look_after(self, turnstile: Turnstile) -> None:
        if self._looking is None and turnstile.ledger.paused:
            self._looking = self._spawn(self._look())

    async def _look(self) -> None:
        """Resumes what was resumed in the store."""
        try:
            while any(turnstile.ledger.paused for turnstile in self._turnstiles.values()):
                await asyncio.sleep(LOOK_SECONDS)
                await asyncio.gather(*self._writing, return_exceptions=True)
                paused = [turnstile for turnstile in self._turnstiles.values() if turnstile.ledger.paused]
                try:
                    known = {flood.session for flood in await floods_in(self._store) if flood.reason == PEER_FLOOD}
                except StoreError as error:
                    _log.warning("the store can't be looked at for whether sending may go on: %s", error)
                    continue
                for turnstile in paused:
                    if turnstile.ledger.session not in known and turnstile.ledger.paused:
                        _log.warning("%s: sending is resumed", turnstile.ledger.session)
                        turnstile.resume()
        finally:
            self._looking = None


def _rows(turnstile: Turnstile) -> list[_PaceRow]:
    if turnstile.pacer is None:
        return []
    now, unix = time.monotonic(), time.time()
    return [
        (
            pace.value,
            peer,
            window.factor(now),
            unix,
            msgspec.msgpack.encode([stamp + unix - now for stamp in window.stamps]),
        )
        for (pace, peer), window in turnstile.pacer.windows.items()
        if not window.is_idle(now)
    ]


def _read(now: float, connection: sqlite3.Connection) -> list[FloodStatus]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM floods WHERE until IS NULL OR until > ? ORDER BY seen_at", (now,)
    )
    names = _COLUMNS.split(", ")
    return [FloodStatus(**dict(zip(names, row, strict=True))) for row in rows]


def _read_paces(connection: sqlite3.Connection) -> dict[str, list[_PaceRow]]:
    found: dict[str, list[_PaceRow]] = {}
    for session, *row in connection.execute("SELECT session, pace, peer, factor, saved, stamps FROM paces"):
        if row[0] in set(Pace):
            found.setdefault(session, []).append((row[0], row[1], row[2], row[3], row[4]))
    return found


def _write_flood(flood: FloodStatus, connection: sqlite3.Connection) -> None:
    _delete_flood(flood, connection)
    connection.execute("DELETE FROM floods WHERE until <= ?", (time.time(),))
    connection.execute(
        f"INSERT INTO floods ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        tuple(getattr(flood, name) for name in _COLUMNS.split(", ")),
    )


def _delete_flood(flood: FloodStatus, connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM floods WHERE session = ? AND kind = ? AND peer IS ? AND (reason = ?) = ?",
        (flood.session, flood.kind, flood.peer, PEER_FLOOD, flood.reason == PEER_FLOOD),
    )


def _end_pauses(session: str, connection: sqlite3.Connection) -> int:
    return connection.execute(
        "DELETE FROM floods WHERE session = ? AND reason = ? AND (until IS NULL OR until > ?)",
        (session, PEER_FLOOD, time.time()),
    ).rowcount


def _write_paces(session: str, rows: list[_PaceRow], connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM paces WHERE session = ?", (session,))
    connection.executemany(
        "INSERT INTO paces (session, pace, peer, factor, saved, stamps) VALUES (?, ?, ?, ?, ?, ?)",
        [(session, *row) for row in rows],
    )
