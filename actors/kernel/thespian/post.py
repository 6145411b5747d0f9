"""Who is where in a system of Thespian actors, and how a message gets there.

Touched on the loop of the system only; what comes from other threads comes by `call_soon_threadsafe`.
"""
# mypy: untyped-calls-exclude=thespian

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Protocol

from thespian.actors import (
    Actor as ThespianActor,
)
from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ActorSystemException,
    ChildActorExited,
    DeadEnvelope,
    NoCompatibleSystemForActor,
    ThespianGeneration,
    ValidatedSource,
)
from thespian.system.utilis import actualActorClass, withPossibleInitArgs

from telestage.actors.kernel.deadletters import DeadLetter
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.system import ActorSystem
from telestage.actors.kernel.thespian.host import Host, Parcel
from telestage.actors.kernel.thespian.sources import Sources
from telestage.actors.kernel.thespian.watch import WATCHING

__all__ = ["Outsider", "PostOffice"]

_log = logging.getLogger("Thespian")

_EXIT_PATIENCE = 5.0  # seconds actors get to exit when the system ends


class Outsider(Protocol):
    """Somebody outside the system who gets messages: `ActorSystem.ask` and `listen`."""

    address: ActorAddress

    def put(self, message: object, ask: int | None) -> None:
        """Takes a message in; `ask` is the ask of this outsider it goes back to, if any."""

    def close(self) -> None:
        """Ends its waits: nothing more will come."""


class PostOffice:
    """The addresses of one system."""

    def __init__(self, system: ActorSystem, capabilities: dict[str, object]) -> None:
        self.system_address = ActorAddress("/ActorSys")
        self.capabilities = capabilities
        self.sources = Sources(self)
        self.ask: int | None = None  # the outsider's ask that the message being processed goes back to
        self.ended = asyncio.Event()
        self._system = system
        self._hosts: dict[str, Ref] = {}
        self._outsiders: dict[str, Outsider] = {}
        self._names: dict[str, ActorAddress] = {}
        self._dead_letter_handler: ActorAddress | None = None
        self._primaries = 0
        self._empty = asyncio.Event()
        capabilities.update(
            {
                "Python Version": tuple(sys.version_info),
                "Thespian Generation": ThespianGeneration,
                "Thespian Version": str(int(time.time() * 1000)),
                "Thespian ActorSystem Name": "asyncioSystem",
                "Thespian ActorSystem Version": 1,
                "Thespian Watch Supported": WATCHING,
                "AllowRemoteActorSources": "No",
            }
        )
        system.dead_letters.subscribe(self._dead_letter)

    # -- messages -----------------------------------------------------------------------------------

    def send(self, target: ActorAddress, message: object, sender: ActorAddress | None = None) -> None:
        """Sends a message from inside: what it leads to goes back to the ask that is being processed."""
        self.route(Parcel(message, sender or self.system_address, target, self.ask))

    def route(self, parcel: Parcel) -> None:
        """Hands a parcel to whom it is addressed to; if he is gone, to who handles dead letters."""
        key = parcel.target.actorAddressString
        host = self._hosts.get(key)
        if host is not None:
            host.tell(parcel)
        elif outsider := self._outsiders.get(key):
            outsider.put(parcel.message, parcel.ask)
        elif key == self.system_address.actorAddressString:
            if isinstance(parcel.message, ValidatedSource):
                self.sources.validated(parcel.message)
        else:
            self._undeliverable(parcel)

    def _undeliverable(self, parcel: Parcel) -> None:
        if isinstance(parcel.message, DeadEnvelope | ChildActorExited):
            return
        envelope = DeadEnvelope(parcel.target.actorAddressString, parcel.message)
        if self._dead_letter_handler is not None:
            self.route(Parcel(envelope, parcel.sender, self._dead_letter_handler, parcel.ask))

    def _dead_letter(self, letter: DeadLetter) -> None:
        """What still waited for an actor as it exited."""
        if isinstance(letter.message, Parcel):
            self._undeliverable(letter.message)

    def handle_dead_letters(self, address: ActorAddress, enable: bool) -> None:
        """Has an actor get dead letters, instead of who got them before; or no longer."""
        if enable:
            self._dead_letter_handler = address
        elif self._dead_letter_handler == address:
            self._dead_letter_handler = None

    # -- actors -------------------------------------------------------------------------------------

    def create_primary(
        self, actor_class: object, requirements: object, global_name: str | None, source_hash: str | None
    ) -> ActorAddress:
        """Makes an actor directly below the system.

        Raises:
            NoCompatibleSystemForActor: It needs capabilities that this system hasn't.
            Exception: Whatever its class or its `__init__` raised.
        """
        if global_name and global_name in self._names:
            return self._names[global_name]
        address = ActorAddress(f"/A~{self._primaries}")
        self._primaries += 1
        self._create(address, self.system_address, actor_class, requirements, global_name, source_hash)
        return address

    def create_child(
        self,
        parent: Host,
        actor_class: object,
        requirements: object,
        global_name: str | None,
        source_hash: str | None,
    ) -> ActorAddress:
        """Makes a child. One that can't be made has an address all the same, and has exited.

        Raises:
            ImportError: Its module can't be imported.
        """
        if global_name and global_name in self._names:
            return self._names[global_name]
        address = ActorAddress(f"{parent.address.actorAddressString}~{parent.born}")
        parent.born += 1
        parent.kids.append(address)
        try:
            self._create(address, parent.address, actor_class, requirements, global_name, source_hash)
        except ImportError:
            raise
        except (Exception, SystemExit):
            _log.warning("could not create %s as a child of %s", actor_class, parent.address, exc_info=True)
            self.send(parent.address, ChildActorExited(address))
        return address

    def _create(
        self,
        address: ActorAddress,
        parent: ActorAddress,
        actor_class: object,
        requirements: object,
        global_name: str | None,
        source_hash: str | None,
    ) -> None:
        if self.ended.is_set():
            raise ActorSystemException("the actor system is shutting down")
        cls = actualActorClass(actor_class, self.sources.loader(source_hash))
        check = getattr(cls, "actorSystemCapabilityCheck", None)
        if check is not None and not check(self.capabilities, requirements or {}):
            raise NoCompatibleSystemForActor(cls, "No compatible ActorSystem: this one lacks the capabilities")

        def make() -> ThespianActor:
            actor: ThespianActor = withPossibleInitArgs(
                capabilities=self.capabilities, requirements=requirements
            ).create(cls)
            return actor

        key = address.actorAddressString
        self._hosts[key] = self._system.spawn(Host, self, address, parent, source_hash, global_name, make)
        if global_name:
            self._names[global_name] = address

    def forget(self, host: Host) -> None:
        """An actor exits."""
        address = host.address
        self._hosts.pop(address.actorAddressString, None)
        self._names = {name: known for name, known in self._names.items() if known != address}
        self.handle_dead_letters(address, False)
        self.sources.forget(address)
        if not self._hosts:
            self._empty.set()

    def update_capability(self, name: str, value: object) -> None:
        """Sets a capability, or takes it away if `value` is None."""
        if value is None:
            self.capabilities.pop(name, None)
        else:
            self.capabilities[name] = value

    # -- outside and end ----------------------------------------------------------------------------

    def admit(self, outsider: Outsider) -> None:
        """Gives an outsider an address."""
        self._outsiders[outsider.address.actorAddressString] = outsider

    def dismiss(self, outsider: Outsider) -> None:
        """Takes an outsider's address away."""
        self._outsiders.pop(outsider.address.actorAddressString, None)

    def close_all(self) -> None:
        """Ends the waits of every outsider."""
        for outsider in self._outsiders.values():
            outsider.close()

    def end(self) -> None:
        """Begins the end of the system."""
        self.ended.set()

    async def exit_all(self) -> None:
        """Asks every actor to exit, and waits for it up to a deadline."""
        self.sources.unload_all()
        self._dead_letter_handler = None
        if not self._hosts:
            return
        self._empty.clear()
        # primary actors and orphans; the others are asked by their parents
        for key in [key for key in self._hosts if key.rpartition("~")[0] not in self._hosts]:
            self.route(Parcel(ActorExitRequest(), self.system_address, ActorAddress(key), None))
        try:
            await asyncio.wait_for(self._empty.wait(), _EXIT_PATIENCE)
        except TimeoutError:
            _log.warning("%d actors did not exit within %g s", len(self._hosts), _EXIT_PATIENCE)
