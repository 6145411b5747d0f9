"""Many sessions in one store: their keys sealed, where their updates stand, and the peers they know.

Invariants:
- An authorization key is in the file sealed only (`Vault`); its fingerprint tells nothing of it.
- What a session writes under a lease is written in the transaction that checks the lease.
- At most `ENTITIES` peers a session are kept, those seen last: id, access hash and username. Phone numbers and names of
  people are not.
"""

from __future__ import annotations

import datetime
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from telethon.sessions.abstract import Session
from telethon.tl.types.updates import State

from telestage.actors.store import Lease, LeaseStatus, Store, Vault, lease_status
from telestage.actors.store.database import overwriting
from telestage.actors.store.leases import prepare_leases
from telestage.actors.telegram.entities import Row
from telestage.actors.telegram.errors import SessionNotStored
from telestage.actors.telegram.fingerprint import fingerprint, is_fingerprint

__all__ = [
    "ENTITIES",
    "SessionListing",
    "SessionRecord",
    "SessionStore",
    "list_sessions",
    "prepare_sessions",
    "sealed_for",
    "states_of",
]

ENTITIES = 5000

PART = "sessions"
MIGRATIONS = (
    """
    CREATE TABLE sessions (
        name TEXT PRIMARY KEY,
        dc INTEGER NOT NULL,
        server TEXT,
        port INTEGER,
        key BLOB NOT NULL,          -- sealed
        fingerprint TEXT NOT NULL,
        user_id INTEGER,
        added REAL NOT NULL         -- Unix seconds
    ) WITHOUT ROWID;
    CREATE TABLE session_states (
        session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
        entry INTEGER NOT NULL,
        pts INTEGER NOT NULL,
        qts INTEGER NOT NULL,
        date INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (session, entry)
    ) WITHOUT ROWID;
    CREATE TABLE session_entities (
        session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
        id INTEGER NOT NULL,
        hash INTEGER NOT NULL,
        username TEXT,
        seen REAL NOT NULL,
        PRIMARY KEY (session, id)
    ) WITHOUT ROWID;
    CREATE INDEX session_entities_by_username ON session_entities (session, username);
    CREATE INDEX session_entities_by_age ON session_entities (session, seen);
    """,
)


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it is stored, its key opened. Its repr shows no secret."""

    name: str
    dc: int
    server: str | None
    port: int | None
    key: bytes
    user_id: int | None
    states: dict[int, Any]
    """Telethon's `updates.State`, by channel or 0."""

    def __repr__(self) -> str:
        return f"SessionRecord(name={self.name!r}, dc={self.dc})"


class SessionListing(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it is listed; reading it takes no key."""

    name: str
    stored: bool
    """Whether its key is in the store, or it was only leased there."""
    user_id: int | None
    dc: int | None
    owner: str | None
    """Who has it now."""
    epoch: int
    """How often it was taken."""
    used: float | None
    """When it was last held, in Unix seconds."""


class SessionStore:
    """The sessions of an open store."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def open(self) -> None:
        """Makes the tables, and makes sure that the key is the store's.

        Raises:
            StoreKeyError: It is another store's.
            StoreError: The store can't be written.
        """
        await self._vault.unlock(self._store)
        await prepare_sessions(self._store)

    async def put(self, name: str, session: Session, *, replace: bool = False, entities: Sequence[Row] = ()) -> None:
        """Keeps a session under a name, with where its updates stand and the peers it knows.

        Raises:
            ValueError: It isn't signed in, or there is one of that name and `replace` is false.
            StoreKeyError: The store was sealed anew since it was opened.
            StoreError: The store can't be written.
        """
        opened: Any = session
        mark = fingerprint(session)
        if mark is None:
            raise ValueError(f"session {name!r} has no key: it is not signed in yet")
        states = states_of(session)
        user_id = next((hash for id, hash, _ in entities if id == 0), None)
        sealed = self._vault.seal(opened.auth_key.key, sealed_for(name))
        row = (name, opened.dc_id, opened.server_address, opened.port, sealed, mark, user_id, time.time())

        def put(connection: sqlite3.Connection) -> None:
            self._vault.check(connection)
            known = connection.execute("SELECT 1 FROM sessions WHERE name = ?", (name,)).fetchone()
            if known and not replace:
                raise ValueError(f"the store has a session {name!r} already; remove it, or replace it")
            connection.execute("DELETE FROM sessions WHERE name = ?", (name,))
            connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            _write(connection, name, states, entities)

        await self._store.write(put)

    async def get(self, name: str) -> SessionRecord:
        """The session of that name.

        Raises:
            SessionNotStored: There is none.
            StoreKeyError: It was sealed with another key.
        """
        row, states, names = await self._store.read(partial(_read, name))
        if row is None:
            raise SessionNotStored(name, names)
        dc, server, port, sealed, user_id = row
        key = self._vault.open(sealed, sealed_for(name))
        return SessionRecord(name=name, dc=dc, server=server, port=port, key=key, user_id=user_id, states=states)

    async def remove(self, name: str) -> None:
        """Forgets a session, its states and its peers.

        Raises:
            SessionNotStored: There is none.
        """

        def remove(connection: sqlite3.Connection) -> bool:
            with overwriting(connection):
                return connection.execute("DELETE FROM sessions WHERE name = ?", (name,)).rowcount > 0

        if not await self._store.write(remove):
            raise SessionNotStored(name, [])

    async def note(
        self, name: str, lease: Lease | None, states: Mapping[int, Any], entities: Sequence[Row], user_id: int | None
    ) -> None:
        """Writes what has changed.

        Raises:
            LeaseLost: Somebody else has the session; nothing was written.
        """

        def note(connection: sqlite3.Connection) -> None:
            if lease is not None:
                lease.check(connection)
            if connection.execute("SELECT 1 FROM sessions WHERE name = ?", (name,)).fetchone() is None:
                return  # it was removed
            if user_id is not None:
                connection.execute("UPDATE sessions SET user_id = ? WHERE name = ?", (user_id, name))
            _write(connection, name, states, entities)

        await self._store.write(note)

    async def note_key(self, name: str, lease: Lease | None, session: Session) -> None:
        """Writes the key and the data centre, which change when Telegram moves the account.

        Raises:
            LeaseLost: Somebody else has the session; nothing was written.
            StoreKeyError: The store was sealed anew since it was opened; nothing was written.
        """
        opened: Any = session
        mark = fingerprint(session)
        if mark is None:
            return  # between two keys
        sealed = self._vault.seal(opened.auth_key.key, sealed_for(name))
        row = (opened.dc_id, opened.server_address, opened.port, sealed, mark, name)

        def note(connection: sqlite3.Connection) -> None:
            if lease is not None:
                lease.check(connection)
            self._vault.check(connection)
            connection.execute(
                "UPDATE sessions SET dc = ?, server = ?, port = ?, key = ?, fingerprint = ? WHERE name = ?", row
            )

        await self._store.write(note)

    async def peers(self, name: str, ids: Sequence[int], username: str | None) -> list[Row]:
        """The stored peers of a session that have one of these ids, or that username."""

        def find(connection: sqlite3.Connection) -> list[Row]:
            if username is not None:
                asked = "session = ? AND username = ?"
                values: tuple[object, ...] = (name, username)
            else:
                asked = f"session = ? AND id IN ({', '.join('?' * len(ids))})"
                values = (name, *ids)
            return list(connection.execute(f"SELECT id, hash, username FROM session_entities WHERE {asked}", values))

        return await self._store.read(find)


async def prepare_sessions(store: Store) -> None:
    """Makes the tables of the sessions, or brings them up to date.

    Raises:
        StoreError: The store can't be written.
    """
    await store.prepare(PART, MIGRATIONS)


def sealed_for(name: str) -> str:
    """What a session's key is sealed for: it can be opened as that of no other session."""
    return f"session {name}"


async def list_sessions(store: Store) -> list[SessionListing]:
    """All sessions that the store has, or that were leased in it, by name. Takes no key.

    Raises:
        StoreError: The store can't be read.
    """

    def find(connection: sqlite3.Connection) -> tuple[list[Any], dict[str, LeaseStatus]]:
        rows = connection.execute("SELECT name, user_id, dc, fingerprint FROM sessions").fetchall()
        return rows, lease_status(connection)

    await prepare_sessions(store)
    await prepare_leases(store)
    rows, leases = await store.read(find)
    marks = {mark for *_, mark in rows}
    listed = [_listing(name, leases.get(mark), stored=True, user_id=user_id, dc=dc) for name, user_id, dc, mark in rows]
    # jobs are leased in the same table, under keys of another form
    others = [lease for key, lease in leases.items() if key not in marks and is_fingerprint(key)]
    listed += [_listing(lease.name, lease, stored=False, user_id=None, dc=None) for lease in others]
    return sorted(listed, key=lambda each: each.name)


def states_of(session: Session) -> dict[int, Any]:
    """Where a session's updates stand: Telethon's states, by channel or 0."""
    opened: Any = session
    return dict(opened.get_update_states())


def _listing(
    name: str, lease: LeaseStatus | None, *, stored: bool, user_id: int | None, dc: int | None
) -> SessionListing:
    return SessionListing(
        name=name,
        stored=stored,
        user_id=user_id,
        dc=dc,
        owner=None if lease is None else lease.owner,
        epoch=0 if lease is None else lease.epoch,
        used=None if lease is None else lease.used,
    )


def _read(name: str, connection: sqlite3.Connection) -> tuple[Any, dict[int, Any], list[str]]:
    row = connection.execute("SELECT dc, server, port, key, user_id FROM sessions WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None, {}, [each for (each,) in connection.execute("SELECT name FROM sessions ORDER BY name LIMIT 10")]
    states = {}
    asked = "SELECT entry, pts, qts, date, seq FROM session_states WHERE session = ?"
    for entry, pts, qts, date, seq in connection.execute(asked, (name,)):
        states[entry] = State(pts, qts, datetime.datetime.fromtimestamp(date, datetime.UTC), seq, unread_count=0)
    return row, states, []


def _write(connection: sqlite3.Connection, name: str, states: Mapping[int, Any], entities: Sequence[Row]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO session_states VALUES (?, ?, ?, ?, ?, ?)",
        [(name, entry, s.pts, s.qts, int(s.date.timestamp()), s.seq) for entry, s in states.items()],
    )
    if not entities:
        return
    now = time.time()
    connection.executemany(
        "INSERT OR REPLACE INTO session_entities VALUES (?, ?, ?, ?, ?)",
        [(name, id, hash, username, now) for id, hash, username in entities],
    )
    connection.execute(
        "DELETE FROM session_entities WHERE session = ? AND id != 0 AND id IN "
        "(SELECT id FROM session_entities WHERE session = ? ORDER BY seen DESC LIMIT -1 OFFSET ?)",
        (name, name, ENTITIES),
    )
