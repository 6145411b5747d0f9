"""What a service embeds: a fleet of Telegram sessions on the running event loop.

The fleet starts no thread and installs nothing globally. One session's trouble is its own: a session
that can't connect keeps trying, one that Telegram ended is `DEAD`, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TypeVar

from telestage.actors.ending import end
from telestage.actors.jobs import Jobs
from telestage.actors.kernel import ActorSystem, Directive, Instrument, Supervision, TaskDetails
from telestage.actors.lasting import Lasting
from telestage.actors.sessions import FleetSessions, SessionsForJobs
from telestage.actors.stopsignals import StopSignals
from telestage.actors.store import Store
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.book import Durable, EventHandler
from telestage.actors.telegram.bulk import BulkReport, Delivery, bulk_send
from telestage.actors.telegram.connection import Connection
from telestage.actors.telegram.launching import all_settled, disconnect_all
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.liveness import Liveness
from telestage.actors.telegram.manager import ManagerActor
from telestage.actors.telegram.owning import Ownership
from telestage.actors.telegram.picture import fleet_status
from telestage.actors.telegram.session import Credentials
from telestage.actors.telegram.stored import StoredSession
from telestage.actors.telegram.tasks import FleetTasks
from telestage.messages import FleetStatus

__all__ = ["Fleet"]

H = TypeVar("H", bound=EventHandler)

_HURRY = 4.0  # seconds for the end of a start that was cancelled: nothing is waited for that could go on
_DRAINING = 0.01  # seconds between looks whether all is done
_MANAGER_SUPERVISION = Supervision(exceeded=Directive.STOP)


class Fleet(FleetSessions):
    """Sessions, their manager and their monitors.

    Args:
        api_id: Of the application, from my.telegram.org, as is `api_hash`.
        limits: How much may happen at once, and how long things may take.
        options: Further arguments for Telethon's client, such as `device_model`, for every session.
        carry: Context variables whose values travel with each message between the actors, as in `ActorSystem`: what is
            set where an operation is asked for is set where it runs. Hazard: a context of its own for each message.
        instruments: What is told how it goes, traces and metrics, as in `ActorSystem`. What isn't there costs nothing.
        hog_limit: Seconds a handler may keep the event loop without awaiting; then a WARNING names it.
        store: What is to outlive the process is kept there (docs/store.md): a `Store`, or the path of its file. The
            fleet opens it, and closes it if it opened it. Default: nothing outlives the process but the sessions.
        store_key: Of the store's sealed sessions (`StoredSession`). Default: TELESTAGE_STORE_KEY of the environment.
        ownership: How sessions are leased in the store, so that no two processes use one (R-X6). Without a store only
            this fleet is watched over.
        resume_jobs: Whether jobs that are in the store already are gone on with (docs/jobs.md). Without it only those
            are done that are started, resumed or retried by this fleet.

    Raises:
        ValueError: `api_id` isn't a positive number, `api_hash` is empty, or `hog_limit` isn't more than 0.
    """

    def __init__(
        self,
        api_id: int,
        api_hash: str,
        *,
        limits: Limits | None = None,
        options: Mapping[str, object] | None = None,
        carry: Sequence[ContextVar[Any]] = (),  # of any type: it is invariant
        instruments: Sequence[Instrument] = (),
        hog_limit: float = 0.25,
        store: Store | str | os.PathLike[str] | None = None,
        store_key: str | None = None,
        ownership: Ownership | None = None,
        resume_jobs: bool = True,
    ) -> None:
        if not isinstance(api_id, int) or isinstance(api_id, bool) or api_id < 1:
            raise ValueError(f"api_id must be the positive number from my.telegram.org, not {api_id!r}")
        if not isinstance(api_hash, str) or not api_hash:
            raise ValueError("api_hash must be the text from my.telegram.org; it is empty or no text")
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits are a Limits(...), not {limits!r}")
        limits = Limits() if limits is None else limits
        store = store if store is None or isinstance(store, Store) else Store(store)
        super().__init__(
            ActorSystem("fleet", carry=carry, instruments=instruments, hog_limit=hog_limit),
            Lasting(store, store_key, Ownership() if ownership is None else ownership),
            limits,
            options or {},
        )
        self._credentials = Credentials(api_id, api_hash)
        self._board = PermitBoard(limits)
        self._liveness = Liveness(limits.liveness)
        self._jobs = Jobs(store, SessionsForJobs(self), resume=resume_jobs)

    # -- life ----------------------------------------------------------------------------------------

    async def start(self, timeout: float = 60.0) -> Self:
        """Starts every session and waits until each is ready or dead, for up to `timeout` seconds.

        One that still connects by then goes on trying; `status` tells. Cancelled, it leaves nothing behind.

        Raises:
            RuntimeError: The fleet runs already.
            StoreError: Its store can't be used; nothing was begun.
            StoreKeyError: Stored sessions can't be opened with its key, or there is none; nothing was begun.
        """
        if self._manager is not None:
            raise RuntimeError("the fleet runs already")
        for book in self._books.values():
            book.draining = False
        try:
            await self._lasting.open(list(self._books.values()))
            await self._system.start()
            self._board = PermitBoard(self._limits)
            arguments = (self._board, self._credentials, self._limits)
            self._manager = self._system.spawn(
                ManagerActor, *arguments, name="manager", supervision=_MANAGER_SUPERVISION
            )
            self._system.tasks.add_source(self._client_tasks)
            self._liveness.start(self._connections)
            await self._lasting.start(self._system.tasks, self._monitors.shared())
            for book in list(self._books.values()):
                self._lasting.keep(book)
                await self._launches.launch(self._manager, book)
            await self._jobs.start(self._system.tasks)
            await all_settled(list(self._books.values()), timeout, self._system.tasks)
        except BaseException:
            await self.stop(timeout=_HURRY)
            raise
        return self

    async def stop(self, timeout: float = 10.0) -> None:
        """Stops every session, each disconnected, within `timeout` seconds. Idempotent.

        What runs is cancelled when half of it has passed. What resists for 4 s is named in a WARNING and left behind;
        with a `timeout` of less than about 6 s, it is so at its end. Jobs stay in the store; what is under way for
        them has a quarter of the time.
        """
        await self._jobs.stop(timeout / 4)
        self._manager = None
        self._draining = False
        self._liveness.stop()
        self._launches.end()
        await self._system.shutdown(timeout)
        self._board.reclaim()
        await disconnect_all(list(self._books.values()))
        await self._lasting.settle()
        await self._lasting.close()

    async def drain(self, timeout: float = 10.0) -> bool:
        """Takes no new operations, and waits until those that run and wait are done; to be followed by `stop`.

        A new one fails with `SessionDraining`, at once, and so does the next page of an iterator. Handlers go on, and
        what they do with their event still goes through. Jobs stop, as for `stop`, and stay in the store.

        Args:
            timeout: Seconds to wait, at most.

        Returns:
            Whether all were done in that time. Those that weren't go on until `stop`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        self._draining = True
        for book in self._books.values():
            book.draining = True
        await self._jobs.stop(timeout / 2)
        while any(book.busy for book in self._books.values()):
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_DRAINING)
        return True

    async def run_until_signal(self, timeout: float = 10.0) -> str:
        """Waits for SIGTERM or SIGINT, then ends the running fleet gracefully; returns the signal's name.

        Nothing new is taken (`drain`); what runs and waits has half of `timeout`, handlers and what is left of it a
        quarter more. Then they are cancelled, and the sessions disconnected, which takes 3 s beyond `timeout` at most.
        A second signal cancels at once; a third does what it did before. To be called in the main thread.

        Hazard: an operation or a handler that swallows its cancellation is left behind, and `asyncio.run` waits for it.
        """
        self._running()
        with StopSignals() as signals:
            await signals.stop.wait()
            await end(self, timeout, signals.hurry)
            return signals.name

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    # -- work ----------------------------------------------------------------------------------------

    def on(
        self,
        event: object,
        *,
        sessions: str = "*",
        name: str | None = None,
        supervision: Supervision | None = None,
        once: bool = False,
        durable: Durable = "soon",
    ) -> Callable[[H], H]:
        """Marks a function as the handler of Telethon events, in every session whose name matches.

        Each matching session has a monitor of its own for it, now and when sessions are added. Put it before
        `start`; while the fleet runs, use `monitor`.

        Args:
            event: One of `telethon.events`, with its usual filters.
            sessions: Names, with `*` and `?` as wildcards.
            name: Of the monitor; one registered again by that name is replaced. Default: the function's.
            supervision: How its failures are answered. Default: restarted up to 5 times in 60 s, then stopped.
            once: Whether what happens in a channel comes once from all of these sessions that watch it, not once from
                each: from whichever is first, and from another if that one is cut off. One whose handler failed has
                been had.
            durable: When it is in the fleet's store that the handler is done with an event. `soon`: with all else that
                was done within 20 ms, and after a kill of the process that much comes a second time. `each`: before the
                next event begins, so that one may come a second time, at the price of a write for each. `before`:
                before the handler begins, so that none comes a second time, and one may be lost.

        Raises:
            TypeError: `event` isn't one that can be monitored, or the handler can't be called.
            ValueError: Another handler has the name that this one has by default; or `durable` isn't one of its words,
                or asks for a store, and the fleet has none.
            RuntimeError: The fleet runs.
        """
        if self._manager is not None:
            raise RuntimeError("the fleet runs: register handlers before, or with `await fleet.monitor(...)`")

        self._lasting.check_durable(durable)

        def register(handler: H) -> H:
            self._monitors.note(self._monitors.spec(event, handler, name, supervision, once, durable), sessions)
            return handler

        return register

    async def monitor(
        self,
        event: object,
        handler: EventHandler,
        *,
        sessions: str = "*",
        name: str | None = None,
        supervision: Supervision | None = None,
        once: bool = False,
        durable: Durable = "soon",
    ) -> None:
        """Registers a handler while the fleet runs, in every session whose name matches; arguments as for `on`.

        When it returns, each living one of them watches; those that are added later will.

        Raises:
            TypeError: `event` isn't one, or the handler can't be called.
            ExceptionGroup: Some sessions couldn't; the others watch.
        """
        self._lasting.check_durable(durable)
        spec = self._monitors.spec(event, handler, name, supervision, once, durable)
        self._running()
        await self._lasting.resume(spec.once)
        await self._monitors.register(spec, sessions)

    async def remove_monitor(self, name: str, *, sessions: str = "*") -> int:
        """Stops the monitors of that name, within 5 s each; returns how many there were."""
        return await self._monitors.remove(name, sessions, running=self._manager is not None)

    async def bulk_send(
        self,
        recipients: Sequence[object],
        text: str,
        *,
        sessions: str | Sequence[str] = "*",
        priority: int | None = None,
        timeout: float | None = None,
        patience: float = 3600.0,
        progress: Callable[[Delivery], None] | None = None,
    ) -> BulkReport:
        """Sends `text` to each recipient exactly once, shared out over the sessions; returns what became of each.

        A message is never moved to another session. A session that ends takes the rest of its share with it.

        Args:
            sessions: Names, or one pattern.
            patience: Seconds for all of it within which flood waits and paces are waited out, and a message is tried
                again, with the same random_id, whose session was full or lost its answer. Then it has failed.
            progress: Is called with each delivery as it is known. What it raises ends the bulk send.

        Raises:
            ValueError: No session matches.
            SessionUnknown: There is no session of one of the names.
        """
        self._running()
        if isinstance(recipients, str):
            raise TypeError(f"recipients are a list of peers, not one text: {recipients!r}")
        names = self.names(sessions) if isinstance(sessions, str) else list(sessions)
        if not names:
            raise ValueError(f"no session of the fleet matches {sessions!r}")
        return await bulk_send(
            recipients,
            text,
            [self[name] for name in names],
            self._system.tasks,
            priority=priority,
            timeout=timeout,
            patience=patience,
            progress=progress,
        )

    @property
    def jobs(self) -> Jobs:
        """Bulk sends and scrapes that survive the process; they need a store."""
        return self._jobs

    # -- a look inside -------------------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """The limits of this fleet."""
        return self._limits

    @property
    def store(self) -> Store | None:
        """What outlives the process, open while the fleet runs; None if the fleet was given none."""
        return self._lasting.store

    @property
    def tasks(self) -> FleetTasks:
        """The tasks that run now: counts and details, by session, by type, in all (R-T)."""
        return FleetTasks(self._system.tasks, self._books)

    @property
    def system(self) -> ActorSystem:
        """The actor system below."""
        return self._system

    def status(self) -> FleetStatus:
        """A picture of the whole fleet. Only reads; disturbs nobody."""
        tasks = self._system.tasks.details() if self._system.running else []
        return fleet_status(self._books, self._board.status(), tasks)

    # -- parts ---------------------------------------------------------------------------------------

    def _connections(self) -> Iterator[Connection]:
        return (book.connection for book in list(self._books.values()) if book.connection is not None)

    def _client_tasks(self) -> Iterator[TaskDetails]:
        """The tasks that Telethon runs for each session, and those that write it into the store."""
        for book in self._books.values():
            if book.connection is not None:
                yield from book.connection.tasks(f"/manager/{book.name}")
            if isinstance(book.session, StoredSession):
                yield from book.session.tasks(f"/manager/{book.name}")
