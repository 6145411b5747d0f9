"""The tables of jobs in the store.

Invariant: a message of a bulk send has its session and its random_id in them before anything of the job is begun.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from telestage.actors.jobs.errors import JobUnknown
from telestage.actors.store import Store
from telestage.actors.store.leases import MIGRATIONS as LEASE_MIGRATIONS
from telestage.actors.store.leases import PART as LEASES
from telestage.messages import Peer

__all__ = ["ACTIVE", "FAILED", "SENT", "job_row", "lease_key", "open_tables", "unpacked_peer"]

ACTIVE = "active"
"""The state, in the store, of a job that is to be done; `waiting` or `running` to people."""

SENT, FAILED = 1, 2
"""The states of a message that waits no more."""

PART = "jobs"

MIGRATIONS = (
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT UNIQUE,
        kind TEXT NOT NULL,
        work BLOB NOT NULL,            -- MessagePack, as all blobs here
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        done INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        total INTEGER,
        truncated INTEGER NOT NULL DEFAULT 0,
        output TEXT,
        checkpoint BLOB,
        created REAL NOT NULL,         -- Unix seconds
        changed REAL NOT NULL
    );
    CREATE TABLE job_messages (
        job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
        place INTEGER NOT NULL,
        session TEXT NOT NULL,
        peer BLOB NOT NULL,
        random_id INTEGER NOT NULL,
        state INTEGER NOT NULL DEFAULT 0,  -- 0 waits, 1 delivered, 2 failed
        message_id INTEGER,
        error TEXT,
        PRIMARY KEY (job, place)
    ) WITHOUT ROWID;
    CREATE INDEX job_messages_waiting ON job_messages (job, session, place) WHERE state = 0;
    CREATE TABLE job_members (
        job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
        member INTEGER NOT NULL,
        PRIMARY KEY (job, member)
    ) WITHOUT ROWID;
    """,
)


def lease_key(job: int) -> str:
    """The key of the lease on a job."""
    return f"job:{job}"


async def open_tables(store: Store) -> None:
    """Makes the tables.

    Raises:
        StoreError: The store can't be written.
    """
    await store.prepare(LEASES, LEASE_MIGRATIONS)  # a store that no fleet has used yet has none
    await store.prepare(PART, MIGRATIONS)


def job_row(connection: sqlite3.Connection, job: int, columns: str) -> tuple[Any, ...]:  # of whatever they are
    """Columns of one job.

    Raises:
        JobUnknown: There is none of that id.
    """
    row = connection.execute(f"SELECT {columns} FROM jobs WHERE id = ?", (job,)).fetchone()
    if row is None:
        raise JobUnknown(job)
    return tuple(row)


def unpacked_peer(blob: bytes) -> Peer:
    """A recipient, from the store."""
    peer: Peer = msgspec.msgpack.decode(blob)
    return peer
