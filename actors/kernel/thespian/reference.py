"""What an unmodified Thespian actor calls its `_myRef`: the way to everything outside itself.

The names and their arguments are Thespian's own (`ActorRef` of its simpleSystemBase). To be used by the
actor's own handlers only.
"""
# ruff: noqa: N802, N803 - the names are Thespian's
# mypy: untyped-calls-exclude=thespian

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from thespian.actors import ActorAddress, ActorSystemException

if TYPE_CHECKING:
    from telestage.actors.kernel.thespian.host import Host

__all__ = ["Reference"]


class Reference:
    """The face of a host towards its actor."""

    __slots__ = ("_host", "_office", "address", "globalName")

    def __init__(self, host: Host, address: ActorAddress, globalName: str | None) -> None:
        self._host = host
        self._office = host.office
        self.address = address
        self.globalName = globalName

    def createActor(
        self, actorClass: object, requirements: object, globalName: str | None, sourceHash: str | None = None
    ) -> ActorAddress:
        """Makes a child; one that can't be made is one that has exited."""
        return self._office.create_child(
            self._host, actorClass, requirements, globalName, sourceHash or self._host.source_hash
        )

    def actor_send(self, target: ActorAddress, message: object) -> None:
        """Sends a message in this actor's name."""
        self._office.send(target, message, self.address)

    def wakeupAfter(self, timePeriod: timedelta | float, payload: object) -> None:
        """Has a `WakeupMessage` sent to this actor later."""
        self._host.wake_after(timePeriod, payload)

    def handleDeadLetters(self, address: ActorAddress, enable: bool) -> None:
        """Has this actor get what is sent to actors that are gone."""
        self._office.handle_dead_letters(address, enable)

    def registerSourceAuthority(self, address: ActorAddress) -> None:
        """Has this actor validate what is loaded."""
        self._office.sources.authority = address

    def notifyOnSourceAvailability(self, address: ActorAddress, enable: bool) -> None:
        """Has this actor told of what is loaded and unloaded."""
        self._office.sources.notify(address, enable)

    def updateCapability(self, name: str, value: object) -> None:
        """Changes what this system can do."""
        self._office.update_capability(name, value)

    def loadActorSource(self, source: object) -> str:
        """Loads a zip of modules; returns its hash."""
        return self._office.sources.load(source)

    def unloadActorSource(self, sourceHash: str) -> None:
        """Forgets a zip of modules."""
        self._office.sources.unload(sourceHash)

    def actorSystemShutdown(self) -> None:
        """Ends the whole system."""
        self._office.end()

    def notifyOnSystemRegistrationChanges(self, address: ActorAddress, enable: bool) -> None:
        """Does nothing: one process has no convention, so nobody ever registers."""

    def preRegisterRemoteSystem(self, remoteAddress: object, remoteCapabilities: object) -> None:
        """Refused: one process has no convention to register in."""
        raise ActorSystemException(f"an asyncio system is one process and has no convention: {remoteAddress}")

    def deRegisterRemoteSystem(self, remoteAddress: object) -> None:
        """Refused, as `preRegisterRemoteSystem`."""
        raise ActorSystemException(f"an asyncio system is one process and has no convention: {remoteAddress}")
