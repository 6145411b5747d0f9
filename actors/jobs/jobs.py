"""The jobs of a fleet as its users see them: started, found again, forgotten; each is a row in the fleet's store.

Invariant: what can't be a job is refused before anything of it is stored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from telestage.actors.jobs.job import Job
from telestage.actors.jobs.ledger import JobLedger
from telestage.actors.jobs.output import format_of
from telestage.actors.jobs.runner import JobRunner
from telestage.actors.jobs.sessions import JobSessions
from telestage.actors.jobs.values import (
    JOB_PRIORITY,
    BulkWork,
    HistoryWork,
    JobStatus,
    MembersWork,
    OutputFormat,
    Work,
    recipients_digest,
)
from telestage.actors.kernel import TaskRegistry
from telestage.actors.store import Store
from telestage.actors.telegram.anysession import shared_peer
from telestage.actors.telegram.requests import peer_of
from telestage.messages import HistoryPage, MembersPage, Operation, Peer, Scalar, SendMessage

__all__ = ["Jobs"]


class Jobs:
    """The jobs of a fleet: `fleet.jobs`.

    Everything may raise `RuntimeError` (the fleet has no store, or doesn't run) and `StoreError`.
    """

    def __init__(
        self,
        store: Store | None,
        sessions: JobSessions,
        *,
        resume: bool,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._resume = resume
        self._ledger = JobLedger(store) if store is not None else None
        self._runner: JobRunner | None = None

    # -- starting ------------------------------------------------------------------------------------

    async def bulk_send(
        self,
        recipients: Sequence[object],
        text: str,
        *,
        sessions: str | Sequence[str] = "*",
        key: str | None = None,
        priority: int = JOB_PRIORITY,
        timeout: float | None = None,
        **options: Scalar,
    ) -> Job:
        """Sends `text` to each recipient exactly once, whatever is killed meanwhile, shared out over the sessions.

        When this returns the job is in the store: each message with its session and its random_id, which both stay.
        Flood waits and lost connections are waited out for as long as they take.

        Args:
            recipients: As for `SessionHandle.send_message`. Hazard: a number needs a session that has met that user,
                and a session given as a string forgets whom it has met with the process.
            sessions: Names, or one pattern; recipient i is served by session i modulo their number.
            key: What this job is called by those who start it. If there is a job of that key already, it is that one:
                a service may start its job again after a restart. A key is free again when its job is forgotten.
            priority: Of each message among the operations of its session.
            timeout: Seconds an attempt may run. Default: the session's for sending.
            options: Of Telethon's `send_message`, as there.

        Raises:
            JobConflict: The key is that of a job with other work.
            ValueError: No session matches, or the key is empty.
            SessionUnknown: There is no session of one of the names.
            TypeError: A recipient is none.
        """
        if isinstance(recipients, str | bytes):
            raise TypeError(f"recipients are a list of peers, not one text: {recipients!r}")
        ledger, _ = self._running()
        peers = [peer_of(recipient) for recipient in recipients]
        for peer in peers:  # what is wrong with one is refused before anything is stored
            Operation.of(
                SendMessage(peer=peer, text=text, random_id=0, options=options), priority=priority, timeout=timeout
            )
        work = BulkWork(
            text=text,
            sessions=sessions if isinstance(sessions, str) else list(sessions),
            digest=recipients_digest(peers),
            options=dict(options),
            priority=priority,
            timeout=timeout,
        )

        names = self._sessions.names(sessions) if isinstance(sessions, str) else list(sessions)

        def assigned() -> list[tuple[Peer, str]]:
            return [(peer, names[place % len(names)]) for place, peer in enumerate(peers)]

        def check() -> None:
            if not names:
                raise ValueError(f"no session of the fleet matches {sessions!r}")
            for name in names:
                self._sessions.session(name)

        return await self._begin(ledger, work, key, assigned, check)

    async def scrape_history(
        self,
        chat: object,
        *,
        session: str | Sequence[str],
        to: str | os.PathLike[str],
        format: OutputFormat | str | None = None,
        limit: int | None = None,
        min_id: int = 0,
        max_id: int = 0,
        reverse: bool = False,
        search: str | None = None,
        key: str | None = None,
        priority: int = JOB_PRIORITY,
        timeout: float | None = None,
    ) -> Job:
        """Writes the messages of a chat to a file, each exactly once, newest first or oldest first with `reverse`.

        A page is on the disk before the next is asked for. What is posted meanwhile isn't in it, but with `reverse`.

        Args:
            session: Who reads; or several, then each page is read by whichever of them no flood wait keeps from it
                (`Fleet.any`, with its hazards): `session=fleet.names("archive-*")`.
            to: The file; it must not exist, its folder must.
            format: `jsonl`, `csv` or `parquet`. Default: by the end of the name.
            limit: How many at most. Default: all.
            min_id: Only newer ones; `max_id`: only older ones; `search`: only those with that text.
            key: As for `bulk_send`, and so are the rest.

        Raises:
            JobConflict: The key is that of a job with other work, or another job writes to that file.
            FileExistsError: The file exists.
            ValueError: The format isn't known, or Parquet's library isn't installed; or there are several sessions, and
                the chat is no channel or supergroup.
            SessionUnknown: There is no session of that name.
            TypeError: `chat` is none; or there are several sessions, and it carries what one account knows it by.
        """
        self._running()
        peer = peer_of(chat)
        path = _absolute(to)
        if not isinstance(session, str):
            shared_peer(peer)
        request = HistoryPage(peer=peer, min_id=min_id, max_id=max_id, reverse=reverse, search=search)
        work = HistoryWork(
            session=session if isinstance(session, str) else list(session),
            peer=peer,
            to=path,
            format=format_of(path, format),
            limit=_checked_limit(limit),
            min_id=min_id,
            max_id=max_id,
            reverse=reverse,
            search=search,
            priority=priority,
            timeout=timeout,
        )
        return await self._begin_scrape(work, request, key)

    async def scrape_members(
        self,
        chat: object,
        *,
        session: str,
        to: str | os.PathLike[str],
        format: OutputFormat | str | None = None,
        limit: int | None = None,
        search: str = "",
        key: str | None = None,
        priority: int = JOB_PRIORITY,
        timeout: float | None = None,
    ) -> Job:
        """Writes the members of a group or channel to a file, each exactly once.

        Telegram lists 10,000 members of a group at most, and 200 of a broadcast channel to one who isn't its admin:
        `JobStatus.truncated` says whether it did. Arguments and errors are those of `scrape_history`. There is one
        session: where a member stands in the list isn't promised to be the same for two accounts.
        """
        self._running()
        peer = peer_of(chat)
        path = _absolute(to)
        work = MembersWork(
            session=session,
            peer=peer,
            to=path,
            format=format_of(path, format),
            limit=_checked_limit(limit),
            search=search,
            priority=priority,
            timeout=timeout,
        )
        return await self._begin_scrape(work, MembersPage(peer=peer, search=search), key)

    # -- those there are -----------------------------------------------------------------------------

    def __getitem__(self, id: int) -> Job:
        return Job(id, self)

    async def list(self) -> list[JobStatus]:
        """How all jobs of the store are doing, the oldest first; those of other fleets with the same store included."""
        return await self.ledger.statuses()

    async def forget(self, id: int) -> None:
        """Removes a job that has ended from the store; its key is free again, the file of a scrape stays.

        Raises:
            JobUnknown: There is none of that id.
            JobError: It hasn't ended.
        """
        await self.ledger.forget(id)

    @property
    def ledger(self) -> JobLedger:
        """The jobs in the store."""
        ledger, _ = self._running()
        return ledger

    # -- the fleet's ---------------------------------------------------------------------------------

    async def start(self, tasks: TaskRegistry) -> None:
        """Begins to do jobs; the fleet does it."""
        if self._store is not None and self._ledger is not None:
            self._runner = JobRunner(self._store, self._sessions, tasks, everything=self._resume)
            await self._runner.start()

    async def stop(self, grace: float) -> None:
        """Ends the work on jobs, which stay in the store; the fleet does it."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.stop(grace)

    def look(self) -> None:
        """Has what was changed in the store noticed at once."""
        if self._runner is not None:
            self._runner.look()

    def allow(self, job: int) -> None:
        """Has a job done here, also if jobs aren't resumed by themselves."""
        if self._runner is not None:
            self._runner.allow(job)

    async def _begin(
        self,
        ledger: JobLedger,
        work: Work,
        key: str | None,
        assigned: Callable[[], Sequence[tuple[Peer, str]]],
        check: Callable[[], None],
    ) -> Job:
        if key is not None and (not isinstance(key, str) or not key):
            raise ValueError(f"a job's key is a text that isn't empty, not {key!r}")
        job, _ = await ledger.add(work, key=key, assigned=assigned, check=check)
        self.allow(job)
        return Job(job, self)

    async def _begin_scrape(
        self, work: HistoryWork | MembersWork, request: HistoryPage | MembersPage, key: str | None
    ) -> Job:
        Operation.of(request, priority=work.priority, timeout=work.timeout)  # what is wrong with it is refused here

        def check() -> None:
            if not work.session:
                raise ValueError("a scrape has one session, or several; there is none")
            for name in work.readers:
                self._sessions.session(name)
            if os.path.lexists(work.to):
                raise FileExistsError(f"{work.to} exists: a scrape writes a file of its own")
            if not Path(work.to).parent.is_dir():
                raise FileNotFoundError(f"{Path(work.to).parent} is no folder")

        return await self._begin(self.ledger, work, key, lambda: (), check)

    def _running(self) -> tuple[JobLedger, JobRunner]:
        if self._ledger is None:
            raise RuntimeError("jobs need a store: Fleet(..., store='fleet.db')")
        if self._runner is None:
            raise RuntimeError("the fleet does not run: use `async with fleet:`, or `await fleet.start()`")
        return self._ledger, self._runner


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)


def _checked_limit(limit: Any) -> int | None:
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ValueError(f"limit must be a whole number of 1 or more, or None for all, not {limit!r}")
    return limit
