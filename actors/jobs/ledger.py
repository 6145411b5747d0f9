"""The jobs in the store, as people start, see and change them.

Invariants:
- A message of a bulk send has its session and its random_id in the store before anything of the job is begun, and
  keeps both for good.
- What is wanted of a job (pause, cancel, retry) is written here, whoever works on it, in whatever process.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence

from telestage.actors.jobs.errors import JobConflict, JobError, JobUnknown
from telestage.actors.jobs.tables import ACTIVE, FAILED, job_row, lease_key, open_tables, unpacked_peer
from telestage.actors.jobs.values import BulkWork, JobKind, JobState, JobStatus, Work, packed
from telestage.actors.store import Store, lease_status
from telestage.messages import Peer

__all__ = ["JobLedger"]

_COLUMNS = "id, key, kind, state, done, failed, total, reason, truncated, output, created, changed"


class JobLedger:
    """The jobs in one store, which is open as long as this is used."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self) -> None:
        """Makes the tables.

        Raises:
            StoreError: The store can't be written.
        """
        await open_tables(self._store)

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
                (key, kind.value, blob, ACTIVE, total, output, now, now),
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
        return await self._change(job, ("paused",), ACTIVE)

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
            kind, state = job_row(connection, job, "kind, state")
            if state == JobState.CANCELLED:
                raise JobError(job, "it was cancelled, and what is cancelled isn't retried: start another")
            again = connection.execute(
                "UPDATE job_messages SET state = 0, error = NULL WHERE job = ? AND state = ?", (job, FAILED)
            ).rowcount
            if kind != JobKind.BULK_SEND:
                again = int(state == JobState.FAILED)
            if again or state == JobState.FAILED:
                connection.execute(
                    "UPDATE jobs SET state = ?, reason = '', failed = 0, changed = ? WHERE id = ?",
                    (state if state == JobState.PAUSED else ACTIVE, time.time(), job),
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
            (state,) = job_row(connection, job, "state")
            if state in (ACTIVE, JobState.PAUSED):
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
                owner = lease.owner if lease is not None and state == ACTIVE else None
                if state == ACTIVE:
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
            return [(place, unpacked_peer(peer), *rest) for place, peer, *rest in rows]

        return await self._store.read(read)

    async def _change(self, job: int, of: Sequence[str], to: str) -> JobState:
        def write(connection: sqlite3.Connection) -> JobState:
            (state,) = job_row(connection, job, "state")
            if state in of:
                connection.execute(
                    "UPDATE jobs SET state = ?, reason = '', changed = ? WHERE id = ?", (to, time.time(), job)
                )
                state = to
            return JobState.WAITING if state == ACTIVE else JobState(state)

        return await self._store.write(write)
