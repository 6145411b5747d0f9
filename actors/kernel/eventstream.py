"""Publish and subscribe by type, inside one system.

Invariants:
- Who subscribed to a type is told every event of it and of its subclasses, once each, in the order in which they were
  published; by `tell`, so a full mailbox makes a dead letter of it.
- A subscriber that stops is subscribed no more.
- While nobody is subscribed, the system says nothing: neither its dead letters nor the lives of actors cost anything.

What the system publishes by itself: `DeadLetter`, and the values here below `LifecycleEvent`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from telestage.actors.kernel.deadletters import DeadLetter
from telestage.actors.kernel.instruments import Instrument
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.supervision import Directive

if TYPE_CHECKING:
    from telestage.actors.kernel.actor import Actor
    from telestage.actors.kernel.system import ActorSystem

__all__ = ["EventStream", "Failed", "LifecycleEvent", "Restarted", "Spawned", "Stopped"]


class LifecycleEvent(msgspec.Struct, frozen=True):
    """Something happened to the actor `ref`."""

    ref: Ref


class Spawned(LifecycleEvent, frozen=True):
    """It was made."""


class Failed(LifecycleEvent, frozen=True):
    """It failed with `error`, which is answered by `directive`."""

    error: BaseException
    directive: Directive


class Restarted(LifecycleEvent, frozen=True):
    """A new instance has taken the place of the old one, because of `cause`."""

    cause: BaseException | None


class Stopped(LifecycleEvent, frozen=True):
    """It is gone for good, with `error` if any."""

    error: Exception | None


class EventStream:
    """The events of one system: `ActorSystem.events`.

    Args:
        system: Whose it is.
        switch: Called with a source of the system's own events and whether they are wanted.
    """

    def __init__(self, system: ActorSystem, switch: Callable[[Instrument, bool], None]) -> None:
        self._system = system
        self._switch = switch
        self._source = _Source(self)
        self._subscribers: dict[type, dict[Ref, None]] = {}
        self._routes: dict[type, tuple[Ref, ...]] = {}  # by the type of the event: who gets it

    def subscribe(self, ref: Ref, *types: type) -> None:
        """Has `ref` told every event of these types from now on. Idempotent; one that has stopped isn't subscribed.

        Args:
            types: Classes of events; `object` is all of them.

        Raises:
            TypeError: No type, or something that isn't one.
            ValueError: `ref` lives in another system.
        """
        if not types or not all(isinstance(cls, type) for cls in types):
            raise TypeError(f"subscribe takes classes of events, not {types!r}")
        if ref.cell.dispatcher.system is not self._system:
            raise ValueError(f"{ref} lives in another system than {self._system.name!r}")
        if ref.cell.final:
            return
        if not self._subscribers:
            self._switch(self._source, True)
        for cls in types:
            self._subscribers.setdefault(cls, {})[ref] = None
        self._routes.clear()

    def unsubscribe(self, ref: Ref, *types: type) -> None:
        """Ends the subscription to these types; to all if none is given. What was told already still comes. Idempotent.

        Hazard: who subscribed to a class still gets the events of its subclasses, these too.
        """
        if not self._subscribers:
            return
        for cls in types or tuple(self._subscribers):
            refs = self._subscribers.get(cls)
            if refs is not None and ref in refs:
                del refs[ref]
                if not refs:
                    del self._subscribers[cls]
        self._routes.clear()
        if not self._subscribers:
            self._switch(self._source, False)

    def publish(self, event: object) -> int:
        """Tells `event` to all who subscribed to its class or to a base of it; returns how many they are.

        To be called on the loop of the system.
        """
        if not self._subscribers:
            return 0
        cls = type(event)
        refs = self._routes.get(cls)
        if refs is None:
            chosen: dict[Ref, None] = {}
            for base in cls.__mro__:
                chosen.update(self._subscribers.get(base, {}))
            refs = self._routes[cls] = tuple(chosen)
        for ref in refs:
            ref.tell(event)
        return len(refs)


class _Source(Instrument):
    """Publishes what the system has to say."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    def spawned(self, ref: Ref, cls: type[Actor]) -> None:
        self._stream.publish(Spawned(ref))

    def failed(self, ref: Ref, cls: type[Actor], error: BaseException, directive: Directive) -> None:
        self._stream.publish(Failed(ref, error, directive))

    def restarted(self, ref: Ref, cls: type[Actor]) -> None:
        self._stream.publish(Restarted(ref, ref.cell.kin.cause))

    def stopped(self, ref: Ref, cls: type[Actor]) -> None:
        family = ref.cell.family
        self._stream.unsubscribe(ref)
        self._stream.publish(Stopped(ref, None if family is None else family.stop_error))

    def dead_letter(self, letter: DeadLetter) -> None:
        if not isinstance(letter.message, DeadLetter):  # else a full subscriber would be told of it without end
            self._stream.publish(letter)
