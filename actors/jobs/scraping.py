"""A scrape as a job: a page, its rows on the disk, the checkpoint in the store; then the next page.

The order is what makes each row appear once: after a crash before the checkpoint, the file is cut back to where the
page began, and the page is read again.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from telestage.actors.jobs.attempts import until_answered
from telestage.actors.jobs.output import Output, OutputBusy
from telestage.actors.jobs.rows import MEMBER_COLUMNS, MESSAGE_COLUMNS, Row, member_row, message_row
from telestage.actors.jobs.sessions import JobSessions
from telestage.actors.jobs.values import Checkpoint, HistoryWork, MembersWork
from telestage.actors.jobs.work import StoredJob, WorkLedger
from telestage.actors.store import Lease
from telestage.actors.telegram.anysession import AnySession
from telestage.actors.telegram.handle import SessionHandle
from telestage.actors.telegram.requests import History, Members, peer_of
from telestage.messages import HISTORY_PAGE, MEMBERS_PAGE, HistoryPage, MembersPage

__all__ = ["HistoryScrape", "MembersScrape", "Scrape"]

R = TypeVar("R")

_BUSY_SECONDS = 1.0


class Scrape(ABC):
    """The work on one scrape: what both kinds have in common.

    Args:
        threads: Where files are written.
    """

    columns: Mapping[str, type]

    def __init__(
        self,
        job: StoredJob,
        work: HistoryWork | MembersWork,
        lease: Lease,
        ledger: WorkLedger,
        sessions: JobSessions,
        threads: Executor,
    ) -> None:
        self._job = job.id
        self._standing = job.checkpoint
        self._asked = work
        self._lease = lease
        self._ledger = ledger
        self._sessions = sessions
        self._threads = threads
        self._several: AnySession | None = None
        self._stopping = False
        self._total: int | None = None
        self._truncated = False

    def stop(self) -> None:
        """Asks for no further page."""
        self._stopping = True

    async def run(self) -> None:
        """Reads page by page until there is none, or it is stopped.

        Raises:
            LeaseLost: Somebody else has the job.
            StoreError: The store can't be written.
            OutputLost: The file isn't what was written.
            OSError: The file can't be written.
            Exception: Telegram's answer to a page.
        """
        output = await self._open()
        try:
            while not self._stopping:
                if await self._page(output):
                    await self._thread(output.finish)
                    total = self._total if self._truncated else self._standing.rows
                    await self._ledger.end(self._job, self._lease, total=total, truncated=self._truncated)
                    await self._thread(output.discard_parts)  # a crash before this leaves it behind, and harms nothing
                    return
        finally:
            await self._thread(output.close)

    @abstractmethod
    async def _page(self, output: Output) -> bool:
        """Does one page; says whether it was the last."""

    @property
    def _left(self) -> int | None:
        limit = self._asked.limit
        return None if limit is None else limit - self._standing.rows

    async def _ask(self, request: HistoryPage | MembersPage) -> Any:
        asked = self._asked

        async def attempt() -> Any:
            readers: Any = self._readers()  # those of members are asked for members only
            return await readers.page(request, priority=asked.priority, timeout=asked.timeout)

        return await until_answered(attempt, self._waits)

    def _readers(self) -> SessionHandle | AnySession:
        session, sessions = self._asked.session, self._sessions
        if isinstance(session, str):
            return sessions.session(session)
        if self._several is None:
            self._several = sessions.any(session)
        return self._several

    async def _waits(self, reason: str) -> None:
        await self._ledger.note(self._job, self._lease, reason)

    async def _keep(self, output: Output, rows: Sequence[Row], offset: int, members: Sequence[int] = ()) -> None:
        standing = self._standing
        length = await self._thread(lambda: output.append(rows)) if rows else standing.length
        standing = Checkpoint(offset=offset, rows=standing.rows + len(rows), length=length)
        await self._ledger.checkpoint(self._job, self._lease, standing, total=self._total, members=members)
        self._standing = standing

    async def _open(self) -> Output:
        told = False
        while True:
            try:
                output = await self._thread(
                    lambda: Output(self._asked.to, self._asked.format, self.columns, self._standing.length)
                )
            except OutputBusy as busy:  # by one who was stopped as it wrote, and had its lease taken
                told = True
                await self._waits(str(busy))
                await asyncio.sleep(_BUSY_SECONDS)
            else:
                if told:
                    await self._waits("")
                return output

    async def _thread(self, function: Callable[[], R]) -> R:
        """Runs it in a thread; also when it is cancelled, it is over when this ends."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, function)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise


class HistoryScrape(Scrape):
    """The messages of a chat."""

    columns = MESSAGE_COLUMNS
    _asked: HistoryWork

    async def _page(self, output: Output) -> bool:
        work, left = self._asked, self._left
        if left is not None and left <= 0:
            return True
        self._total = work.limit
        request = HistoryPage(
            peer=peer_of(work.peer),
            offset_id=self._standing.offset,
            limit=HISTORY_PAGE if left is None else min(left, HISTORY_PAGE),
            min_id=work.min_id,
            max_id=work.max_id,
            reverse=work.reverse,
            search=work.search,
        )
        history: History = await self._ask(request)
        offset = self._standing.offset
        new = [each for each in history.messages if not offset or (each.id > offset) == work.reverse]
        if new:
            await self._keep(output, [message_row(each) for each in new], new[-1].id)
        return history.last or not new


class MembersScrape(Scrape):
    """The members of a group or channel, each once, however they move between pages."""

    columns = MEMBER_COLUMNS
    _asked: MembersWork

    async def _page(self, output: Output) -> bool:
        work, left = self._asked, self._left
        if left is not None and left <= 0:
            return True
        offset = self._standing.offset
        request = MembersPage(peer=peer_of(work.peer), offset=offset, limit=MEMBERS_PAGE, search=work.search)
        page: Members = await self._ask(request)
        users = {user.id: user for user in page.users}
        new = await self._ledger.new_members(self._job, list(users))
        chosen = [user for id, user in users.items() if id in new][:left]
        self._total = page.total if work.limit is None else min(page.total, work.limit)
        after = offset + page.received
        await self._keep(output, [member_row(user) for user in chosen], after, [user.id for user in chosen])
        if not page.received and after < page.total:
            self._truncated = True
        return not page.received or after >= page.total
