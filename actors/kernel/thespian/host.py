"""An unmodified Thespian actor, hosted in a cell.

Invariants, as Thespian has them:
- An actor is made once and never restarted: a message that it fails on `ATTEMPTS` times in a row goes back to
  its sender as a `PoisonMessage`, and the actor goes on with its state.
- An actor that gets an `ActorExitRequest` handles it, and is gone. Its parent gets `ChildActorExited`.
- `sys.exit()` in an actor ends that actor and its children, not the process that it shares with all others.
- What is sent to an actor that is gone goes to who handles dead letters, as a `DeadEnvelope`.
"""
# mypy: untyped-calls-exclude=thespian

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.messages.status import Thespian_ActorStatus, Thespian_StatusReq
from thespian.system.timing import ExpirationTimer, timePeriodSeconds, toTimeDeltaOrNone

from telestage.actors.kernel.actor import Actor
from telestage.actors.kernel.ask import NO_REPLY, Ask
from telestage.actors.kernel.handlers import handles
from telestage.actors.kernel.thespian.parcel import Parcel
from telestage.actors.kernel.thespian.reference import Reference
from telestage.actors.kernel.thespian.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from telestage.actors.kernel.thespian.post import PostOffice

__all__ = ["ATTEMPTS", "Host"]

_log = logging.getLogger("Thespian")

ATTEMPTS = 3
"""How often a message may fail its actor before it is poison: as in Thespian's simpleSystemBase."""

_POISON_ATTEMPTS = 2  # a PoisonMessage that fails its receiver is dropped


class Host(Actor):
    """The kernel's side of one Thespian actor, and what that actor calls its `_myRef`."""

    def __init__(
        self,
        office: PostOffice,
        address: ActorAddress,
        parent: ActorAddress,
        source_hash: str | None,
        global_name: str | None,
        make: Callable[[], Any],
    ) -> None:
        self.office = office
        self.address = address
        self.parent = parent
        self.kids: list[ActorAddress] = []
        self.born = 0  # children ever made: a child's address is never used again
        self.source_hash = source_hash
        self._wanted: list[tuple[timedelta, object]] = []  # wakeups whose time begins after the message
        self._wakeups: list[tuple[ActorAddress, ExpirationTimer]] = []
        self._watch: Watch | None = None
        self.instance: Any = make()
        self.instance._myRef = Reference(self, address, global_name)

    @handles(Parcel)
    def deliver(self, parcel: Parcel) -> None:
        """Has the actor process a message, as often as it takes to be sure that it can't."""
        message = parcel.message
        if isinstance(message, Thespian_StatusReq):
            self.office.send(parcel.sender, self._status(), self.address)
            return
        if self._watch is not None:
            self._watch.disarm(heard=isinstance(message, WatchMessage))
        self.office.ask = parcel.ask
        result: object = None
        exits = isinstance(message, ActorExitRequest)
        try:
            result = self._attempt(message, parcel.sender)
        except SystemExit as error:
            _log.warning("%s exits on a %s: %r", self.address, type(message).__name__, error)
            exits = True
        finally:
            self.office.ask = None
            self._set_wakeups()
        if isinstance(message, ChildActorExited):
            self.kids = [kid for kid in self.kids if kid != message.childAddress]
        if exits:
            self.exit(recursive=message.isRecursive if isinstance(message, ActorExitRequest) else True)
        elif isinstance(result, ThespianWatch) and result.filenos:
            if self._watch is None:
                self._watch = Watch(self._ready)
            self._watch.arm(result.filenos)

    @handles(object)
    def hear(self, message: object) -> object:
        """Has the actor process what a native actor tells or asks it."""
        if not isinstance(self._cell.current, Ask):
            self.deliver(Parcel(message, self.office.address_of(self.sender), self.address, None))
            return None
        sender = self.office.admit_reply(self.reply_later())
        self.deliver(Parcel(message, sender, self.address, None))
        return NO_REPLY

    def _attempt(self, message: object, sender: ActorAddress) -> object:
        """Returns what the actor made of a message: None if it failed."""
        attempts = _POISON_ATTEMPTS if isinstance(message, PoisonMessage) else ATTEMPTS
        details = ""
        for attempt in range(1, attempts + 1):
            try:
                result: object = self.instance.receiveMessage(message, sender)
            except Exception:
                details = traceback.format_exc()
                kind = type(message).__name__  # not its text: making that may be what fails
                _log.warning("%s failed on a %s (attempt %d)", self.address, kind, attempt, exc_info=True)
            else:
                return result
        if not isinstance(message, PoisonMessage | ChildActorExited):
            self.office.send(sender, PoisonMessage(message, details), self.address)
        return None

    def _ready(self, filenos: list[int]) -> None:
        self.ref.tell(Parcel(WatchMessage(filenos), self.address, self.address, None))

    def exit(self, *, recursive: bool) -> None:
        """Ends the actor; its children too, if `recursive`."""
        self.office.forget(self)
        if recursive:
            for kid in self.kids:
                self.office.send(kid, ActorExitRequest(), self.address)
        self.office.send(self.parent, ChildActorExited(self.address), self.office.system_address)
        self.stop()

    def _status(self) -> Thespian_ActorStatus:
        self._wakeups = [entry for entry in self._wakeups if not entry[1].view().expired()]
        status = Thespian_ActorStatus(self.address, type(self.instance).__name__, self.office.system_address)
        status.addWakeups(self._wakeups)
        for kid in self.kids:
            status.addChild(kid)
        return status

    def wake_after(self, time_period: timedelta | float, payload: object) -> None:
        """Has a `WakeupMessage` sent to the actor later; none comes once it is gone.

        The period begins when the actor is through with its message: by no clock that it reads after the call is the
        wakeup early. `thespian.transient` reads the clock then, and an actor woken a microsecond before would stay.
        """
        if (period := toTimeDeltaOrNone(time_period)) is None:
            raise TypeError("a wakeup needs a period, as a timedelta or in seconds, not None")
        self._wanted.append((period, payload))

    def _set_wakeups(self) -> None:
        for period, payload in self._wanted:
            self._wakeups.append((self.address, ExpirationTimer(period)))
            parcel = Parcel(WakeupMessage(period, payload), self.address, self.address, None)
            self.after(max(0.0, timePeriodSeconds(period)), parcel)
        self._wanted.clear()
