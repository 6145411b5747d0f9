"""The monitors of a fleet: which sessions have which, before it runs and while it does.

Invariant: a session has a monitor exactly if its name matches the pattern that the monitor was registered with,
whichever of the two came first. A session that has ended takes no part.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping

from telestage.actors.kernel import Supervision
from telestage.actors.telegram.book import Durable, EventHandler, MonitorBook, MonitorSpec, SessionBook
from telestage.actors.telegram.handle import SessionHandle
from telestage.actors.telegram.once import Once
from telestage.actors.telegram.registrations import Registrations
from telestage.messages import SessionState

__all__ = ["FleetMonitors", "matching"]

_ENDED = (SessionState.DEAD, SessionState.STOPPED)


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that match, in their order; `*` and `?` are wildcards."""
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


class FleetMonitors:
    """What a fleet knows of its monitors.

    Args:
        books: Of the fleet's sessions, by name.
        handle: Gives a session as its users see it.
        capacity: How many events may wait for one monitor.
    """

    def __init__(self, books: Mapping[str, SessionBook], handle: Callable[[str], SessionHandle], capacity: int) -> None:
        self._books = books
        self._handle = handle
        self._registrations = Registrations(capacity)

    def spec(
        self,
        event: object,
        handler: EventHandler,
        name: str | None,
        supervision: Supervision | None,
        once: bool = False,
        durable: Durable = "soon",
    ) -> MonitorSpec:
        """What a monitor for this handler is; raises as `Registrations.spec` does."""
        return self._registrations.spec(event, handler, name, supervision, once, durable)

    def shared(self) -> Iterator[Once]:
        """What the monitors have had that get each event once from all their sessions."""
        return self._registrations.shared()

    def begin(self, book: SessionBook) -> None:
        """Gives a session that is added the monitors that its name matches."""
        for spec in self._registrations.of(book.name):
            book.monitors[spec.name] = MonitorBook(spec, book.name)

    def note(self, spec: MonitorSpec, sessions: str) -> None:
        """Registers a monitor before the fleet runs."""
        self._registrations.add(spec, sessions)
        for book in self._books.values():
            book.monitors.pop(spec.name, None)
            if fnmatch.fnmatchcase(book.name, sessions):
                book.monitors[spec.name] = MonitorBook(spec, book.name)

    async def register(self, spec: MonitorSpec, sessions: str) -> None:
        """Registers a monitor while the fleet runs.

        Raises:
            ExceptionGroup: Some sessions couldn't; the others watch.
        """
        self._registrations.add(spec, sessions)
        living = [name for name in matching(self._books, sessions) if self._books[name].state not in _ENDED]
        results = await asyncio.gather(
            *(self._handle(name).register_monitor(spec) for name in living), return_exceptions=True
        )
        errors = [result for result in results if isinstance(result, Exception)]
        if errors:
            raise ExceptionGroup(f"monitor {spec.name!r} could not be registered everywhere", errors)

    async def remove(self, name: str, sessions: str, *, running: bool) -> int:
        """Takes a monitor away, within 5 s each; returns how many there were."""
        self._registrations.remove(name, sessions)
        names = [each for each in matching(self._books, sessions) if name in self._books[each].monitors]
        living = [each for each in names if running and self._books[each].state not in _ENDED]
        for each in set(names).difference(living):
            self._books[each].monitors.pop(name, None)
        await asyncio.gather(*(self._handle(each).remove_monitor(name) for each in living))
        return len(names)
