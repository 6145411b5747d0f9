"""Native actors in a system of Thespian's, and how the two kinds reach each other.

Invariants:
- What a Thespian actor or somebody outside sends to a native one arrives there in order, told; what is asked from
  outside is asked, and the answer goes back to that ask and to no other.
- A native actor has the senders of what it is told as refs (`Correspondent`), a Thespian one has them as addresses.
- A native actor that stops, however, has exited as any child: its parent gets `ChildActorExited`.
"""
# mypy: untyped-calls-exclude=thespian

from __future__ import annotations

import asyncio
import inspect
import traceback
from typing import TYPE_CHECKING, Any, TypeGuard

from thespian.actors import ActorAddress, ActorExitRequest, PoisonMessage

from telestage.actors.kernel.actor import Actor
from telestage.actors.kernel.done import done
from telestage.actors.kernel.errors import ActorError, ActorStopped
from telestage.actors.kernel.handlers import handles
from telestage.actors.kernel.ref import DEFAULT_ASK_TIMEOUT, Ref
from telestage.actors.kernel.stopping import Terminated
from telestage.actors.kernel.thespian.parcel import Parcel

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from telestage.actors.kernel.cell import Cell
    from telestage.actors.kernel.thespian.post import PostOffice

__all__ = ["Correspondent", "Doorkeeper", "Outcome", "Register", "is_native", "wanted_arguments"]


def is_native(cls: object) -> TypeGuard[type[Actor]]:
    """Whether it is a class of native actors."""
    return isinstance(cls, type) and issubclass(cls, Actor)


def wanted_arguments(cls: type, offered: Mapping[str, object]) -> dict[str, Any]:  # `__init__` says of what
    """Those that the `__init__` of `cls` names, as Thespian gives them to its own actors."""
    names = inspect.signature(cls).parameters
    return {name: value for name, value in offered.items() if name in names}


class Register:
    """The native actors that have an address: those made by way of Thespian, and those that its actors heard from."""

    def __init__(self) -> None:
        self._keys: dict[Ref, str] = {}
        self._refs: dict[str, Ref] = {}
        self._parents: dict[str, ActorAddress] = {}
        self._born = 0

    def __len__(self) -> int:
        return len(self._refs)

    def named(self, key: str) -> Ref | None:
        """The one at that address."""
        return self._refs.get(key)

    def key_of(self, ref: Ref) -> str | None:
        """The address of one that has it."""
        return self._keys.get(ref)

    def add(self, ref: Ref, key: str | None = None, parent: ActorAddress | None = None) -> str:
        """Gives one an address: the given one, or a new one."""
        if key is None:
            key = f"/N~{self._born}"
            self._born += 1
        self._keys[ref] = key
        self._refs[key] = ref
        if parent is not None:
            self._parents[key] = parent
        return key

    def remove(self, ref: Ref) -> tuple[str, ActorAddress | None]:
        """Takes the address of one away; returns it, and the parent that is to be told."""
        key = self._keys.pop(ref)
        del self._refs[key]
        return key, self._parents.pop(key, None)

    def keys(self) -> list[str]:
        """All addresses."""
        return list(self._refs)


class Doorkeeper(Actor):
    """Sees native actors leave."""

    def __init__(self, office: PostOffice) -> None:
        self._office = office

    @handles(Ref)
    def look_after(self, ref: Ref) -> None:
        """From now on."""
        self.watch(ref)

    @handles(Terminated)
    def left(self, message: Terminated) -> None:
        """Its address is free, and its parent told."""
        self._office.native_gone(message.ref)


class Outcome:
    """In the place of a future of an ask from outside: the answer goes by post."""

    __slots__ = ("_office", "_parcel", "_settled")

    def __init__(self, office: PostOffice, parcel: Parcel) -> None:
        self._office = office
        self._parcel = parcel
        self._settled = False

    def done(self) -> bool:
        """Whether it has gone."""
        return self._settled

    def set_result(self, value: object) -> None:
        """The answer."""
        self._settled = True
        parcel = self._parcel
        self._office.route(Parcel(value, parcel.target, parcel.sender, parcel.ask))

    def set_exception(self, error: BaseException) -> None:
        """As with a Thespian actor: what it failed on comes back as poison, what found nobody is a dead letter."""
        if isinstance(error, ActorStopped):
            self._settled = True
            self._office.undeliverable(self._parcel)
        else:
            details = "".join(traceback.format_exception(error))
            self.set_result(PoisonMessage(self._parcel.message, details))


class Correspondent(Ref):
    """The other end, for a native actor: a Thespian actor, or somebody outside.

    What is told to it goes back to the ask, if any, that what it sent was part of. It can be asked, watched and stopped
    if it is an actor. It is equal to what `Terminated` names.
    """

    __slots__ = ("_ask", "_host", "_office", "address")

    def __init__(self, office: PostOffice, address: ActorAddress, host: Ref | None, ask: int | None) -> None:
        self.address = address
        self._office = office
        self._host = host
        self._ask = ask

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Correspondent):
            return bool(self.address == other.address)
        return self._host is not None and self._host is other

    def __hash__(self) -> int:
        return hash(self.address.actorAddressString if self._host is None else self._host)

    @property
    def name(self) -> str:
        """Its address."""
        return str(self.address.actorAddressString)

    @property
    def path(self) -> str:
        """That of its host; its address if it is outside."""
        return self.name if self._host is None else self._host.path

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return self._office.known(self.name)

    @property
    def waiting(self) -> int:
        """As ever; 0 outside."""
        return 0 if self._host is None else self._host.waiting

    @property
    def cell(self) -> Cell:
        """That of its host.

        Raises:
            ActorError: It is outside.
        """
        return self._actor().cell

    def cell_for(self, message: object) -> Cell:
        """As `cell`."""
        return self._actor().cell

    def tell(self, message: object, *, priority: int = 0, sender: Ref | None = None) -> None:
        """As ever, but for the priority: Thespian has none."""
        self._office.route(Parcel(message, self._office.address_of(sender), self.address, self._ask))

    def signal(self, message: object, *, sender: Ref | None = None) -> None:
        """As `tell`: Thespian has one lane."""
        self.tell(message, sender=sender)

    def send(
        self,
        message: object,
        *,
        priority: int = 0,
        sender: Ref | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
    ) -> Coroutine[Any, Any, None]:
        """As `tell`: there is always room."""
        self.tell(message, sender=sender)
        return done(None, asyncio.get_running_loop())

    async def ask(  # pyright: ignore[reportIncompatibleMethodOverride]  # it is compatible
        self,
        message: object,
        *,
        expecting: type | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
    ) -> Any:  # `Ref` says of what
        """Asks a Thespian actor: the first message it sends to the sender of `message` is the answer.

        Raises:
            ActorError: It failed on the message, or is outside, where nobody can be asked.
        """
        return await self._actor().ask(
            message,
            expecting=object if expecting is None else expecting,
            timeout=timeout,
            priority=priority,
            queue_timeout=queue_timeout,
            cancel=cancel,
        )

    def stop(self, *, drain: bool = False, grace: float = 5.0) -> None:
        """Asks it to exit, as Thespian does: after what waits for it."""
        self.tell(ActorExitRequest())

    def kill(self, reason: str = "killed") -> None:
        """As `stop`: a Thespian actor is never restarted."""
        self.stop()

    def pause(self) -> None:
        """As ever."""
        self._actor().pause()

    def resume(self) -> None:
        """As ever."""
        self._actor().resume()

    async def stopped(self, timeout: float) -> bool:
        """As ever."""
        return await self._actor().stopped(timeout)

    def _actor(self) -> Ref:
        if self._host is None:
            raise ActorError(f"{self.name} is outside: it can be told something, and nothing else")
        return self._host
