"""The jobs in the store.

Invariants:
- A message of a bulk send has its session and its random_id in the store before anything of the job is begun, and
  keeps both for good.
- Who works on a job holds its lease; each of its writes checks that, in the same transaction.
- What a person wants (pause, cancel) may be written by anybody at any time; who works on the job finds it there.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from telestage.actors.jobs.errors import JobConflict, JobError, JobUnknown
from telestage.actors.jobs.values import (
    BulkWork,
    Checkpoint,
    JobKind,
    JobState,
    JobStatus,
    Work,
    packed,
    unpacked,
)
from telestage.actors.store import Lease, Store, lease_status
from telestage.actors.store.leases import MIGRATIONS as LEASE_MIGRATIONS
from telestage.actors.store.leases import PART as LEASES
from telestage.messages import Peer

__all__ = ["JobLedger", "Outcome", "StoredJob", "Waiting", "lease_key"]

_ACTIVE = "active"  # in the store; `waiting` or `running` to people
_WAITING, _SENT, _FAILED = 0, 1, 2

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

_COLUMNS = "id, key, kind, state, done, failed, total, reason, truncated, output, created, changed"


class Waiting(msgspec.Struct, frozen=True):
    """A message of a bulk send that isn't delivered yet."""

    place: int
    peer: Peer
    random_id: int


class Outcome(msgspec.Struct, frozen=True):
    """What became of one: delivered (the id, if Telegram told it), or not, for this error."""

    place: int
    message_id: int | None
    error: str | None


class StoredJob(msgspec.Struct, frozen=True):
    """A job as who works on it needs it."""

    id: int
    work: Work
    checkpoint: Checkpoint


def lease_key(job: int) -> str:
    """The key of the lease on a job."""
    return f"job:{job}"


class JobLedger:
    """The jobs in one store, which is open as long as this is used."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self) -> None:
        """Makes the tables.

        Raises:
            StoreError: The store can't be written.
        """
        await self._store.prepare(LEASES, LEASE_MIGRATIONS)  # a store that no fleet has used yet has none
        await self._store.prepare("jobs", MIGRATIONS)

    # -- what people do ------------------------------------------------------------------------------

    async def add(
        self,
        work: Work,
        *,
        key: str | None,
        assigned: Callable[[], Sequence[tuple[Peer, str]]] = lambda: (),
        check: Callable[[], None] = lambda: None,
    ) -> tuple[int, bool]:
        """Stores a job, or finds the one that has this key; gives its id and whether it is new.

        Args:
            assigned: The recipients of a bulk send, with the session of each. Asked for a new job only, as is
            check: Raises if there can be no such job.

        Raises:
            JobConflict: The key is that of other work, or another job writes to the same file.
        """
        kind = JobKind(str(work.__struct_config__.tag))  # its tag is the kind
        blob = packed(work)
        output = None if isinstance(work, BulkWork) else work.to

        def add(connection: sqlite3.Connection) -> tuple[int, bool]:
            if key is not None:
                row = connection.execute("SELECT id, work FROM jobs WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    if row[1] != blob:
                        raise JobConflict(row[0], f"has the key {key!r}, and its work is another")
                    return row[0], False
            if output is not None:
                row = connection.execute(
                    "SELECT id FROM jobs WHERE output = ? AND state IN ('active', 'paused', 'failed')", (output,)
                ).fetchone()
                if row is not None:
                    raise JobConflict(row[0], f"writes to {output}: name another file, or cancel that job")
            check()
            messages = assigned()
            now = time.time()
            total = len(messages) if isinstance(work, BulkWork) else work.limit
            job = connection.execute(
                "INSERT INTO jobs (key, kind, work, state, total, output, created, changed)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (key, kind.value, blob, _ACTIVE, total, output, now, now),
            ).lastrowid
            assert job is not None
            connection.executemany(
                "INSERT INTO job_messages (job, place, session, peer, random_id) VALUES (?, ?, ?, ?, ?)",
                (
                    (job, place, session, packed(peer), secrets.randbits(64) - 2**63)
                    for place, (peer, session) in enumerate(messages)
                ),
            )
            return job, True

        return await self._store.write(add)

    async def pause(self, job: int) -> JobState:
        """Has it paused, unless it has ended; gives its state then."""
        return await self._change(job, ("active",), JobState.PAUSED.value)

    async def resume(self, job: int) -> JobState:
        """Has a paused one go on; gives its state then."""
        return await self._change(job, ("paused",), _ACTIVE)

    async def cancel(self, job: int) -> JobState:
        """Ends it, unless it has ended; gives its state then."""
        return await self._change(job, ("active", "paused", "failed"), JobState.CANCELLED.value)

    async def retry(self, job: int) -> int:
        """Has what failed done again: messages with their old random_ids, a scrape from where it stood.

        Returns:
            How many messages, or 1 for a scrape.

        Raises:
            JobUnknown: There is none of that id.
            JobError: It was cancelled.
        """

        def retry(connection: sqlite3.Connection) -> int:
            kind, state = _row(connection, job, "kind, state")
            if state == JobState.CANCELLED:
                raise JobError(job, "it was cancelled, and what is cancelled isn't retried: start another")
            again = connection.execute(
                "UPDATE job_messages SET state = 0, error = NULL WHERE job = ? AND state = ?", (job, _FAILED)
            ).rowcount
            if kind != JobKind.BULK_SEND:
                again = int(state == JobState.FAILED)
            if again or state == JobState.FAILED:
                connection.execute(
                    "UPDATE jobs SET state = ?, reason = '', failed = 0, changed = ? WHERE id = ?",
                    (state if state == JobState.PAUSED else _ACTIVE, time.time(), job),
                )
            return again

        return await self._store.write(retry)

    async def forget(self, job: int) -> None:
        """Removes one that has ended, and its key. The file of a scrape stays.

        Raises:
            JobUnknown: There is none of that id.
            JobError: It hasn't ended.
        """

        def forget(connection: sqlite3.Connection) -> None:
            (state,) = _row(connection, job, "state")
            if state in (_ACTIVE, JobState.PAUSED):
                raise JobError(job, "it has not ended: cancel it first")
            connection.execute("DELETE FROM jobs WHERE id = ?", (job,))

        await self._store.write(forget)

    # -- what people see -----------------------------------------------------------------------------

    async def status(self, job: int) -> JobStatus:
        """How one is doing.

        Raises:
            JobUnknown: There is none of that id.
        """
        found = await self.statuses(job)
        if not found:
            raise JobUnknown(job)
        return found[0]

    async def statuses(self, job: int | None = None) -> list[JobStatus]:
        """All of them, the oldest first, or the one of that id."""

        def read(connection: sqlite3.Connection) -> list[JobStatus]:
            leases = lease_status(connection)
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE ? IS NULL OR id = ? ORDER BY id", (job, job)
            ).fetchall()
            found = []
            for id, key, kind, state, done, failed, total, reason, truncated, output, created, changed in rows:
                lease = leases.get(lease_key(id))
                owner = lease.owner if lease is not None and state == _ACTIVE else None
                if state == _ACTIVE:
                    state = JobState.RUNNING if owner is not None else JobState.WAITING
                found.append(
                    JobStatus(
                        id=id,
                        key=key,
                        kind=JobKind(kind),
                        state=JobState(state),
                        done=done,
                        failed=failed,
                        total=total,
                        reason=reason,
                        truncated=bool(truncated),
                        output=output,
                        owner=owner,
                        created=created,
                        changed=changed,
                    )
                )
            return found

        return await self._store.read(read)

    async def deliveries(
        self, job: int, *, after: int, count: int, failed: bool
    ) -> list[tuple[int, Peer, str, int, int, int | None, str | None]]:
        """Messages after a place: place, peer, session, random_id, state (0, 1, 2), message id, error."""

        def read(connection: sqlite3.Connection) -> list[tuple[int, Peer, str, int, int, int | None, str | None]]:
            rows = connection.execute(
                "SELECT place, peer, session, random_id, state, message_id, error FROM job_messages"
                " WHERE job = ? AND place > ? AND (NOT ? OR state = 2) ORDER BY place LIMIT ?",
                (job, after, failed, count),
            )
            return [(place, _peer(peer), *rest) for place, peer, *rest in rows]

        return await self._store.read(read)

    # -- what a runner does --------------------------------------------------------------------------

    async def active(self) -> list[int]:
        """The ids of those that are to be done, the oldest first."""
        return await self._store.read(
            lambda connection: [
                row[0] for row in connection.execute("SELECT id FROM jobs WHERE state = ? ORDER BY id", (_ACTIVE,))
            ]
        )

    async def load(self, job: int) -> StoredJob:
        """What it is to do, and how far it has come.

        Raises:
            JobUnknown: There is none of that id.
        """

        def read(connection: sqlite3.Connection) -> StoredJob:
            work, checkpoint = _row(connection, job, "work, checkpoint")
            standing = Checkpoint() if checkpoint is None else msgspec.msgpack.decode(checkpoint, type=Checkpoint)
            return StoredJob(job, unpacked(work), standing)

        return await self._store.read(read)

    async def sessions(self, job: int) -> list[str]:
        """The sessions of a bulk send that have messages to send yet, by the first of each."""
        return await self._store.read(
            lambda connection: [
                row[0]
                for row in connection.execute(
                    "SELECT session FROM job_messages WHERE job = ? AND state = 0 GROUP BY session ORDER BY min(place)",
                    (job,),
                )
            ]
        )

    async def waiting(self, job: int, session: str, *, after: int, count: int) -> list[Waiting]:
        """The next messages that a session is to send."""
        return await self._store.read(
            lambda connection: [
                Waiting(place, _peer(peer), random_id)
                for place, peer, random_id in connection.execute(
                    "SELECT place, peer, random_id FROM job_messages"
                    " WHERE job = ? AND session = ? AND state = 0 AND place > ? ORDER BY place LIMIT ?",
                    (job, session, after, count),
                )
            ]
        )

    async def record(self, job: int, lease: Lease, outcomes: Sequence[Outcome]) -> None:
        """Notes what became of messages.

        Raises:
            LeaseLost: Somebody else has the job.
        """

        def write(connection: sqlite3.Connection) -> None:
            lease.check(connection)
            done = failed = 0
            for outcome in outcomes:
                sent = outcome.error is None
                changed = connection.execute(
                    "UPDATE job_messages SET state = ?, message_id = ?, error = ?"
                    " WHERE job = ? AND place = ? AND state = 0",
                    (_SENT if sent else _FAILED, outcome.message_id, outcome.error, job, outcome.place),
                ).rowcount
                done += changed * sent
                failed += changed * (not sent)
            _add(connection, job, done, failed)

        await self._store.write(write)

    async def fail_share(self, job: int, lease: Lease, session: str, error: str) -> None:
        """Notes that all that a session has to send yet can't be sent.

        Raises:
            LeaseLost: Somebody else has the job.
        """

        def write(connection: sqlite3.Connection) -> None:
            lease.check(connection)
            failed = connection.execute(
                "UPDATE job_messages SET state = ?, error = ? WHERE job = ? AND session = ? AND state = 0",
                (_FAILED, error, job, session),
            ).rowcount
            _add(connection, job, 0, failed)

        await self._store.write(write)

    async def new_members(self, job: int, members: Sequence[int]) -> set[int]:
        """Which of these members aren't in the job's file yet."""

        def read(connection: sqlite3.Connection) -> set[int]:
            marks = ", ".join("?" * len(members))
            known = connection.execute(
                f"SELECT member FROM job_members WHERE job = ? AND member IN ({marks})", (job, *members)
            )
            return set(members) - {row[0] for row in known}

        return await self._store.read(read)

    async def checkpoint(
        self, job: int, lease: Lease, standing: Checkpoint, *, total: int | None, members: Sequence[int] = ()
    ) -> None:
        """Notes how far a scrape has come; its file has that on the disk already.

        Raises:
            LeaseLost: Somebody else has the job.
        """

        def write(connection: sqlite3.Connection) -> None:
            lease.check(connection)
            connection.execute(
                "UPDATE jobs SET checkpoint = ?, done = ?, total = ?, reason = '', changed = ? WHERE id = ?",
                (packed(standing), standing.rows, total, time.time(), job),
            )
            connection.executemany("INSERT INTO job_members VALUES (?, ?)", ((job, member) for member in members))

        await self._store.write(write)

    async def note(self, job: int, lease: Lease | None, reason: str) -> None:
        """Says what a job waits for; empty once it doesn't. Without a lease, only of a job that nobody works on.

        Raises:
            LeaseLost: Somebody else has the job.
        """

        def write(connection: sqlite3.Connection) -> None:
            if lease is not None:
                lease.check(connection)
            else:
                held = lease_status(connection).get(lease_key(job))
                if held is not None and held.owner is not None:
                    return
            connection.execute(
                "UPDATE jobs SET reason = ?, changed = ? WHERE id = ? AND reason != ?",
                (reason, time.time(), job, reason),
            )

        await self._store.write(write)

    async def end(
        self,
        job: int,
        lease: Lease,
        *,
        failure: str | None = None,
        total: int | None = None,
        truncated: bool = False,
    ) -> None:
        """Ends one as done, or as failed. One that was paused or cancelled meanwhile stays so, unless it is done.

        Raises:
            LeaseLost: Somebody else has the job.
        """

        def write(connection: sqlite3.Connection) -> None:
            lease.check(connection)
            left = connection.execute(
                "SELECT 1 FROM job_messages WHERE job = ? AND state = 0 LIMIT 1", (job,)
            ).fetchone()
            if left is not None and failure is None:
                return  # some were asked for anew as the last were recorded
            connection.execute(
                "UPDATE jobs SET state = ?, reason = ?, total = coalesce(?, total), truncated = ?, changed = ?"
                " WHERE id = ? AND state IN (?, 'active')",
                (
                    (JobState.DONE if failure is None else JobState.FAILED).value,
                    failure or "",
                    total,
                    truncated,
                    time.time(),
                    job,
                    JobState.PAUSED.value if failure is None else _ACTIVE,
                ),
            )
            if failure is None:
                connection.execute("DELETE FROM job_members WHERE job = ?", (job,))

        await self._store.write(write)

    async def _change(self, job: int, of: Sequence[str], to: str) -> JobState:
        def write(connection: sqlite3.Connection) -> JobState:
            (state,) = _row(connection, job, "state")
            if state in of:
                connection.execute(
                    "UPDATE jobs SET state = ?, reason = '', changed = ? WHERE id = ?", (to, time.time(), job)
                )
                state = to
            return JobState.WAITING if state == _ACTIVE else JobState(state)

        return await self._store.write(write)


def _row(connection: sqlite3.Connection, job: int, columns: str) -> tuple[Any, ...]:  # of whatever the columns are
    row = connection.execute(f"SELECT {columns} FROM jobs WHERE id = ?", (job,)).fetchone()
    if row is None:
        raise JobUnknown(job)
    return tuple(row)


def _add(connection: sqlite3.Connection, job: int, done: int, failed: int) -> None:
    connection.execute(
        "UPDATE jobs SET done = done + ?, failed = failed + ?, changed = ? WHERE id = ?",
        (done, failed, time.time(), job),
    )


def _peer(blob: bytes) -> Peer:
    peer: Peer = msgspec.msgpack.decode(blob)
    return peer
