"""What a service embeds: a fleet of Telegram sessions on the running event loop.

The fleet starts no thread and installs nothing globally. One session's trouble is its own: a session
that can't connect keeps trying, one that Telegram ended is `DEAD`, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TypeVar

from telethon.sessions.abstract import Session

from telestage.actors.ending import end
from telestage.actors.jobs import Jobs
from telestage.actors.kernel import ActorSystem, Directive, Instrument, Ref, Supervision, TaskDetails
from telestage.actors.stopsignals import StopSignals
from telestage.actors.store import Store, StoreError
from telestage.actors.telegram.adaptive import Timeouts
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.book import Durable, EventHandler, SessionBook
from telestage.actors.telegram.bulk import BulkReport, Delivery, bulk_send
from telestage.actors.telegram.connection import Connection
from telestage.actors.telegram.errors import SessionDead, SessionExists, SessionUnknown
from telestage.actors.telegram.floodstore import FloodKeeper
from telestage.actors.telegram.handle import SessionHandle
from telestage.actors.telegram.keeping import Keeper, SessionKeeping
from telestage.actors.telegram.launching import Launches, all_settled, disconnect_all
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.liveness import Liveness
from telestage.actors.telegram.manager import ManagerActor
from telestage.actors.telegram.owning import Ownership, Owning
from telestage.actors.telegram.picture import fleet_status
from telestage.actors.telegram.session import Credentials
from telestage.actors.telegram.sources import checked_options, close_session, new_book
from telestage.actors.telegram.stored import StoredSession
from telestage.actors.telegram.tasks import FleetTasks
from telestage.actors.telegram.watching import FleetMonitors, matching
from telestage.messages import FleetStatus, FloodStatus, PauseSession, RemoveSession, ResumeSession

__all__ = ["Fleet"]

_log = logging.getLogger("telestage.fleet")

H = TypeVar("H", bound=EventHandler)

_HURRY = 4.0  # seconds for the end of a start that was cancelled: nothing is waited for that could go on
_DRAINING = 0.01  # seconds between looks whether all is done
_MANAGER_SUPERVISION = Supervision(exceeded=Directive.STOP)


class Fleet:
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
        checked_options(options or {})
        self._credentials = Credentials(api_id, api_hash)
        self._limits = Limits() if limits is None else limits
        self._options = dict(options or {})
        self._books: dict[str, SessionBook] = {}
        self._timeouts = Timeouts(self._limits)
        self._launches = Launches()
        self._monitors = FleetMonitors(self._books, self.__getitem__, self._limits.monitor_queue)
        self._system = ActorSystem("fleet", carry=carry, instruments=instruments, hog_limit=hog_limit)
        self._board = PermitBoard(self._limits)
        self._draining = False
        self._liveness = Liveness(self._limits.liveness)
        self._manager: Ref | None = None
        self._store = store if store is None or isinstance(store, Store) else Store(store)
        self._store_key = store_key
        self._store_is_ours = False  # it was opened here
        self._ownership = Ownership() if ownership is None else ownership
        self._owning: Owning | None = None
        self._flood_keeper: FloodKeeper | None = None
        self._jobs = Jobs(self._store, self._undrained, self.names, self._uses, resume=resume_jobs)
        self._keeper: Keeper | None = None

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
        try:
            await self._open_store()
            await self._system.start()
            self._board = PermitBoard(self._limits)
            arguments = (self._board, self._credentials, self._limits)
            self._manager = self._system.spawn(
                ManagerActor, *arguments, name="manager", supervision=_MANAGER_SUPERVISION
            )
            self._system.tasks.add_source(self._client_tasks)
            self._liveness.start(self._connections)
            if self._owning is not None:
                self._system.tasks.spawn(self._owning.leases.keep(), type="leases", owner="fleet")
            self._keeper = await self._new_keeper()
            self._flood_keeper = await self._new_flood_keeper()
            for book in list(self._books.values()):
                book.owning = self._owning
                self._keep(book)
                await self._launches.launch(self._manager, book)
            await self._jobs.start(self._system.tasks)
            await all_settled(list(self._books.values()), timeout)
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
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.close()
        flood_keeper, self._flood_keeper = self._flood_keeper, None
        if flood_keeper is not None:
            await flood_keeper.close()
        await self._close_store()

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

    # -- sessions ------------------------------------------------------------------------------------

    def add(self, name: str, *, session: Session | str, **options: object) -> SessionHandle:
        """Adds a session. While the fleet runs, it begins to connect at once.

        Args:
            name: Up to 64 characters without spaces or `/`, not beginning with `$`.
            session: A Telethon session, the string of a `StringSession`, the path of an SQLite one that ends in
                `.session`, or a `StoredSession`, which is in the fleet's store.
            options: Of Telethon's client, over the fleet's own.

        Raises:
            ValueError: The name, the session or an option can't be one, or its key is another session's (R-X6).
            SessionExists: There is a session of that name.
        """
        if isinstance(name, str) and name in self._books:
            raise SessionExists(name)
        if isinstance(session, StoredSession) and self._store is None:
            raise ValueError(f"session {name!r} is to come from a store, and the fleet has none: give it store=")
        book = new_book(name, session, self._options, options, self._timeouts, self._limits, self._books.values())
        self._monitors.begin(book)
        self._books[name] = book
        book.draining = self._draining
        book.owning = self._owning
        self._keep(book)
        if self._manager is not None:
            self._system.tasks.spawn(self._launches.launch(self._manager, book), type="launch", owner=name)
        return self[name]

    async def remove(self, name: str, timeout: float = 5.0) -> None:
        """Disconnects a session and forgets it. What runs is cancelled; what waits fails with `SessionDead`.

        Args:
            timeout: Seconds for all of it; what runs has the part beyond 5 s to end by itself. What resists its
                cancellation is named in a WARNING and left behind.

        Raises:
            SessionUnknown: There is none of that name.
        """
        book = self._book(name)
        if self._manager is not None:
            with contextlib.suppress(SessionDead):  # it never began
                ref = await self._ref(name)
                book.end_monitors()
                await self._manager.ask(RemoveSession(session=name, timeout=timeout))
                if not await ref.stopped(timeout + 5.0):
                    _log.warning("%s resists its removal; left behind", name)
        if self._books.get(name) is book:  # else somebody else has removed it meanwhile
            self._launches.forget(name)
            del self._books[name]
            if self._flood_keeper is not None:
                self._flood_keeper.forget(book.turnstile)
            await close_session(book.session)

    async def pause(self, name: str) -> None:
        """Starts no further operation of the session until `resume`; what waits stays queued.

        Raises:
            SessionUnknown: There is none of that name.
            SessionDead: It has ended.
        """
        await self._control(name, PauseSession(session=name))

    async def resume(self, name: str) -> None:
        """Ends a `pause`. Raises as `pause` does."""
        await self._control(name, ResumeSession(session=name))

    async def resume_sending(self, name: str) -> bool:
        """Ends the pause of sending that PEER_FLOOD began; says whether there was one. A flood wait goes on (R-X2).

        A person's to decide: find out first why Telegram takes the account for a spammer's. Hazard: an account that
        goes on as before is banned. `telestage floods resume` does the same by the store.

        Raises:
            SessionUnknown: There is none of that name.
        """
        return self._book(name).turnstile.resume()

    async def restart(self, name: str, reason: str = "restart asked for") -> None:
        """Makes a session anew: its operation is interrupted, its queue is kept.

        It has begun when this returns; `await fleet[name].settled()` waits for the end.

        Raises:
            SessionUnknown: There is none of that name.
            SessionDead: It has ended.
        """
        await self[name].kill(reason)

    def __getitem__(self, name: str) -> SessionHandle:
        book = self._book(name)
        return SessionHandle(book, lambda: self._ref(name), self._limits)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._books))

    def __len__(self) -> int:
        return len(self._books)

    def __contains__(self, name: object) -> bool:
        return name in self._books

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

        self._check_durable(durable)

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
        self._check_durable(durable)
        spec = self._monitors.spec(event, handler, name, supervision, once, durable)
        self._running()
        if spec.once is not None and self._keeper is not None:
            await self._keeper.resume(spec.once)
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

    def names(self, pattern: str = "*") -> list[str]:
        """The names of the sessions that match, in the order in which they were added."""
        return matching(self._books, pattern)

    # -- a look inside -------------------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """The limits of this fleet."""
        return self._limits

    @property
    def store(self) -> Store | None:
        """What outlives the process, open while the fleet runs; None if the fleet was given none."""
        return self._store

    @property
    def tasks(self) -> FleetTasks:
        """The tasks that run now: counts and details, by session, by type, in all (R-T)."""
        return FleetTasks(self._system.tasks, self._books)

    @property
    def system(self) -> ActorSystem:
        """The actor system below."""
        return self._system

    def floods(self, sessions: str = "*") -> list[FloodStatus]:
        """What Telegram makes the sessions wait for now (R-X2): which kind, to whom, until when, and why.

        Args:
            sessions: Names, with `*` and `?` as wildcards.
        """
        now = time.time()
        return [flood for name in self.names(sessions) for flood in self._books[name].turnstile.ledger.now(now)]

    def status(self) -> FleetStatus:
        """A picture of the whole fleet. Only reads; disturbs nobody."""
        tasks = self._system.tasks.details() if self._system.running else []
        return fleet_status(self._books, self._board.status(), tasks)

    # -- parts ---------------------------------------------------------------------------------------

    def _book(self, name: str) -> SessionBook:
        book = self._books.get(name)
        if book is None:
            raise SessionUnknown(name)
        return book

    def _running(self) -> Ref:
        if self._manager is None:
            raise RuntimeError("the fleet does not run: use `async with fleet:`, or `await fleet.start()`")
        return self._manager

    def _undrained(self, name: str) -> SessionHandle:
        """For jobs, which end by themselves as the fleet drains."""
        book = self._book(name)
        return SessionHandle(book, lambda: self._ref(name), self._limits, drained=False)

    def _uses(self, name: str) -> bool:
        """Whether a session is there for this fleet, and not in use by another one."""
        book = self._books.get(name)
        return book is not None and book.in_use is None

    async def _ref(self, name: str) -> Ref:
        self._running()
        return await self._launches.ref(self._book(name).name)

    async def _control(self, name: str, message: PauseSession | ResumeSession) -> None:
        await self._ref(name)
        if not await self._running().ask(message):
            raise self._book(name).ended()

    async def _open_store(self) -> None:
        """Opens the store, unless somebody else has."""
        if self._store is not None and not self._store.is_open:
            self._store_is_ours = True
            await self._store.open()
        if self._store is not None:
            self._owning = Owning(self._store, self._ownership, self._store_key)
            await self._owning.leases.open()
            if any(isinstance(book.session, StoredSession) for book in self._books.values()):
                await self._owning.unlock()  # a wrong key is no single session's trouble

    async def _new_keeper(self) -> Keeper | None:
        if self._store is None:
            return None
        tasks = self._system.tasks
        keeper = Keeper(self._store, lambda work: tasks.spawn(work, type="storing", owner="fleet"))
        await keeper.open(self._monitors.shared())
        return keeper

    async def _new_flood_keeper(self) -> FloodKeeper | None:
        if self._store is None:
            return None
        tasks = self._system.tasks
        keeper = FloodKeeper(self._store, lambda work: tasks.spawn(work, type="floods", owner="fleet"))
        await keeper.open()
        return keeper

    def _keep(self, book: SessionBook) -> None:
        """Has where its updates stand, and its floods, be stored while the fleet runs."""
        book.keeping = None if self._keeper is None else SessionKeeping(self._keeper, book.name)
        if self._flood_keeper is not None:
            self._flood_keeper.keep(book.turnstile)

    def _check_durable(self, durable: object) -> None:
        if durable != "soon" and self._store is None:
            raise ValueError(f"durable={durable!r} is about the fleet's store, and it has none: Fleet(..., store=...)")

    async def _close_store(self) -> None:
        owning, self._owning = self._owning, None
        if owning is not None and self._store is not None and self._store.is_open:
            try:
                await owning.leases.release()  # of those that were left behind, too: they are disconnected
            except StoreError as error:
                _log.warning("leases could not be given back, and end by themselves: %s", error)
        if self._store is not None and self._store_is_ours:
            self._store_is_ours = False
            await self._store.close()

    def _connections(self) -> Iterator[Connection]:
        return (book.connection for book in list(self._books.values()) if book.connection is not None)

    def _client_tasks(self) -> Iterator[TaskDetails]:
        """The tasks that Telethon runs for each session."""
        for book in self._books.values():
            if book.connection is not None:
                yield from book.connection.tasks(f"/manager/{book.name}")
