"""Thespian's official extension point: a system base that runs its actors on asyncio.

    from thespian.actors import ActorSystem
    system = ActorSystem(AsyncioSystemBase())

runs unmodified Thespian actors, very many in one process, on an event loop in a thread of its own.

Invariants:
- Actors run in that thread only, one message at a time. Hazard: a handler that blocks, blocks them all.
- An answer to an ask that has ended is never given to a later ask; `listen` gets it.
- `shutdown` ends every actor, the loop and the thread. Every wait of an outsider ends with it.
"""
# ruff: noqa: N802, N803 - the names are Thespian's
# mypy: untyped-calls-exclude=thespian

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from time import monotonic
from typing import TypeVar

from thespian.actors import ActorAddress, ActorSystemFailure, ActorSystemRequestTimeout
from thespian.system import isInternalActorSystemMessage
from thespian.system.timing import timePeriodSeconds, toTimeDeltaOrNone

from telestage.actors.kernel.loopthread import LoopBlocked, LoopEnded, LoopThread
from telestage.actors.kernel.system import ActorSystem
from telestage.actors.kernel.thespian.parcel import Parcel
from telestage.actors.kernel.thespian.post import Outsider, PostOffice

__all__ = ["AsyncioSystemBase", "Requester"]

_log = logging.getLogger("Thespian")

T = TypeVar("T")

Period = timedelta | float | None

_REQUEST_PATIENCE = 60.0  # seconds the loop's thread gets to answer a request: a handler may block it
_THREAD_PATIENCE = 30.0  # and to end


class Requester:
    """Somebody outside the system who tells, asks and listens: the main program, or a private context."""

    def __init__(self, base: AsyncioSystemBase, name: str) -> None:
        self.address = ActorAddress(name)
        self._base = base
        self._asks = count(1)
        self._arrived = threading.Condition()
        self._heard: deque[tuple[object, int | None]] = deque()  # without a bound, as Thespian's own
        self._closed = False

    def put(self, message: object, ask: int | None) -> None:
        """Takes a message in; `ask` is the ask it goes back to, if any."""
        if isInternalActorSystemMessage(message):
            return
        with self._arrived:
            self._heard.append((message, ask))
            self._arrived.notify_all()

    def close(self) -> None:
        """Ends every wait."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()

    def tell(self, anActor: ActorAddress, msg: object) -> None:
        """Sends `msg`; expects nothing."""
        self._base.post(Parcel(msg, self.address, anActor, None))

    def ask(self, anActor: ActorAddress, msg: object, timeout: Period) -> object:
        """Sends `msg` and returns what comes first: an answer, or what was sent of nobody's asking.

        Returns:
            None if nothing comes within `timeout` (default: for ever), or if the system ends.
        """
        ask = next(self._asks)
        self._base.post(Parcel(msg, self.address, anActor, ask))
        return self._take(timeout, lambda answered: answered is None or answered == ask)

    def listen(self, timeout: Period) -> object:
        """Returns what comes, or has come, first, late answers too; None as `ask` does."""
        return self._take(timeout, lambda answered: True)

    def newPrimaryActor(
        self,
        actorClass: object,
        targetActorRequirements: object = None,
        globalName: str | None = None,
        sourceHash: str | None = None,
    ) -> ActorAddress:
        """As the base's."""
        return self._base.newPrimaryActor(actorClass, targetActorRequirements, globalName, sourceHash)

    def exit_context(self) -> None:
        """Ends this outsider."""
        self.close()
        self._base.dismiss(self)

    def _take(self, timeout: Period, wanted: Callable[[int | None], bool]) -> object:
        self._base.check_outside()
        period = toTimeDeltaOrNone(timeout)
        deadline = None if period is None else monotonic() + timePeriodSeconds(period)
        with self._arrived:
            while True:
                for place, (message, ask) in enumerate(self._heard):
                    if wanted(ask):
                        del self._heard[place]
                        return message
                left = None if deadline is None else deadline - monotonic()
                if self._closed or (left is not None and left <= 0):
                    return None
                self._arrived.wait(left)


class AsyncioSystemBase:
    """A base for `thespian.actors.ActorSystem`.

    Args:
        capabilities: Of the system, for actors that require some; Thespian's own are added to it. An
            `ActorSystem` doesn't tell a base made beforehand of the capabilities it is given itself, so
            give them here: `ActorSystem(AsyncioSystemBase(capabilities), capabilities)`.
    """

    def __init__(self, capabilities: dict[str, object] | None = None) -> None:
        self.capabilities = {} if capabilities is None else capabilities
        self._private = count(1)
        self._main = Requester(self, "System:ExternalRequester")
        self._thread = LoopThread("telestage thespian", self._serve, patience=_REQUEST_PATIENCE)
        self._office = self._thread.value

    # -- what Thespian's ActorSystem calls ------------------------------------------------------------

    def newPrimaryActor(
        self,
        actorClass: object,
        targetActorRequirements: object = None,
        globalName: str | None = None,
        sourceHash: str | None = None,
    ) -> ActorAddress:
        """Makes an actor directly below the system."""
        return self._call(
            lambda: self._office.create_primary(actorClass, targetActorRequirements, globalName, sourceHash)
        )

    def tell(self, anActor: ActorAddress, msg: object) -> None:
        """As `Requester.tell`."""
        self._main.tell(anActor, msg)

    def ask(self, anActor: ActorAddress, msg: object, timeout: Period) -> object:
        """As `Requester.ask`."""
        return self._main.ask(anActor, msg, timeout)

    def listen(self, timeout: Period) -> object:
        """As `Requester.listen`."""
        return self._main.listen(timeout)

    def external_clone(self) -> Requester:
        """An outsider of its own, for a thread of its own."""
        requester = Requester(self, f"System:ExternalRequester:{next(self._private)}")
        self._call(lambda: self._office.admit(requester))
        return requester

    def updateCapability(self, capabilityName: str, capabilityValue: object = None) -> None:
        """Sets a capability, or takes it away."""
        self._call(lambda: self._office.update_capability(capabilityName, capabilityValue))

    def loadActorSource(self, fname: object) -> str:
        """Loads a zip of modules; returns its hash."""
        return self._call(lambda: self._office.sources.load(fname))

    def unloadActorSource(self, sourceHash: str) -> None:
        """Forgets a zip of modules."""
        self._call(lambda: self._office.sources.unload(sourceHash))

    def shutdown(self) -> None:
        """Ends every actor, then the loop and its thread. Idempotent."""
        with contextlib.suppress(LoopEnded):  # an actor ended the system
            self._thread.post(self._office.end)
        if not self._thread.inside and not self._thread.join(_THREAD_PATIENCE):
            _log.warning(
                "the thread of the actor system did not end within %g s: a handler blocks it", _THREAD_PATIENCE
            )

    # -- what its outsiders need ----------------------------------------------------------------------

    def post(self, parcel: Parcel) -> None:
        """Sends a parcel from outside.

        Raises:
            ActorSystemFailure: The system has ended.
        """
        try:
            self._thread.post(self._office.route, parcel)
        except LoopEnded as error:
            raise ActorSystemFailure("the actor system has been shut down") from error

    def dismiss(self, outsider: Outsider) -> None:
        """Takes an outsider's address away."""
        self._call(lambda: self._office.dismiss(outsider))

    def check_outside(self) -> None:
        """Refuses a wait in the thread that everything else runs in.

        Raises:
            ActorSystemFailure: An actor asks or listens as if it were outside.
        """
        if self._thread.inside:
            raise ActorSystemFailure("an actor can't wait for its own system: send, and get the answer as a message")

    # -- parts ----------------------------------------------------------------------------------------

    def _call(self, function: Callable[[], T]) -> T:
        """Runs `function` on the loop, and waits for it."""
        try:
            return self._thread.call(function, timeout=_REQUEST_PATIENCE)
        except LoopEnded as error:
            raise ActorSystemFailure("the actor system has been shut down") from error
        except LoopBlocked as error:
            raise ActorSystemRequestTimeout(f"no answer within {_REQUEST_PATIENCE:g} s: a handler blocks") from error

    async def _serve(self, started: Callable[[PostOffice], None]) -> None:
        async with ActorSystem("thespian") as system:
            office = PostOffice(system, self.capabilities)
            office.admit(self._main)
            started(office)
            try:
                await office.ended.wait()
                await office.exit_all()
            finally:
                office.close_all()
