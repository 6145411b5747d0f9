"""A bulk send as a job: each message by its own session, with the random_id that the store has for it.

Deliveries are noted in the store in batches, and a batch that a crash takes with it is sent once more with the same
random_ids, which Telegram takes for what it has: nothing arrives twice. Hazard: how long Telegram remembers a random_id
isn't documented. A job that is resumed days after a crash may deliver once more what was under way then: one message
for each session, and what of the last tenth of a second wasn't noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

from telestage.actors.jobs.attempts import NOT_HERE, is_answer, until_answered
from telestage.actors.jobs.sessions import JobSessions
from telestage.actors.jobs.slow import SlowPeers
from telestage.actors.jobs.values import BulkWork
from telestage.actors.jobs.work import Outcome, StoredJob, Waiting, WorkLedger
from telestage.actors.kernel import TaskRegistry
from telestage.actors.store import Lease, LeaseLost, StoreError
from telestage.actors.telegram.errors import FloodParked, SessionDead

__all__ = ["Sending"]

_PAGE = 100  # messages of a session in memory
_PUT_OFF = 1000  # of a session, to slow peers: with so many, the first of these is waited for
_FLUSH_SECONDS = 0.1
_FLUSH_COUNT = 100


class _Slow(Exception):
    """The peer of a message is slow, and the others aren't."""

    def __init__(self, parked: FloodParked) -> None:
        super().__init__(str(parked))
        self.parked = parked


class Sending:
    """The work on one bulk send."""

    def __init__(
        self,
        job: StoredJob,
        work: BulkWork,
        lease: Lease,
        ledger: WorkLedger,
        sessions: JobSessions,
        tasks: TaskRegistry,
    ) -> None:
        self._tasks = tasks
        self._job = job.id
        self._work = work
        self._lease = lease
        self._ledger = ledger
        self._sessions = sessions
        self._outcomes: list[Outcome] = []
        self._full = asyncio.Event()
        self._stopping = asyncio.Event()
        self._notes: dict[str, str] = {}

    def stop(self) -> None:
        """Begins no further message."""
        self._stopping.set()

    async def run(self) -> None:
        """Sends what the fleet's sessions have to send. What is known when it ends, however it ends, is in the store.

        Raises:
            LeaseLost: Somebody else has the job.
            StoreError: The store can't be written.
        """
        names = [name for name in await self._ledger.sessions(self._job) if self._sessions.has(name)]
        try:
            async with asyncio.TaskGroup() as group:
                noting = group.create_task(self._note_often())
                self._tasks.adopt(noting, type="storing", owner="jobs", operation=str(self._job))
                async with asyncio.TaskGroup() as sending:
                    for name in names:
                        share = sending.create_task(self._share(name))
                        self._tasks.adopt(share, type="job", owner=name, operation=str(self._job))
                noting.cancel()
        finally:
            await self._flush()
        if not self._stopping.is_set():
            await self._ledger.end(self._job, self._lease)

    async def _share(self, session: str) -> None:
        slow = SlowPeers()
        page: deque[Waiting] = deque()
        place, more = -1, True
        while not self._stopping.is_set():
            message = slow.due(time.time())
            if message is None and len(slow) < _PUT_OFF:
                if not page and more:
                    page.extend(await self._ledger.waiting(self._job, session, after=place, count=_PAGE))
                    more = bool(page)
                if page:
                    message = page.popleft()
                    place = message.place
                    if slow.holds(message):
                        continue
            if message is None:
                if not slow:
                    return
                await self._sit_out(session, slow.first())
                continue
            try:
                outcome = await self._send(session, message)
            except _Slow as refused:
                slow.put_back(message, refused.parked)
                continue
            except NOT_HERE:
                return
            except SessionDead as dead:
                await self._flush()
                await self._ledger.fail_share(self._job, self._lease, session, str(dead))
                return
            self._outcomes.append(outcome)
            if len(self._outcomes) >= _FLUSH_COUNT:
                self._full.set()

    async def _sit_out(self, session: str, parked: FloodParked) -> None:
        """There is nothing to send but to peers that are slow."""
        await self._note(session, str(parked))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, parked.until - time.time())):
                await self._stopping.wait()
        await self._note(session, "")

    async def _send(self, session: str, message: Waiting) -> Outcome:
        work = self._work
        options: dict[str, Any] = dict(work.options)

        async def attempt() -> Any:
            try:
                return await self._sessions.session(session).send_message(
                    message.peer,
                    work.text,
                    priority=work.priority,
                    timeout=work.timeout,
                    random_id=message.random_id,
                    **options,
                )
            except FloodParked as parked:
                if parked.peer is None:
                    raise
                raise _Slow(parked) from parked  # no reason for the others to wait

        async def waits(reason: str) -> None:
            await self._note(session, reason)

        try:
            sent = await until_answered(attempt, waits)
        except (_Slow, SessionDead, LeaseLost, StoreError, *NOT_HERE):
            raise
        except Exception as error:
            if not is_answer(error):
                raise
            return Outcome(message.place, None, f"{type(error).__name__}: {error}")
        return Outcome(message.place, None if sent is None else int(sent.id), None)

    async def _note(self, session: str, reason: str) -> None:
        """Says what is waited for: that of the last session that waits, if there are several."""
        self._notes.pop(session, None)
        if reason:
            self._notes[session] = reason
        await self._ledger.note(self._job, self._lease, next(reversed(self._notes.values()), ""))

    async def _note_often(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await self._full.wait()
            except TimeoutError:
                pass
            self._full.clear()
            await self._flush()

    async def _flush(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            await self._ledger.record(self._job, self._lease, outcomes)
