"""An ask in flight.

An `Ask` is settled exactly once: with an answer, an error, or by its asker giving up. Whatever
comes later is refused, and the caller makes it a dead letter. It may be handed on, or put aside and
taken up again (see `forwarding`): who has it answers it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from telestage.actors.kernel.carried import unpacked
from telestage.actors.kernel.errors import AskTimeout, QueueWaitTimeout
from telestage.actors.kernel.tracebacks import shorten

__all__ = ["NO_REPLY", "Ask", "Reply"]


class _NoReply:
    """The type of `NO_REPLY`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NO_REPLY"


NO_REPLY = _NoReply()
"""What a handler returns when it answers later, through `Actor.reply_later()`."""


class Ask(msgspec.Struct, eq=False):
    """One question on its way: where it goes, who asked, and how it ended.

    The future is made when anybody but the handler that runs may settle the ask, or wait for it. So an ask that an
    idle actor answers without suspending costs none: while there is no future, nobody else knows of the ask, and what
    the handler returns goes to the asker without a trace in here.

    A struct is made in a quarter of the time of `__init__`; but each attribute that is set later costs three times as
    much as one of a class with slots (3.11).
    """

    message: object
    target: Any  # a Cell
    asker: Any  # a Cell or None
    cancels: bool
    begun: bool = False
    future: Any = None  # an asyncio.Future, or what stands for one
    settled: bool = False

    def shared(self) -> Any:
        """The future, made when first needed: the ask is about to be known to more than the handler that runs."""
        future = self.future
        if future is None:
            future = self.future = self.target.dispatcher.loop.create_future()
        return future

    def answer(self, value: object) -> bool:
        """Settles the ask with `value`; false if it was settled before."""
        if self.settled:
            return False
        self.settled = True
        future = self.shared()
        if future.done():
            return False
        future.set_result(value)
        return True

    def fail(self, error: BaseException) -> bool:
        """Settles the ask with `error`; false if it was settled before."""
        if self.settled:
            return False
        self.settled = True
        shorten(error)
        if isinstance(error, StopIteration):  # no coroutine can raise it: as Python does at the end of one
            stop, error = error, RuntimeError("the handler raised StopIteration")
            error.__cause__ = stop
        future = self.shared()
        if future.done():
            return False
        future.set_exception(error)
        return True

    def give_up(self) -> None:
        """The asker waits no longer: a waiting message is dropped, a running one cancelled if so agreed."""
        self.settled = True
        if not self.begun:
            self.target.abandoned_ask(self)
            return
        self.target.release(self)
        if self.cancels:
            self.target.interrupt_ask(self)

    def expire(self, seconds: float) -> None:
        """The deadline of the answer has come."""
        if not self.settled:
            self.fail(AskTimeout(self.target.path, unpacked(self.message), seconds))
            self.give_up()

    def expire_in_queue(self, seconds: float) -> None:
        """The deadline by which the message had to be begun has come."""
        if not self.begun and not self.settled:
            self.fail(QueueWaitTimeout(self.target.path, unpacked(self.message), seconds))
            self.give_up()


class Reply:
    """The right to answer one ask later, once. Made by `Actor.reply_later()`.

    Dropped without an answer, the asker runs into its deadline; if the actor stops or restarts
    first, the asker is told at once.
    """

    __slots__ = ("_ask",)

    def __init__(self, ask: Ask | None) -> None:
        self._ask = ask
        if ask is not None:
            ask.shared()

    @property
    def waited_for(self) -> bool:
        """Whether somebody still waits for the answer."""
        return self._ask is not None and not self._ask.settled

    def send(self, value: object) -> bool:
        """Answers with `value`; false if nobody waits any more (the value is then a dead letter)."""
        ask = self._ask
        if ask is None:
            return False
        ask.target.release(ask)
        return ask.answer(value) or ask.target.late(ask, value)

    def fail(self, error: BaseException) -> bool:
        """Answers with `error`, raised where the ask was made; false if nobody waits any more."""
        ask = self._ask
        if ask is None:
            return False
        ask.target.release(ask)
        return ask.fail(error) or ask.target.late(ask, error)
