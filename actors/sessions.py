"""The sessions of a fleet, by name: added and removed, paused and resumed, before it runs and while it does.

Invariant: one session's trouble is its own. Nothing here waits for another session than the one that it is about.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence

from telethon.sessions.abstract import Session

from telestage.actors.kernel import ActorSystem, Ref
from telestage.actors.lasting import Lasting
from telestage.actors.telegram.adaptive import Timeouts
from telestage.actors.telegram.anysession import AnySession
from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.errors import SessionDead, SessionExists, SessionUnknown
from telestage.actors.telegram.handle import SessionHandle
from telestage.actors.telegram.launching import Launches
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.sources import checked_options, close_session, new_book
from telestage.actors.telegram.stored import StoredSession
from telestage.actors.telegram.watching import FleetMonitors, matching
from telestage.messages import FloodStatus, PauseSession, RemoveSession, ResumeSession

__all__ = ["FleetSessions", "SessionsForJobs"]

_log = logging.getLogger("telestage.fleet")


class FleetSessions:
    """What `Fleet` does with its sessions, one by one.

    Args:
        system: In which they live.
        lasting: What of them outlives the process.
    """

    def __init__(self, system: ActorSystem, lasting: Lasting, limits: Limits, options: Mapping[str, object]) -> None:
        checked_options(options)
        self._system = system
        self._lasting = lasting
        self._limits = limits
        self._options = dict(options)
        self._books: dict[str, SessionBook] = {}
        self._timeouts = Timeouts(limits)
        self._launches = Launches()
        self._monitors = FleetMonitors(self._books, self.__getitem__, limits.monitor_queue)
        self._draining = False
        self._manager: Ref | None = None

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
        if isinstance(session, StoredSession) and self._lasting.store is None:
            raise ValueError(f"session {name!r} is to come from a store, and the fleet has none: give it store=")
        book = new_book(name, session, self._options, options, self._timeouts, self._limits, self._books.values())
        self._monitors.begin(book)
        self._books[name] = book
        book.draining = self._draining
        self._lasting.keep(book)
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
            self._lasting.forget(book)
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
        return self._handle(name)

    def any(self, sessions: str | Sequence[str] = "*") -> AnySession:
        """Several sessions, for reads that may be moved from one that a flood wait parks to another (R-X2).

        Telegram's limits are for each account, and stay so: none of them asks before its time. Hazard: accounts that do
        one work together are seen together. It is for accounts that have this chat to read anyway.

        Args:
            sessions: Names, or one pattern; then those that match as each page is read.

        Raises:
            ValueError: No session matches now.
            SessionUnknown: There is no session of one of the names.
        """
        names = self.names(sessions) if isinstance(sessions, str) else list(sessions)
        if not names:
            raise ValueError(f"no session of the fleet matches {sessions!r}")
        for name in names:
            self._book(name)
        return self._any(sessions)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._books))

    def __len__(self) -> int:
        return len(self._books)

    def __contains__(self, name: object) -> bool:
        return name in self._books

    def names(self, pattern: str = "*") -> list[str]:
        """The names of the sessions that match, in the order in which they were added."""
        return matching(self._books, pattern)

    def floods(self, sessions: str = "*") -> list[FloodStatus]:
        """What Telegram makes the sessions wait for now (R-X2): which kind, to whom, until when, and why.

        Args:
            sessions: Names, with `*` and `?` as wildcards.
        """
        now = time.time()
        return [flood for name in self.names(sessions) for flood in self._books[name].turnstile.ledger.now(now)]

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

    def _handle(self, name: str, *, for_jobs: bool = False) -> SessionHandle:
        return SessionHandle(self._book(name), lambda: self._ref(name), self._limits, for_jobs=for_jobs)

    def _any(self, sessions: str | Sequence[str], *, drained: bool = True) -> AnySession:
        chosen = sessions if isinstance(sessions, str) else list(sessions)

        def books() -> list[SessionBook]:
            names = self.names(chosen) if isinstance(chosen, str) else chosen
            return [book for name in names if (book := self._books.get(name)) is not None]

        return AnySession(chosen, books, self._ref, self._limits, drained=drained)

    async def _ref(self, name: str) -> Ref:
        self._running()
        return await self._launches.ref(self._book(name).name)

    async def _control(self, name: str, message: PauseSession | ResumeSession) -> None:
        await self._ref(name)
        if not await self._running().ask(message):
            raise self._book(name).ended()


class SessionsForJobs:
    """The same, for the jobs of the fleet, which end by themselves as it drains."""

    def __init__(self, sessions: FleetSessions) -> None:
        self._sessions = sessions

    def session(self, name: str) -> SessionHandle:
        """As `Fleet[name]`, but also while the fleet drains; a flood wait is raised at once."""
        return self._sessions._handle(name, for_jobs=True)

    def any(self, names: Sequence[str]) -> AnySession:
        """As `Fleet.any`, but also while the fleet drains, and whichever of them are there."""
        return self._sessions._any(names, drained=False)

    def names(self, pattern: str) -> list[str]:
        """As `Fleet.names`."""
        return self._sessions.names(pattern)

    def has(self, name: str) -> bool:
        """Whether it is there, and not in use by another fleet."""
        book = self._sessions._books.get(name)
        return book is not None and book.in_use is None
