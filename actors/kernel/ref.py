"""What the world holds of an actor: a name, and ways to send it messages.

A ref stays valid over restarts. Once its actor has stopped, messages told to it become dead
letters and asks fail with `ActorStopped`, or with the error the actor stopped with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from telestage.actors.kernel.cell import Cell

__all__ = ["DEFAULT_ASK_TIMEOUT", "Ref"]

R = TypeVar("R")

DEFAULT_ASK_TIMEOUT = 30.0
"""Seconds an ask waits for its answer unless told otherwise: no wait is without a deadline (R-D3)."""


class Ref(ABC):
    """A reference to one actor. Equal to itself only; hashable. Belongs to one event loop."""

    __slots__ = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """The actor's name among its siblings."""

    @property
    @abstractmethod
    def path(self) -> str:
        """The names from the root down to the actor, as in `/manager/alice`."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the actor takes messages: false from the moment its stop is decided."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many messages wait in the mailbox; the system lane isn't counted."""

    @property
    def top_priority(self) -> int | None:
        """The highest priority of what waits in the mailbox; None if nothing does, or it isn't known here."""
        return None

    @property
    @abstractmethod
    def cell(self) -> Cell:
        """The runtime's side of the actor that is watched. For the runtime."""

    @abstractmethod
    def cell_for(self, message: object) -> Cell:
        """The runtime's side of the actor that an ask of `message` goes to. For the runtime."""

    @abstractmethod
    def tell(self, message: object, *, priority: int = 0, sender: Ref | None = None) -> None:
        """Puts `message` into the mailbox and returns at once.

        Never fails the sender: what a full mailbox or a stopped actor can't take becomes a dead letter.
        Messages of one sender and priority are processed in the order in which they were told.

        Args:
            priority: Higher goes first. Default 0.
            sender: What the receiver sees as `self.sender`.
        """

    @abstractmethod
    def signal(self, message: object, *, sender: Ref | None = None) -> None:
        """Like `tell`, by the system lane: ahead of all mail, never counted, never dropped for a bound.

        For control messages. Hazard: a flood of signals starves the mailbox.
        """

    @abstractmethod
    def send(
        self,
        message: object,
        *,
        priority: int = 0,
        sender: Ref | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
    ) -> Coroutine[Any, Any, None]:
        """`tell` with back-pressure: await it to wait until a bounded mailbox has room, first come, first served.

        Where there is room, the message is in the mailbox when the call returns, awaited or not, and the awaiting
        doesn't suspend. Where there is none, the waiting for room begins when it is awaited, and an actor that has
        just become ready may process a batch in there, which makes room. The errors come when it is awaited, too.

        Args:
            timeout: Seconds to wait for room.

        Raises:
            MailboxFull: There was no room in time; carries the message.
            ActorStopped: The actor has stopped, or stops while this waits.
        """

    @overload
    async def ask(
        self,
        message: object,
        *,
        timeout: float = ...,
        priority: int = ...,
        queue_timeout: float | None = ...,
        cancel: bool = ...,
    ) -> object: ...

    @overload
    async def ask(
        self,
        message: object,
        *,
        expecting: type[R],
        timeout: float = ...,
        priority: int = ...,
        queue_timeout: float | None = ...,
        cancel: bool = ...,
    ) -> R: ...

    @abstractmethod
    async def ask(
        self,
        message: object,
        *,
        expecting: type[R] | None = None,
        timeout: float = DEFAULT_ASK_TIMEOUT,
        priority: int = 0,
        queue_timeout: float | None = None,
        cancel: bool = False,
    ) -> object:
        """Sends `message` and returns the answer: what the handler returned, or a `Reply` sent later.

        Made inside a handler's own task, the ask is part of the wait-for graph; in a task which the
        handler started, use `Actor.ask`, which always is.

        Args:
            expecting: The class the answer must be an instance of. Default: anything.
            timeout: Seconds until the answer must be there.
            priority: Higher goes first.
            queue_timeout: Seconds within which the message must be begun. Default: only `timeout` counts.
            cancel: Whether giving up (a timeout, or the caller cancelled) also cancels a handler that
                already runs. A message that still waits is never executed either way.

        Raises:
            AskTimeout: No answer in time. A late one becomes a dead letter.
            QueueWaitTimeout: Not begun in time.
            AskCycle: The ask would close a circle of waiting actors.
            AskDirection: The ask goes down or sideways in the order of `Actor.ask_rank`.
            MailboxFull: The mailbox is at its bound.
            ActorStopped: The actor has stopped, or stopped before it answered.
            ActorRestarted: It was restarted while it owed the answer.
            WrongReply: The answer isn't of the class `expecting`.
            Exception: Whatever the handler raised.
        """

    @abstractmethod
    def stop(self, *, drain: bool = False, grace: float = 5.0) -> None:
        """Asks the actor to stop; returns at once. Children stop first. A second call may shorten the grace.

        Args:
            drain: Process what waits before stopping. Default: it becomes dead letters.
            grace: Seconds the running handler (and, with `drain`, the mailbox) gets before it is
                cancelled. One that resists is abandoned `PATIENCE` (4 s) later and named in a WARNING.
        """

    @abstractmethod
    def kill(self, reason: str = "killed") -> None:
        """Interrupts the running handler and fails the actor with `ActorKilled`; supervision answers."""

    @abstractmethod
    def pause(self) -> None:
        """Halts the mailbox after the current message. The system lane goes on. Idempotent."""

    @abstractmethod
    def resume(self) -> None:
        """Ends a `pause`. Idempotent."""

    @abstractmethod
    async def stopped(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds until the actor has stopped; says whether it has."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"
