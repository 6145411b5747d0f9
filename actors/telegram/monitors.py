"""The monitors of one session: taken up, replaced and removed, each in a turn of its own.

Invariant: from the moment a session has a monitor, each update is given to it or kept for it, until it is taken away
or its filter turns out to be one that can't be. That it can't be taken up yet delays nothing but its own events.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable

import msgspec
from telethon.errors import BadRequestError, ForbiddenError, ServerError, TimedOutError

from telestage.actors.kernel import Actor, Ref
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.book import MonitorBook, MonitorSpec, Running, SessionBook
from telestage.actors.telegram.connection import ConnectionLost
from telestage.actors.telegram.errors import FloodParked, PermitTimeout
from telestage.actors.telegram.failures import flood_seconds, terminal_reason
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.monitor import MonitorActor
from telestage.actors.telegram.permission import permit
from telestage.actors.telegram.router import Route, Router, find_route
from telestage.actors.telegram.scope import Turn
from telestage.actors.telegram.shapes import method_of
from telestage.actors.telegram.turnstile import HeldBack
from telestage.messages import Kind

__all__ = ["SessionMonitors", "TakeUp"]

_log = logging.getLogger("telestage.session")

_DROP_SECONDS = 5.0
_AGAIN_SECONDS = 5.0  # before a monitor is tried again that could not be taken up just then
_SOON = 0.05  # before a monitor is tried again that was only held back
_KIND = Kind.MONITORING


class TakeUp(msgspec.Struct, frozen=True):
    """Have a monitor begin, or go on with the session's new client. Comes by the system lane."""

    monitor: MonitorBook


class SessionMonitors:
    """What a session does about its monitors. Made anew with the session; the books outlive it.

    Args:
        actor: The session.
        book: Of the session.
        manager: Whom permits are asked of.
        limits: Of the fleet.
        router: Of the session.
        park: Notes a flood wait: of which kind, met by what, of how many seconds.
    """

    def __init__(
        self,
        actor: Actor,
        book: SessionBook,
        manager: Ref,
        limits: Limits,
        board: PermitBoard,
        router: Router,
        park: Callable[[str, str, float], Exception],
    ) -> None:
        self._actor = actor
        self._book = book
        self._manager = manager
        self._limits = limits
        self._board = board
        self._router = router
        self._park = park
        self._due: dict[str, asyncio.TimerHandle] = {}

    def expect(self) -> None:
        """Has updates kept for each until it is taken up."""
        for monitor in self._book.monitors.values():
            if not _stopped(monitor):
                self._router.expect(monitor)

    async def take_up(self, monitor: MonitorBook) -> None:
        """Has a monitor begin, or go on with this client: now, or after the flood wait that is met.

        One whose filter names what Telegram doesn't know, or doesn't show to this session, is off until the
        session's next start.

        Raises:
            ConnectionLost: The client has given up.
            RPCError: Telegram won't have the session any more.
        """
        book, spec = self._book, monitor.spec
        known = book.monitors.get(spec.name) is monitor
        if not known or self._router.attends(monitor) or _stopped(monitor) or book.connection is None:
            return
        until = book.parked_until(_KIND.value)
        if until is not None:
            self._again(monitor, until - time.time())
            return
        what = f"monitor {spec.name}"
        operation = uuid.uuid4().hex
        try:
            async with permit(
                self._actor,
                self._manager,
                self._board,
                book.name,
                operation,
                _KIND.value,
                self._limits.priority(_KIND),
            ):
                book.running = Running(_KIND.value, operation, what, time.time())
                try:
                    with Turn(kind=_KIND.value), book.connection.within(self._limits.timeout(Kind.OTHER)):
                        route = await find_route(book.connection.client, spec, book.checkpoint)
                finally:
                    book.running = None
        except ConnectionLost:
            raise
        except (FloodParked, HeldBack) as error:
            self._again(monitor, max(error.until - time.time(), _SOON))
        except (PermitTimeout, TimeoutError, ServerError, TimedOutError) as error:
            _log.warning("%s: monitor %s can't begin yet: %r", book.name, spec.name, error)
            self._again(monitor, _AGAIN_SECONDS)
        except (ValueError, BadRequestError, ForbiddenError) as error:  # what is wrong is what the monitor asks
            if terminal_reason(error) is not None:
                raise
            _log.exception("%s: monitor %s can't begin", book.name, spec.name)
            monitor.unfit += 1
            self._router.detach(spec.name)
            monitor.lost += monitor.give_up()
        except Exception as error:
            seconds = flood_seconds(error)
            if seconds is None:
                raise
            self._park(_KIND.value, method_of(getattr(error, "request", None)), seconds)
            self._again(monitor, seconds)
        else:
            self._attach(route, monitor)

    async def replace(self, spec: MonitorSpec, route: Route) -> None:
        """Starts a monitor, in place of the one of that name. What waits for that one is dropped, and counted."""
        book = self._book
        old = book.monitors.get(spec.name)
        new = book.monitors[spec.name] = MonitorBook(spec, book.name)
        new.keeping = book.keeping
        self._attach(route, new)  # from here on events go to the new one
        if old is not None:
            before = old.events.discarded
            kept = await self._end(old)
            new.lost += kept + old.events.discarded - before

    async def remove(self, name: str) -> bool:
        """Stops a monitor; says whether there was one."""
        known = self._book.monitors.pop(name, None)
        self._router.detach(name)
        if known is None:
            return False
        await self._end(known)
        if self._book.keeping is not None:
            self._book.keeping.forget(name)
        return True

    def close(self) -> None:
        """Waits for nothing any more."""
        for timer in self._due.values():
            timer.cancel()
        self._due.clear()

    def _attach(self, route: Route, monitor: MonitorBook) -> None:
        spec = monitor.spec
        if monitor.ref is None:
            name = spec.name
            while name in self._actor.children:  # the one it replaces is about to stop
                name += "'"
            monitor.ref = self._actor.spawn(MonitorActor, monitor, name=name, supervision=spec.supervision)
        self._router.attach(route, monitor)

    async def _end(self, monitor: MonitorBook) -> int:
        """Stops a monitor; says how many updates were kept for it."""
        if monitor.ref is not None:
            monitor.ref.stop(grace=0.0)
            await monitor.ref.stopped(timeout=_DROP_SECONDS)
        return monitor.give_up()

    def _again(self, monitor: MonitorBook, seconds: float) -> None:
        name = monitor.spec.name
        timer = self._due.pop(name, None)
        if timer is not None:
            timer.cancel()
        self._due[name] = asyncio.get_running_loop().call_later(seconds, self._signal, monitor)

    def _signal(self, monitor: MonitorBook) -> None:
        self._due.pop(monitor.spec.name, None)
        if self._actor.ref.alive:
            self._actor.ref.signal(TakeUp(monitor))


def _stopped(monitor: MonitorBook) -> bool:
    """Whether its supervision has stopped it: only registering it again starts it again."""
    return monitor.ref is not None and not monitor.ref.alive
