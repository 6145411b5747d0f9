"""Who waits for room before a full mailbox: senders and asks, in one queue, in the order in which they came."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from telestage.actors.kernel.ask import Ask

if TYPE_CHECKING:
    from telestage.actors.kernel.mailbox import Mailbox

__all__ = ["WaitingAsk", "WaitingSend"]


class WaitingSend(msgspec.Struct, eq=False):
    """A `send` that waits, as the mailbox and its deadline see it."""

    message: object
    priority: int
    mailbox: Mailbox
    future: asyncio.Future[None]

    @property
    def settled(self) -> bool:
        """Whether it waits no longer."""
        return self.future.done()

    def let_in(self) -> bool:
        """Its message goes into the mailbox now; false if it waits no longer."""
        future = self.future
        if future.done():
            return False
        future.set_result(None)
        return True

    def refuse(self, error: Exception) -> None:
        """Its message never will be in the mailbox."""
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self, seconds: float) -> None:
        """It has waited for `seconds`."""
        self.mailbox.no_room(self)


class WaitingAsk(msgspec.Struct, eq=False):
    """An ask that waits. It has its own deadlines; if the actor stops before there is room, it fails."""

    message: Ask
    priority: int

    def let_in(self) -> bool:
        """It goes into the mailbox now; false if nobody waits for it any more."""
        return not self.message.settled

    def refuse(self, error: Exception) -> None:
        """It never will be in the mailbox."""
        self.message.fail(error)
