"""The turnstile of one session: what a flood wait parks doesn't get through, and nothing gets through too fast.

There are two places to wait (docs/decisions/0010). Whoever asks for an operation waits here before it is queued, in
its own task, so neither the session's turn nor a permit is held meanwhile. And every single request passes `admit`
before it is made, in whatever operation: that is what guarantees the deadlines and the windows. What doesn't get
through there goes back to the first place (`HeldBack`), or, where an operation can't be begun again, waits in its turn.

Invariant: nobody waits here past his deadline, nor when the session has ended; no timer is set unless somebody waits.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

from telethon.errors.common import MultiError
from telethon.extensions.binaryreader import BinaryReader

from telestage.actors.telegram.errors import FloodParked, PaceTimeout, SessionDead, SessionError
from telestage.actors.telegram.failures import flood_reason, wait_seconds
from telestage.actors.telegram.floods import PEER_FLOOD, Ledger, end_of
from telestage.actors.telegram.limits import Limits, Pace
from telestage.actors.telegram.pacing import Key, Pacer, Place
from telestage.actors.telegram.scope import Turn
from telestage.actors.telegram.shapes import Shape, marked, peer_of_request, shape_of
from telestage.messages import FloodStatus, HistoryPage, Kind, MembersPage, Operation, SendMessage

__all__ = ["HeldBack", "Turnstile"]

_PARKS_ALL = (Kind.SENDING.value, Kind.SCRAPING.value, "resolving", "joining")
_NAMES = 1000  # usernames whose ids are remembered
_SLOWEST = 3600.0  # seconds a request outside any turn waits for its pace at most; its own caller has deadlines


class HeldBack(SessionError):
    """An operation was let in for less than it turned out to need. Whoever asked for it waits, and asks again.

    Not before `until` (Unix seconds), as things stand.
    """

    def __init__(self, session: str, needs: tuple[Key, ...], until: float) -> None:
        super().__init__(session, f"held back: {', '.join(pace for pace, _ in needs)} is paced")
        self.needs = needs
        self.until = until


class Turnstile:
    """What a session's requests pass. It outlives restarts of the session.

    Args:
        session: Its name.
        limits: Of the fleet.
    """

    def __init__(self, session: str, limits: Limits) -> None:
        self.ledger = Ledger(session)
        self.pacer = Pacer(limits.pace, limits.pace_recovery) if limits.paced else None
        self._session = session
        self._limits = limits
        self._places: dict[str, Place] = {}
        self._names: dict[str, int] = {}
        self._paced: set[asyncio.Future[None]] = set()
        self._parked: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def armed(self) -> bool:
        """Whether a request has anything to pass: without, it needn't call `admit`."""
        return self.pacer is not None or bool(self.ledger)

    # -- whoever asks ----------------------------------------------------------------------------------

    def place(self, operation: object, requests: Sequence[object] = ()) -> Place | None:
        """The place of an operation in the queue; None if it needs none.

        Args:
            operation: Anything with a `kind` and a `priority`.
            requests: What it is going to make, if that is known.
        """
        if self.pacer is None:
            return None
        needs: tuple[Key, ...] = ()
        for request in requests:
            shape = shape_of(request)
            needs = _joined(needs, _needs(shape, peer_of_request(request, shape)))
        if not requests:
            needs = self._needs_of(operation)
        priority: int = getattr(operation, "priority", 0)
        return self.pacer.place(needs, priority)

    async def enter(self, operation_id: str, place: Place, give_up: float) -> None:
        """Returns when the operation may be queued: at once, or when its turn has come.

        Args:
            operation_id: By which `placed` finds it.
            place: Its own.
            give_up: Its deadline, on the loop's clock.

        Raises:
            PaceTimeout: It would begin after its deadline; at once where that is known.
        """
        if place.needs:
            await self._let_in(place, give_up)
        self._places[operation_id] = place

    def leave(self, operation_id: str, place: Place) -> None:
        """The attempt is over. What it was let in for and hasn't done is somebody else's."""
        self._places.pop(operation_id, None)
        if place.held:
            self._free(place)

    def crowd(self, kind: Kind) -> tuple[int, float]:
        """How many wait here, and seconds before which none of this kind that came now would be let in."""
        pacer = self.pacer
        if pacer is None:
            return 0, 0.0
        now = time.monotonic()
        place = pacer.place(_paces_of(kind), 0)
        return pacer.waiting, pacer.earliest(place, now) - now if place.needs else 0.0

    def placed(self, operation_id: str) -> Place | None:
        """What an operation that has entered was let in for."""
        return self._places.get(operation_id)

    async def sit_out(self, seconds: float) -> None:
        """Waits for so long, but no longer than the session lives, or until a person has it resumed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = asyncio.get_running_loop().call_later(seconds, _wake, future)
        await self._wait(future, timer, self._parked)

    def resume(self) -> bool:
        """A person ends the pause that PEER_FLOOD began; says whether there was one."""
        resumed = self.ledger.resume()
        for future in self._parked:
            _wake(future)
        return resumed

    def end(self) -> None:
        """The session has ended: nobody waits any more."""
        for future in (*self._parked, *self._paced):
            _wake(future)

    # -- requests --------------------------------------------------------------------------------------

    async def admit(self, requests: Sequence[object], turn: Turn | None) -> None:
        """Returns when these may be made.

        Args:
            turn: In which they are made; None for Telethon's own.

        Raises:
            FloodParked: Telegram doesn't want one of them now.
            HeldBack: The operation is to wait elsewhere, and then to be begun again.
            PaceTimeout: It would be made after the deadline of its turn.
            SessionDead: The session has ended while it waited.
        """
        for request in requests:
            shape = shape_of(request)
            peer = peer_of_request(request, shape)
            if self.ledger:
                flood = self.ledger.refuses(shape, peer, time.time())
                if flood is not None:
                    raise self._met(flood, turn)
            if self.pacer is not None and shape.paces:
                if peer is not None and turn is not None and turn.name is not None:
                    self._learn(turn.name, peer)
                await self._pace(self.pacer, _needs(shape, peer), turn)

    async def _pace(self, pacer: Pacer, needs: tuple[Key, ...], turn: Turn | None) -> None:
        place = turn.place if turn is not None else None
        if place is None:
            place = Place((), 0, 0)
        lacking = tuple(key for key in needs if key not in place.held)
        if lacking:
            more = pacer.place(lacking, place.priority)
            if place.needs:
                more.seq = place.seq  # it came then
            if not pacer.enter(more, time.monotonic()):
                pacer.leave(more)
                if turn is not None and turn.repeatable:
                    now = time.monotonic()
                    raise HeldBack(self._session, needs, time.time() + pacer.earliest(more, now) - now)
                deadline = asyncio.get_running_loop().time() + _SLOWEST if turn is None else turn.until
                await self._let_in(more, deadline)
                if not more.held:
                    raise SessionDead(self._session, "ended while a request waited for its pace")
            place.held.extend(lacking)
        pacer.use(place, needs, time.monotonic())
        if pacer.waiting:
            self._look()

    def met(self, error: BaseException, request: object, turn: Turn | None) -> FloodParked | None:
        """Notes the flood wait that a request was refused with; None if the error isn't one.

        What it parks is all requests of its kind; for kinds without a name of their own, that method, and the kind of
        the operation that made it. What Telethon asks by itself is parked by whoever had it ask.
        """
        if isinstance(error, MultiError):
            several: Any = error  # its attributes carry no annotations
            pairs = zip(several.exceptions, several.requests, strict=False)
            found = [self.met(each, made, turn) for each, made in pairs if each is not None]
            return next((each for each in found if each is not None), None)
        reason = flood_reason(error)
        if reason is None:
            return None
        shape = shape_of(request)
        kind = shape.kind
        if kind not in _PARKS_ALL:
            if turn is None:
                return None
            kind = turn.kind
        seconds = self._limits.peer_flood if reason == PEER_FLOOD else wait_seconds(error)
        peer = peer_of_request(request, shape)
        if reason == PEER_FLOOD:
            kind = Kind.SENDING.value
        flood = self.ledger.park(
            kind, shape.method, seconds, reason, time.time(), peer if reason == "SLOWMODE_WAIT" else None
        )
        if self.pacer is not None and reason != "SLOWMODE_WAIT":
            self.pacer.slow_down(_needs(shape, peer), time.monotonic())
        return self._met(flood, turn)

    # -- parts -----------------------------------------------------------------------------------------

    def _met(self, flood: FloodStatus, turn: Turn | None) -> FloodParked:
        parked = FloodParked(self._session, flood.kind, end_of(flood), flood.peer)
        if turn is not None:
            parked.again = turn.repeatable
            turn.flood = parked
        return parked

    def _needs_of(self, operation: object) -> tuple[Key, ...]:
        kind = getattr(operation, "kind", None)
        if isinstance(operation, Operation):
            request = operation.request
            if isinstance(request, SendMessage):
                return _sending(self._id_of(request.peer))
            if isinstance(request, HistoryPage | MembersPage):
                return ((Pace.HISTORY, None),)
        return _paces_of(kind)

    def _learn(self, name: str, peer: int) -> None:
        """Whom a name stands for, so that the next one who uses it waits where it should."""
        if len(self._names) >= _NAMES:
            del self._names[next(iter(self._names))]
        self._names[name.lower()] = peer

    def _id_of(self, peer: object) -> int | None:
        if isinstance(peer, str):
            return self._names.get(peer.lower())
        if isinstance(peer, bytes):
            return marked(BinaryReader(peer).tgread_object())  # type: ignore[no-untyped-call]  # it carries no annotations
        return peer if isinstance(peer, int) else None

    async def _let_in(self, place: Place, give_up: float) -> None:
        pacer = self.pacer
        assert pacer is not None, "only what is paced has a place"
        now = time.monotonic()
        if pacer.enter(place, now):
            return
        loop = asyncio.get_running_loop()
        left = give_up - loop.time()
        try:
            earliest = pacer.earliest(place, now)
            if earliest - now <= left:
                future: asyncio.Future[None] = loop.create_future()
                place.wake = lambda: _wake(future)
                self._look()
                await self._wait(future, loop.call_later(left, _wake, future) if left < math.inf else None, self._paced)
                if place.held:
                    return
            if earliest - now > left or loop.time() >= give_up:
                raise PaceTimeout(self._session, place.needs[0][0].value, time.time() + earliest - now)
            self._free(place)  # woken by the end of the session: there is nothing to wait for
        except BaseException:
            self._free(place)
            raise
        finally:
            place.wake = None

    def _free(self, place: Place) -> None:
        if self.pacer is not None:
            self.pacer.leave(place)
            if self.pacer.waiting or self._timer is not None:
                self._look()

    def _look(self) -> None:
        """Lets in whoever may be now, and looks again when the next one may.

        Both at one moment: whoever may be let in by then and isn't waits for one that a timer is set for. Between two
        moments somebody would be forgotten, and with a timer that was overdue already.
        """
        assert self.pacer is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        self.pacer.let_in(now)
        due = self.pacer.due(now)
        if due < math.inf:
            self._timer = asyncio.get_running_loop().call_later(due - now, self._look)

    async def _wait(
        self, future: asyncio.Future[None], timer: asyncio.TimerHandle | None, among: set[asyncio.Future[None]]
    ) -> None:
        among.add(future)
        try:
            await future
        finally:
            among.discard(future)
            if timer is not None:
                timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _paces_of(kind: object) -> tuple[Key, ...]:
    """What a call is going to make isn't known; if it's of a kind, it is most likely this."""
    if kind is Kind.SENDING:
        return _sending(None)
    return ((Pace.HISTORY, None),) if kind is Kind.SCRAPING else ()


def _sending(peer: int | None) -> tuple[Key, ...]:
    if peer is None:
        return ((Pace.SENDING, None),)
    return ((Pace.SENDING, None), (Pace.USER if peer >= 0 else Pace.GROUP, peer))


def _needs(shape: Shape, peer: int | None) -> tuple[Key, ...]:
    if shape.paces == (Pace.SENDING,):
        return _sending(peer)
    return tuple((pace, None) for pace in shape.paces)


def _joined(first: tuple[Key, ...], second: tuple[Key, ...]) -> tuple[Key, ...]:
    return (*first, *(key for key in second if key not in first))
