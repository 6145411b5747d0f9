"""Where updates stand, as a part of the store: tables, and what is written and read at once.

Invariants:
- What one `Batch` says is one transaction: a position never is in the file without the marks it was reached with.
- A mark never goes back, whoever writes it; a position does what its session says.
- `received` is never less than what any mark in the file was received with, so whoever goes on from a position
  knows up to where updates may come a second time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import astuple

from telestage.actors.store import Lease, LeaseLost
from telestage.actors.telegram.checkpoint import Mark

__all__ = ["MIGRATIONS", "PART", "Batch", "MarkRow", "PositionRow", "SeenRow", "Stored", "read", "read_seen", "write"]

PART = "updates"

MIGRATIONS = (
    """
    CREATE TABLE positions (
        session TEXT NOT NULL, entry INTEGER NOT NULL, key TEXT, pts INTEGER NOT NULL, received INTEGER NOT NULL,
        qts INTEGER NOT NULL, date INTEGER NOT NULL, seq INTEGER NOT NULL, last_id INTEGER NOT NULL,
        hash INTEGER, type INTEGER, recent BLOB, PRIMARY KEY (session, entry)
    ) WITHOUT ROWID;
    CREATE TABLE marks (
        session TEXT NOT NULL, monitor TEXT NOT NULL, entry INTEGER NOT NULL, fresh INTEGER NOT NULL,
        number INTEGER NOT NULL, PRIMARY KEY (session, monitor, entry, fresh)
    ) WITHOUT ROWID;
    CREATE TABLE seen (
        monitor TEXT NOT NULL, entry INTEGER NOT NULL, fresh INTEGER NOT NULL, number INTEGER NOT NULL,
        PRIMARY KEY (monitor, entry, fresh, number)
    ) WITHOUT ROWID;
    CREATE TABLE floors (
        monitor TEXT NOT NULL, entry INTEGER NOT NULL, fresh INTEGER NOT NULL, number INTEGER NOT NULL,
        PRIMARY KEY (monitor, entry, fresh)
    ) WITHOUT ROWID;
    """,
)


class PositionRow(msgspec.Struct, frozen=True):
    """Where one entry of a session stands; `entry` is a channel or `ACCOUNT`, which alone has a `key`."""

    session: str
    entry: int
    key: str | None
    pts: int
    received: int
    qts: int
    date: int
    seq: int
    last_id: int
    hash: int | None
    type: int | None
    recent: bytes | None


class MarkRow(msgspec.Struct, frozen=True):
    """The last update of its kind that a monitor is done with."""

    session: str
    monitor: str
    entry: int
    fresh: bool
    number: int


class SeenRow(msgspec.Struct, frozen=True):
    """An update that a monitor of several sessions has had, from whichever it was."""

    monitor: str
    entry: int
    fresh: bool
    number: int


class Batch(msgspec.Struct, frozen=True):
    """What is written at once, but for what belongs to a session whose lease is another's by then."""

    owners: Mapping[str, Lease] = {}
    positions: Sequence[PositionRow] = ()
    marks: Sequence[MarkRow] = ()
    seen: Sequence[SeenRow] = ()
    passed: Sequence[SeenRow] = ()
    """No more in the window of what was seen: all up to there counts as seen."""
    forgotten: Sequence[tuple[str, str]] = ()
    """Monitors that were taken away: session and name."""


class Stored(msgspec.Struct, frozen=True):
    """What is in the file of one session."""

    positions: Sequence[PositionRow]
    marks: dict[str, dict[tuple[int, bool], int]]


_POSITION = """
INSERT INTO positions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (session, entry) DO UPDATE SET
    key = excluded.key, pts = excluded.pts, received = max(received, excluded.received), qts = excluded.qts,
    date = excluded.date, seq = excluded.seq, last_id = excluded.last_id, hash = coalesce(excluded.hash, hash),
    type = coalesce(excluded.type, type), recent = excluded.recent
"""
_MARK = """
INSERT INTO marks VALUES (?, ?, ?, ?, ?)
ON CONFLICT (session, monitor, entry, fresh) DO UPDATE SET number = max(number, excluded.number)
"""
_SEEN = "INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)"
_FLOOR = """
INSERT INTO floors VALUES (?, ?, ?, ?)
ON CONFLICT (monitor, entry, fresh) DO UPDATE SET number = max(number, excluded.number)
"""


def write(connection: sqlite3.Connection, batch: Batch) -> None:
    """Writes a batch, within the transaction of whoever calls it."""
    lost = {session for session, lease in batch.owners.items() if not _owned(connection, lease)}
    if batch.positions:
        connection.executemany(_POSITION, (astuple(row) for row in batch.positions if row.session not in lost))
    if batch.marks:
        connection.executemany(_MARK, (astuple(row) for row in batch.marks if row.session not in lost))
    if batch.seen:
        seen = map(astuple, batch.seen)
        connection.executemany(_SEEN, seen)
    if batch.passed:
        passed = [astuple(row) for row in batch.passed]
        connection.executemany(_FLOOR, passed)
        connection.executemany("DELETE FROM seen WHERE monitor = ? AND entry = ? AND fresh = ? AND number <= ?", passed)
    connection.executemany("DELETE FROM marks WHERE session = ? AND monitor = ?", batch.forgotten)


def _owned(connection: sqlite3.Connection, lease: Lease) -> bool:
    try:
        lease.check(connection)
    except LeaseLost:
        return False
    return True


def settle(connection: sqlite3.Connection, mark: MarkRow, received: int, had: Iterable[Mark] = ()) -> None:
    """Writes that a monitor is done with one update that was received by then, within a transaction of its handler.

    Args:
        had: What it has had with that for all its sessions.
    """
    connection.execute(_MARK, astuple(mark))
    connection.execute(
        "UPDATE positions SET received = max(received, ?) WHERE session = ? AND entry = ?",
        (received, mark.session, mark.entry),
    )
    connection.executemany(_SEEN, [(mark.monitor, *each) for each in had])


def read(connection: sqlite3.Connection, session: str, key: str | None) -> Stored:
    """What is stored of a session. That of another key is of another account, or of a login before: it is let go."""
    rows = [PositionRow(*row) for row in connection.execute("SELECT * FROM positions WHERE session = ?", (session,))]
    others = {row.key for row in rows if row.key is not None}
    if key is not None and others - {key}:
        connection.execute("DELETE FROM positions WHERE session = ?", (session,))
        connection.execute("DELETE FROM marks WHERE session = ?", (session,))
        return Stored([], {})
    marks: dict[str, dict[tuple[int, bool], int]] = {}
    found = connection.execute("SELECT monitor, entry, fresh, number FROM marks WHERE session = ?", (session,))
    for monitor, entry, fresh, number in found:
        marks.setdefault(monitor, {})[entry, bool(fresh)] = number
    return Stored(rows, marks)


def read_seen(connection: sqlite3.Connection, monitor: str) -> tuple[list[Mark], dict[tuple[int, bool], int]]:
    """What a monitor of several sessions has had: the window, and below which number all counts as seen."""
    window = connection.execute(
        "SELECT entry, fresh, number FROM seen WHERE monitor = ? ORDER BY fresh, number", (monitor,)
    )
    floors = connection.execute("SELECT entry, fresh, number FROM floors WHERE monitor = ?", (monitor,))
    return (
        [(entry, bool(fresh), number) for entry, fresh, number in window],
        {(entry, bool(fresh)): number for entry, fresh, number in floors},
    )
