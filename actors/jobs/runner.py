"""Who does the jobs of a store: it takes the lease of each that is to be done, and works on it.

Invariants:
- A job is worked on by whoever holds its lease, and by nobody else. Who loses it stops at once, and can write nothing
  more of it.
- What is in the store decides. A pause or a cancellation is found there within half a second, whoever wrote it; what is
  under way then has 5 s to come to its end.
- Whatever stops the runner, the jobs stay in the store as they are, to be resumed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from telestage.actors.jobs.attempts import NOT_HERE, is_answer
from telestage.actors.jobs.errors import JobUnknown
from telestage.actors.jobs.output import OutputLost
from telestage.actors.jobs.scraping import HistoryScrape, MembersScrape, Scrape
from telestage.actors.jobs.sending import Sending
from telestage.actors.jobs.sessions import JobSessions
from telestage.actors.jobs.tables import lease_key
from telestage.actors.jobs.values import BulkWork, HistoryWork
from telestage.actors.jobs.work import WorkLedger
from telestage.actors.kernel import TaskRegistry
from telestage.actors.store import Lease, LeaseHeld, LeaseLost, Leases, Owner, Store, StoreError

__all__ = ["JobRunner"]

_log = logging.getLogger("telestage.jobs")

_POLL = 0.5  # seconds between two looks into the store
_AT_ONCE = 64  # jobs; the oldest first. Each session has one operation of each job in its mailbox, which holds 100
_GRACE = 5.0  # seconds for what is under way when a job is paused, cancelled or stopped
_LEASE_SECONDS = 15.0  # a machine that lost its power keeps its jobs for so long; a process that is gone doesn't
_THREADS = 4  # that write files


class JobRunner:
    """The jobs of a running fleet.

    Args:
        everything: Whether all jobs of the store are done, or those only that `allow` names.
    """

    def __init__(
        self,
        store: Store,
        sessions: JobSessions,
        tasks: TaskRegistry,
        *,
        everything: bool,
    ) -> None:
        self._ledger = WorkLedger(store)
        self._sessions = sessions
        self._tasks = tasks
        self._leases = Leases(store, Owner.here(), _LEASE_SECONDS)
        self._everything = everything
        self._allowed: set[int] = set()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._works: dict[int, Sending | Scrape] = {}
        self._ends: dict[int, asyncio.TimerHandle] = {}
        self._again = asyncio.Event()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="telestage-jobs")
        self._own: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to look for jobs.

        Raises:
            StoreError: The store can't be written.
        """
        await self._ledger.open()
        await self._leases.open()
        self._tasks.add_source(partial(self._leases.tasks, "jobs"))
        self._own = [
            self._tasks.spawn(self._leases.keep(), type="leases", owner="jobs"),
            self._tasks.spawn(self._look_often(), type="jobs", owner="jobs"),
        ]

    async def stop(self, grace: float = _GRACE) -> None:
        """Stops the work: what is under way has `grace` seconds. The jobs stay in the store, to be resumed."""
        try:
            await _ended(self._own, 0.0)
            for work in self._works.values():
                work.stop()
            await _ended(list(self._running.values()), grace)
            with contextlib.suppress(StoreError):  # then they end by themselves
                await self._leases.release()
        finally:
            self._threads.shutdown()  # nothing is left to do there: who asked for it has waited

    def allow(self, job: int) -> None:
        """Has a job done although this runner doesn't do everything, and looks at once."""
        self._allowed.add(job)
        self.look()

    def look(self) -> None:
        """Looks into the store now."""
        self._again.set()

    async def _look_often(self) -> None:
        while True:
            self._again.clear()
            try:
                await self._look()
            except StoreError as error:
                _log.warning("jobs can't be looked for, trying again: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._again.wait()

    async def _look(self) -> None:
        active = await self._ledger.active()
        wanted = [job for job in active if self._everything or job in self._allowed]
        for job, task in self._running.items():
            if job not in active and job in self._works:  # paused or cancelled
                self._works.pop(job).stop()
                self._ends[job] = task.get_loop().call_later(_GRACE, task.cancel)
        for job in wanted:
            if len(self._running) >= _AT_ONCE:
                return
            if job not in self._running:
                task = self._tasks.spawn(self._work_on(job), type="job", owner="jobs", operation=str(job))
                self._running[job] = task
                task.add_done_callback(partial(self._over, job))

    def _over(self, job: int, _: object) -> None:
        del self._running[job]
        self._works.pop(job, None)
        end = self._ends.pop(job, None)
        if end is not None:
            end.cancel()

    async def _work_on(self, job: int) -> None:
        """Works on a job if its lease is to be had; whatever goes wrong, the others go on."""
        try:
            if not await self._can(job):
                await asyncio.sleep(_POLL)
                return
            lease = await self._leases.take(lease_key(job), f"job {job}")
        except JobUnknown:  # forgotten meanwhile
            return
        except LeaseHeld:
            await asyncio.sleep(_POLL)  # it is somebody else's; they may die
            return
        except StoreError as error:
            _log.warning("job %d waits: %s", job, error)
            await asyncio.sleep(_POLL)
            return
        task = asyncio.current_task()
        assert task is not None
        lease.on_lapse = partial(_cancel, task)
        try:
            await self._do(job, lease)
        except (LeaseLost, JobUnknown) as lost:
            _log.warning("job %d: %s", job, lost)
        except NOT_HERE as gone:
            _log.info("job %d waits: %s", job, gone)
        except StoreError as error:
            _log.warning("job %d stops and is begun again: %s", job, error)
            await asyncio.sleep(_POLL)
        finally:
            lease.on_lapse = None
            with contextlib.suppress(StoreError):  # then it ends by itself
                giving_back = self._leases.release([lease])
                await asyncio.shield(self._tasks.spawn(giving_back, type="leases", owner="jobs", operation=str(job)))

    async def _can(self, job: int) -> bool:
        """Whether there is something in the job for a session that is this fleet's; if not, it is another one's."""
        work = (await self._ledger.load(job)).work
        needed = await self._ledger.sessions(job) if isinstance(work, BulkWork) else work.readers
        able = not needed or any(self._sessions.has(name) for name in needed)
        if not able:
            await self._ledger.note(job, None, f"needs a fleet with session {' or '.join(map(repr, needed[:3]))}")
        return able

    async def _do(self, job: int, lease: Lease) -> None:
        stored = await self._ledger.load(job)
        await self._ledger.note(job, lease, "")
        asked = stored.work
        work: Sending | Scrape
        if isinstance(asked, BulkWork):
            work = Sending(stored, asked, lease, self._ledger, self._sessions, self._tasks)
        else:
            scrape = HistoryScrape if isinstance(asked, HistoryWork) else MembersScrape
            work = scrape(stored, asked, lease, self._ledger, self._sessions, self._threads)
        self._works[job] = work
        _log.info("job %d: begun", job)
        try:
            try:
                await work.run()
            except ExceptionGroup as group:  # of a bulk send's shares: the first one tells
                raise _first(group) from group
        except (LeaseLost, StoreError, *NOT_HERE):
            raise
        except Exception as error:
            if not isinstance(error, OutputLost) and not is_answer(error):
                _log.exception("job %d: a fault of ours", job)
            await self._ledger.end(job, lease, failure=f"{type(error).__name__}: {error}")


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _ended(tasks: list[asyncio.Task[None]], grace: float) -> None:
    """Waits so long for tasks, then cancels them and waits for their end."""
    if tasks and grace:
        await asyncio.wait(tasks, timeout=grace)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
