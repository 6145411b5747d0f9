"""The jobs in the store, as who works on them reads and writes.

Invariant: who works on a job holds its lease; each of its writes checks that, in the same transaction. What a person
wants (pause, cancel) may be written by anybody at any time, and who works on the job finds it there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

import msgspec

from telestage.actors.jobs.tables import ACTIVE, FAILED, SENT, job_row, lease_key, open_tables, unpacked_peer
from telestage.actors.jobs.values import Checkpoint, JobState, Work, packed, unpacked
from telestage.actors.store import Lease, Store, lease_status
from telestage.messages import Peer

__all__ = ["Outcome", "StoredJob", "Waiting", "WorkLedger"]


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


class WorkLedger:
    """The jobs in one store, which is open as long as this is used."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self) -> None:
        """Makes the tables.

        Raises:
            StoreError: The store can't be written.
        """
        await open_tables(self._store)

    async def active(self) -> list[int]:
        """The ids of those that are to be done, the oldest first."""
        return await self._store.read(
            lambda connection: [
                row[0] for row in connection.execute("SELECT id FROM jobs WHERE state = ? ORDER BY id", (ACTIVE,))
            ]
        )

    async def load(self, job: int) -> StoredJob:
        """What it is to do, and how far it has come.

        Raises:
            JobUnknown: There is none of that id.
        """

        def read(connection: sqlite3.Connection) -> StoredJob:
            work, checkpoint = job_row(connection, job, "work, checkpoint")
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
                Waiting(place, unpacked_peer(peer), random_id)
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
                    (SENT if sent else FAILED, outcome.message_id, outcome.error, job, outcome.place),
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
                (FAILED, error, job, session),
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
                    JobState.PAUSED.value if failure is None else ACTIVE,
                ),
            )
            if failure is None:
                connection.execute("DELETE FROM job_members WHERE job = ?", (job,))

        await self._store.write(write)


def _add(connection: sqlite3.Connection, job: int, done: int, failed: int) -> None:
    connection.execute(
        "UPDATE jobs SET done = done + ?, failed = failed + ?, changed = ? WHERE id = ?",
        (done, failed, time.time(), job),
    )
