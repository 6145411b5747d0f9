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
    PoisonMessage,
    ThespianGeneration,
    ValidatedSource,
)
from thespian.system.messages.status import Thespian_ActorStatus, Thespian_StatusReq
from thespian.system.utilis import actualActorClass, withPossibleInitArgs

from telestage.actors.kernel.ask import Ask, Reply
from telestage.actors.kernel.deadletters import DeadLetter
from telestage.actors.kernel.errors import ActorError
from telestage.actors.kernel.ref import Ref
from telestage.actors.kernel.system import ActorSystem
from telestage.actors.kernel.thespian.host import Host
from telestage.actors.kernel.thespian.native import (
    Correspondent,
    Doorkeeper,
    Outcome,
    Register,
    is_native,
    wanted_arguments,
)
from telestage.actors.kernel.thespian.parcel import Parcel
from telestage.actors.kernel.thespian.sources import Sources
from telestage.actors.kernel.thespian.watch import WATCHING

__all__ = ["Outsider", "PostOffice"]

_log = logging.getLogger("Thespian")

_EXIT_PATIENCE = 5.0  # seconds actors get to exit when the system ends

_NATIVE_GRACE = 4.0  # seconds a native actor that is asked to exit gets for what waits for it

_FEWEST_REPLIES = 64  # kept before those that nobody waits for are let go


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
        self._natives = Register()
        self._doorkeeper = system.spawn(Doorkeeper, self)
        self._replies: dict[str, Reply] = {}
        self._most_replies = _FEWEST_REPLIES
        self._questions = 0
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
        elif native := self._natives.named(key):
            self._hand_over(native, parcel)
        elif reply := self._replies.pop(key, None):
            _answer(reply, parcel)
        elif key == self.system_address.actorAddressString:
            if isinstance(parcel.message, ValidatedSource):
                self.sources.validated(parcel.message)
        else:
            self.undeliverable(parcel)

    def undeliverable(self, parcel: Parcel) -> None:
        """What is addressed to nobody goes to who handles dead letters."""
        if isinstance(parcel.message, DeadEnvelope | ChildActorExited):
            return
        envelope = DeadEnvelope(parcel.target.actorAddressString, parcel.message)
        if self._dead_letter_handler is not None:
            self.route(Parcel(envelope, parcel.sender, self._dead_letter_handler, parcel.ask))

    def _dead_letter(self, letter: DeadLetter) -> None:
        """What still waited for an actor as it exited."""
        if isinstance(letter.message, Parcel):
            self.undeliverable(letter.message)
        elif letter.receiver is not None and (key := self._natives.key_of(letter.receiver)):
            self.undeliverable(Parcel(letter.message, self.address_of(letter.sender), ActorAddress(key), None))

    # -- native actors ------------------------------------------------------------------------------

    def known(self, key: str) -> bool:
        """Whether somebody is at that address."""
        return key in self._hosts or key in self._outsiders or self._natives.named(key) is not None

    def address_of(self, ref: Ref | None) -> ActorAddress:
        """What a Thespian actor sees as the sender of what `ref` tells."""
        if ref is None:
            return self.system_address
        if isinstance(ref, Correspondent):
            return ref.address
        key = self._natives.key_of(ref)
        if key is None:
            key = self._natives.add(ref)
            self._doorkeeper.tell(ref)
        return ActorAddress(key)

    def admit_reply(self, reply: Reply) -> ActorAddress:
        """An address for one answer."""
        if len(self._replies) >= self._most_replies:
            self._replies = {key: kept for key, kept in self._replies.items() if kept.waited_for}
            self._most_replies = max(_FEWEST_REPLIES, 2 * len(self._replies))
        self._questions += 1
        key = f"/Q~{self._questions}"
        self._replies[key] = reply
        return ActorAddress(key)

    def native_gone(self, ref: Ref) -> None:
        """A native actor has stopped."""
        key, parent = self._natives.remove(ref)
        address = ActorAddress(key)
        self._forget(address)
        if parent is not None:
            self.route(Parcel(ChildActorExited(address), self.system_address, parent, None))

    def _hand_over(self, ref: Ref, parcel: Parcel) -> None:
        """Tells a native actor what was sent to it; what is asked from outside is asked."""
        message = parcel.message
        sender = parcel.sender.actorAddressString
        if isinstance(message, ActorExitRequest):
            ref.stop(drain=True, grace=_NATIVE_GRACE)
        elif isinstance(message, Thespian_StatusReq):
            status = Thespian_ActorStatus(parcel.target, ref.cell.spec.cls.__name__, self.system_address)
            self.route(Parcel(status, parcel.target, parcel.sender, parcel.ask))
        elif parcel.ask is not None and sender in self._outsiders:
            cell = ref.cell_for(message)
            outcome = Outcome(self, parcel)
            # asked without a deadline: who waits has one, and every ask is settled
            if refusal := cell.admit_ask(Ask(message, cell, None, False, False, outcome), 0):
                outcome.set_exception(refusal)
        else:
            host = self._hosts.get(sender)
            native = self._natives.named(sender)
            ref.tell(message, sender=native or Correspondent(self, parcel.sender, host, parcel.ask))

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

        key = address.actorAddressString
        if is_native(cls):
            offered = {"capabilities": self.capabilities, "requirements": requirements}
            native = self._system.spawn(cls, **wanted_arguments(cls, offered))
            self._natives.add(native, key, parent)
            self._doorkeeper.tell(native)
            if global_name:
                self._names[global_name] = address
            return

        def make() -> ThespianActor:
            actor: ThespianActor = withPossibleInitArgs(
                capabilities=self.capabilities, requirements=requirements
            ).create(cls)
            return actor

        self._hosts[key] = self._system.spawn(Host, self, address, parent, source_hash, global_name, make)
        if global_name:
            self._names[global_name] = address

    def forget(self, host: Host) -> None:
        """An actor exits."""
        address = host.address
        self._hosts.pop(address.actorAddressString, None)
        self._forget(address)

    def _forget(self, address: ActorAddress) -> None:
        self._names = {name: known for name, known in self._names.items() if known != address}
        self.handle_dead_letters(address, False)
        self.sources.forget(address)
        if not self._hosts and not len(self._natives):
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
        if not self._hosts and not len(self._natives):
            return
        self._empty.clear()
        # primary actors and orphans; the others are asked by their parents
        keys = [*self._hosts, *self._natives.keys()]
        for key in [key for key in keys if key.rpartition("~")[0] not in self._hosts]:
            self.route(Parcel(ActorExitRequest(), self.system_address, ActorAddress(key), None))
        try:
            await asyncio.wait_for(self._empty.wait(), _EXIT_PATIENCE)
        except TimeoutError:
            left = len(self._hosts) + len(self._natives)
            _log.warning("%d actors did not exit within %g s", left, _EXIT_PATIENCE)


def _answer(reply: Reply, parcel: Parcel) -> None:
    """A Thespian actor has sent something to the sender of a question: the answer, or that it failed on it."""
    message = parcel.message
    if isinstance(message, PoisonMessage):
        reply.fail(ActorError(f"{parcel.sender} failed on the message: {message.details}"))
    else:
        reply.send(message)
