"""One text to many peers, each exactly once, and a report of what became of each.

Every message has its random_id before the first attempt. Each session sends one message at a time, as
a turn like any other; a message is never moved to another session: a flood wait of one account is waited
out by that account, the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
from telethon.errors import RPCError

from telestage.actors.kernel import MailboxFull, QueueWaitTimeout, TaskRegistry, TelestageError
from telestage.actors.telegram.errors import FloodParked, PaceTimeout, PermitTimeout, ReplyLost, SessionDead
from telestage.actors.telegram.handle import SessionHandle, new_random_id

__all__ = ["BulkReport", "Delivery", "bulk_send"]

_BUSY = (MailboxFull, QueueWaitTimeout, PermitTimeout, ReplyLost)
_BUSY_SECONDS = 1.0  # before a message is tried again, with the same random_id, after one of these


class Delivery(msgspec.Struct, frozen=True):
    """What became of one message: its id if it was sent, else the error.

    Neither, if Telegram had it already from an attempt whose answer was lost.
    """

    peer: object
    session: str
    random_id: int
    message_id: int | None
    error: str | None


class BulkReport(msgspec.Struct, frozen=True):
    """What became of a bulk send: one delivery for each recipient, in their order."""

    deliveries: list[Delivery]

    @property
    def sent(self) -> int:
        """How many were sent."""
        return sum(delivery.error is None for delivery in self.deliveries)

    @property
    def failed(self) -> list[Delivery]:
        """Those that were not."""
        return [delivery for delivery in self.deliveries if delivery.error is not None]


async def bulk_send(
    recipients: Sequence[object],
    text: str,
    sessions: Sequence[SessionHandle],
    tasks: TaskRegistry,
    *,
    priority: int | None,
    timeout: float | None,
    patience: float,
    progress: Callable[[Delivery], None] | None,
) -> BulkReport:
    """Sends `text` to each recipient; recipient i is served by session i modulo their number."""
    deliveries: list[Delivery | None] = [None] * len(recipients)
    give_up = time.time() + patience

    async def send(session: SessionHandle, recipient: object, random_id: int) -> int | None:
        while True:
            try:
                message = await session.send_message(
                    recipient, text, priority=priority, timeout=timeout, random_id=random_id
                )
            except (FloodParked, PaceTimeout) as parked:
                if parked.until > give_up:
                    raise
                await asyncio.sleep(max(0.0, parked.until - time.time()))
            except _BUSY:
                if time.time() + _BUSY_SECONDS > give_up:
                    raise
                await asyncio.sleep(_BUSY_SECONDS)
            else:
                return None if message is None else int(message.id)

    async def work(first: int, session: SessionHandle) -> None:
        dead: SessionDead | None = None
        for place in range(first, len(recipients), len(sessions)):
            random_id = new_random_id()
            message_id: int | None = None
            failure: str | None = None
            try:
                if dead is not None:
                    raise dead
                message_id = await send(session, recipients[place], random_id)
            except SessionDead as error:
                dead = error
                failure = str(error)
            except Exception as error:
                if not _answered(error):
                    raise
                failure = f"{type(error).__name__}: {error}"
            delivery = Delivery(recipients[place], session.name, random_id, message_id, failure)
            deliveries[place] = delivery
            if progress is not None:
                progress(delivery)

    running = [
        tasks.spawn(work(first, session), type="sending", owner=session.name, operation="bulk_send")
        for first, session in enumerate(sessions)
    ]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return BulkReport([delivery for delivery in deliveries if delivery is not None])


def _answered(error: Exception) -> bool:
    """Whether the error is what became of one message, not a fault of ours."""
    return isinstance(error, TelestageError | RPCError | ValueError | TypeError | OSError)
