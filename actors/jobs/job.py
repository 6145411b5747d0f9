"""One job as its users see it: looked at, waited for, paused, resumed, cancelled, retried.

Invariant: a `Job` is a name for a row in the fleet's store, and holds nothing of it. Any number of them, in any
process, show the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from telestage.actors.jobs.errors import JobCancelled, JobFailed
from telestage.actors.jobs.values import JobState, JobStatus
from telestage.actors.telegram.bulk import Delivery

if TYPE_CHECKING:
    from telestage.actors.jobs.jobs import Jobs

__all__ = ["Job"]

_POLL = 0.1  # seconds between looks of one who waits for a job
_PAGE = 500  # deliveries read at once


class Job:
    """One job. Made by `fleet.jobs`."""

    def __init__(self, id: int, jobs: Jobs) -> None:
        self.id = id
        """What it is known by in its store."""
        self._jobs = jobs

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    async def status(self) -> JobStatus:
        """How it is doing.

        Raises:
            JobUnknown: It was forgotten.
        """
        return await self._jobs.ledger.status(self.id)

    async def progress(self) -> AsyncIterator[JobStatus]:
        """Yields its status now, whenever it has changed, and for the last time when it has ended.

        What changes within a tenth of a second is one change.
        """
        last: JobStatus | None = None
        while last is None or not last.state.ended:
            status = await self.status()
            if status != last:
                last = status
                yield status
            else:
                await asyncio.sleep(_POLL)

    async def result(self, timeout: float | None = None) -> JobStatus:
        """Waits until it is done, in whatever process that is, and returns its last status.

        Of a bulk send, some messages may have failed: `failed` says how many, `deliveries` which.

        Args:
            timeout: Seconds to wait. Default: for as long as it takes, a pause included.

        Raises:
            TimeoutError: It isn't done by then; it goes on.
            JobFailed: It can't go on.
            JobCancelled: It was cancelled.
        """
        async with asyncio.timeout(timeout):
            async for status in self.progress():
                if status.state is JobState.DONE:
                    return status
                if status.state is JobState.FAILED:
                    raise JobFailed(self.id, status.reason)
        raise JobCancelled(self.id)

    async def deliveries(self, *, failed: bool = False) -> AsyncIterator[Delivery | None]:
        """Yields what became of each message of a bulk send, in the order of its recipients.

        None stands for one that is still to be sent.

        Args:
            failed: Only those that couldn't be sent.
        """
        place = -1
        while True:
            rows = await self._jobs.ledger.deliveries(self.id, after=place, count=_PAGE, failed=failed)
            if not rows:
                return
            for _, peer, session, random_id, state, message_id, error in rows:
                yield Delivery(peer, session, random_id, message_id, error) if state else None
            place = rows[-1][0]

    async def pause(self) -> None:
        """Has it paused: nothing of it is begun any more, and what is under way has 5 s. No effect if it has ended."""
        await self._jobs.ledger.pause(self.id)
        self._jobs.look()

    async def resume(self) -> None:
        """Has it go on if it is paused, also in a fleet that doesn't resume jobs by itself."""
        await self._jobs.ledger.resume(self.id)
        self._jobs.allow(self.id)

    async def cancel(self) -> None:
        """Ends it for good; what is under way has 5 s. No effect if it has ended."""
        await self._jobs.ledger.cancel(self.id)
        self._jobs.look()

    async def retry(self) -> int:
        """Tries again what failed: messages with the same session and random_id, a scrape from where it stood.

        Returns:
            How many messages, or 1 for a scrape that had failed; 0 if nothing had.

        Raises:
            JobError: It was cancelled.
        """
        again = await self._jobs.ledger.retry(self.id)
        self._jobs.allow(self.id)
        return again
