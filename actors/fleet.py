"""What a service embeds: a fleet of Telegram sessions on the running event loop.

The fleet starts no thread and installs nothing globally. One session's trouble is its own: a session
that can't connect keeps trying, one that Telegram ended is `DEAD`, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

from telethon.sessions.abstract import Session
from telethon.sessions.sqlite import SQLiteSession
from telethon.sessions.string import StringSession

from telestage.actors.kernel import ActorSystem, Directive, Ref, Supervision, TaskRegistry
from telestage.actors.telegram.book import EventHandler, MonitorBook, MonitorSpec, SessionBook
from telestage.actors.telegram.bulk import BulkReport, Delivery, bulk_send
from telestage.actors.telegram.errors import SessionDead, SessionExists, SessionUnknown
from telestage.actors.telegram.handle import SessionHandle
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.manager import AddSession, ManagerActor, PermitBoard
from telestage.actors.telegram.router import checked_builder
from telestage.actors.telegram.session import Credentials
from telestage.messages import (
    FleetStatus,
    PauseSession,
    RemoveSession,
    ResumeSession,
    TaskStatus,
)

__all__ = ["Fleet"]

_log = logging.getLogger("telestage.fleet")

H = TypeVar("H", bound=EventHandler)

_NAME = re.compile(r"[^/$\s][^/\s]{0,63}")

_MONITOR_SUPERVISION = Supervision(exceeded=Directive.STOP)


class Fleet:
    """Sessions, their manager and their monitors.

    Args:
        api_id: Of the application, from my.telegram.org, as is `api_hash`.
        limits: How much may happen at once, and how long things may take.
        options: Further arguments for Telethon's client, such as `device_model`, for every session.

    Raises:
        ValueError: `api_id` isn't a positive number, or `api_hash` is empty.
    """

    def __init__(
        self,
        api_id: int,
        api_hash: str,
        *,
        limits: Limits | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        if not isinstance(api_id, int) or isinstance(api_id, bool) or api_id < 1:
            raise ValueError(f"api_id must be the positive number from my.telegram.org, not {api_id!r}")
        if not isinstance(api_hash, str) or not api_hash:
            raise ValueError("api_hash must be the text from my.telegram.org; it is empty or no text")
        self._credentials = Credentials(api_id, api_hash)
        self._limits = Limits() if limits is None else limits
        self._options = dict(options or {})
        self._books: dict[str, SessionBook] = {}
        self._refs: dict[str, asyncio.Future[Ref]] = {}
        self._monitors: list[tuple[MonitorSpec, str]] = []
        self._system = ActorSystem("fleet")
        self._board = PermitBoard(self._limits)
        self._manager: Ref | None = None

    # -- life ----------------------------------------------------------------------------------------

    async def start(self, timeout: float = 60.0) -> Self:
        """Starts every session and waits until each is ready or dead, for up to `timeout` seconds.

        One that still connects by then goes on trying; `status` tells.

        Raises:
            RuntimeError: The fleet runs already.
        """
        if self._manager is not None:
            raise RuntimeError("the fleet runs already")
        await self._system.start()
        self._board = PermitBoard(self._limits)
        self._manager = self._system.spawn(
            ManagerActor, self._board, self._credentials, self._limits, name="manager", supervision=_MONITOR_SUPERVISION
        )
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                for book in self._books.values():
                    await self._launch(book)
                for name in list(self._books):
                    try:
                        await self[name].settled()
                    except SessionDead as dead:
                        _log.error("%s", dead)
        except TimeoutError:
            if not limit.expired():
                raise
            _log.warning("not all sessions were ready within %g s", timeout)
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self, timeout: float = 10.0) -> None:
        """Stops every session, each disconnected, within `timeout` seconds. Idempotent."""
        self._manager = None
        await self._system.shutdown(timeout)
        for future in self._refs.values():
            future.cancel()
        self._refs.clear()

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
            session: A Telethon session, the string of a `StringSession`, or the path of an SQLite one that
                ends in `.session`.
            options: Of Telethon's client, over the fleet's own.

        Raises:
            ValueError: The name or the session can't be one.
            SessionExists: There is a session of that name.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"a session's name has 1 to 64 characters, no '/' or space, and no '$' at its start: {name!r}"
            )
        if name in self._books:
            raise SessionExists(name)
        book = SessionBook(name, _session(name, session), {**self._options, **options})
        for spec, pattern in self._monitors:
            if fnmatch.fnmatchcase(name, pattern):
                book.monitors[spec.name] = MonitorBook(spec, name)
        self._books[name] = book
        if self._manager is not None:
            self._system.tasks.spawn(self._launch(book), type="launch", owner=name)
        return self[name]

    async def remove(self, name: str, timeout: float = 5.0) -> None:
        """Disconnects a session and forgets it.

        Raises:
            SessionUnknown: There is none of that name.
        """
        book = self._book(name)
        if self._manager is not None:
            ref = await self._ref(name)
            await self._manager.ask(RemoveSession(session=name, timeout=timeout))
            await ref.stopped(timeout + 5.0)
        self._refs.pop(name, None)
        del self._books[book.name]

    async def pause(self, name: str) -> None:
        """Starts no further operation of the session until `resume`; what waits stays queued."""
        self._book(name)
        await self._running().ask(PauseSession(session=name))

    async def resume(self, name: str) -> None:
        """Ends a `pause`."""
        self._book(name)
        await self._running().ask(ResumeSession(session=name))

    async def restart(self, name: str, reason: str = "restart asked for") -> None:
        """Makes a session anew: its operation is interrupted, its queue is kept."""
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
    ) -> Callable[[H], H]:
        """Marks a function as the handler of Telethon events, in every session whose name matches.

        Each matching session has a monitor of its own for it, now and when sessions are added. Put it before
        `start`; while the fleet runs, use `monitor`.

        Args:
            event: One of `telethon.events`, with its usual filters.
            sessions: Names, with `*` and `?` as wildcards.
            name: Of the monitor; one registered again by that name is replaced. Default: the function's.
            supervision: How its failures are answered. Default: restarted up to 5 times in 60 s, then stopped.

        Raises:
            TypeError: `event` isn't one, or the handler can't be called.
            RuntimeError: The fleet runs.
        """
        if self._manager is not None:
            raise RuntimeError("the fleet runs: register handlers before, or with `await fleet.monitor(...)`")

        def register(handler: H) -> H:
            spec = self._spec(event, handler, name, supervision)
            self._monitors = [known for known in self._monitors if known[0].name != spec.name]
            self._monitors.append((spec, sessions))
            for book in self._books.values():
                book.monitors.pop(spec.name, None)
                if fnmatch.fnmatchcase(book.name, sessions):
                    book.monitors[spec.name] = MonitorBook(spec, book.name)
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
    ) -> None:
        """Registers a handler while the fleet runs, in every session whose name matches; arguments as for `on`.

        When it returns, each of them watches.
        """
        spec = self._spec(event, handler, name, supervision)
        for session in self.names(sessions):
            await self[session].register_monitor(spec)

    async def remove_monitor(self, name: str, *, sessions: str = "*") -> int:
        """Stops the monitors of that name, within 5 s each; returns how many there were."""
        found = 0
        for session in self.names(sessions):
            found += await self[session].remove_monitor(name)
        return found

    async def bulk_send(
        self,
        recipients: Sequence[object],
        text: str,
        *,
        sessions: str | Sequence[str] = "*",
        priority: int | None = None,
        timeout: float | None = None,
        progress: Callable[[Delivery], None] | None = None,
    ) -> BulkReport:
        """Sends `text` to each recipient exactly once, shared out over the sessions; returns what became of each.

        A message is never moved to another session. A session that ends takes the rest of its share with it.

        Args:
            sessions: Names, or one pattern.
            progress: Is called with each delivery as it is known.

        Raises:
            ValueError: No session matches.
        """
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
            progress=progress,
        )

    def names(self, pattern: str = "*") -> list[str]:
        """The names of the sessions that match, in the order in which they were added."""
        return [name for name in self._books if fnmatch.fnmatchcase(name, pattern)]

    # -- a look inside -------------------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """The limits of this fleet."""
        return self._limits

    @property
    def tasks(self) -> TaskRegistry:
        """The tasks that run now (R-T)."""
        return self._system.tasks

    @property
    def system(self) -> ActorSystem:
        """The actor system below."""
        return self._system

    def status(self) -> FleetStatus:
        """A picture of the whole fleet. Only reads; disturbs nobody."""
        tasks = self._system.tasks.details() if self._system.running else []
        return FleetStatus(
            sessions=[book.status() for book in self._books.values()],
            permits=self._board.status(),
            monitors=[monitor.status() for book in self._books.values() for monitor in book.monitors.values()],
            tasks=[
                TaskStatus(
                    name=task.name,
                    type=task.type,
                    session=_owner(task.owner),
                    operation=task.operation,
                    age=max(0.0, task.age),
                    state="running",
                )
                for task in tasks
            ],
        )

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

    async def _launch(self, book: SessionBook) -> None:
        future = self._future(book.name)
        ref = await self._running().ask(AddSession(book), expecting=Ref)  # type: ignore[type-abstract]  # checked by isinstance
        if not future.done():
            future.set_result(ref)

    def _future(self, name: str) -> asyncio.Future[Ref]:
        future = self._refs.get(name)
        if future is None:
            future = self._refs[name] = asyncio.get_running_loop().create_future()
        return future

    async def _ref(self, name: str) -> Ref:
        self._running()
        return await asyncio.shield(self._future(name))

    def _spec(
        self, event: object, handler: EventHandler, name: str | None, supervision: Supervision | None
    ) -> MonitorSpec:
        if not callable(handler):
            raise TypeError(f"a handler is a function that takes one event, not {handler!r}")
        if name is None:
            name = str(getattr(handler, "__name__", type(handler).__name__))
        if not _NAME.fullmatch(name):
            name = re.sub(r"[/$\s]", "_", name)[:64] or "monitor"
        return MonitorSpec(
            name, checked_builder(event), handler, supervision or _MONITOR_SUPERVISION, self._limits.monitor_queue
        )


def _session(name: str, session: Session | str) -> Session:
    if isinstance(session, Session):
        return session
    if isinstance(session, str) and session.endswith(".session"):
        return SQLiteSession(session)
    try:
        return StringSession(session)
    except Exception as error:
        raise ValueError(
            f"session {name!r}: neither a Telethon session, a session string nor a path that ends in .session"
        ) from error


def _owner(path: str) -> str | None:
    """The session of a path such as /manager/alice/keep."""
    parts = path.strip("/").split("/")
    if len(parts) == 1 and path.startswith("/"):
        return None
    return parts[1] if len(parts) > 1 and parts[0] == "manager" else parts[0]
