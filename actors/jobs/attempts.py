"""One operation of a job, until it has an answer.

Invariant: what says nothing about the request itself (a flood wait, a full mailbox, an answer that was lost) is waited
out for as long as it takes: a job has time, and can be cancelled. What could be either is tried a few times. Repeating
is safe: a message keeps its random_id, and pages only read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from telethon.errors import RPCError, ServerError, TimedOutError

from telestage.actors.kernel import MailboxFull, QueueWaitTimeout, TelestageError
from telestage.actors.telegram.errors import (
    FloodParked,
    OperationTimeout,
    PaceTimeout,
    PermitTimeout,
    ReplyLost,
    SessionInUse,
    SessionUnknown,
)

__all__ = ["NOT_HERE", "is_answer", "until_answered"]

R = TypeVar("R")

_BUSY = (MailboxFull, QueueWaitTimeout, PermitTimeout, ReplyLost)
_UNSURE = (OperationTimeout, OSError, ServerError, TimedOutError)  # OSError: Python's TimeoutError is one, too
_BUSY_SECONDS = 1.0
_LOOK_SECONDS = 5.0  # between two looks whether a flood wait is over; they cost no call

NOT_HERE = (SessionInUse, SessionUnknown)
"""The session is another fleet's now, or was taken out of this one: what it was to do waits."""

_ATTEMPTS = 6  # with waits of 1, 2, 4, 8 and 16 s between them: what lasts half a minute isn't about a moment


async def until_answered(attempt: Callable[[], Awaitable[R]], waits: Callable[[str], Awaitable[None]]) -> R:
    """Makes attempts until one is answered, and returns that answer.

    Args:
        waits: Is told what is waited for, and that it is over (empty).

    Raises:
        SessionDead: The session has ended; one of `NOT_HERE`, too, if it has for this fleet only.
        RPCError: Telegram's answer.
        Exception: Whatever else an attempt raises that no wait would help with.
    """
    failures = 0
    told = False
    while True:
        try:
            result = await attempt()
        except (FloodParked, PaceTimeout) as parked:
            told = True
            await waits(str(parked))
            # it may have no end but a person's word, or be ended before its time: asked again, it says so at once
            await asyncio.sleep(min(max(0.0, parked.until - time.time()), _LOOK_SECONDS))
        except _BUSY:
            await asyncio.sleep(_BUSY_SECONDS)
        except _UNSURE:
            failures += 1
            if failures == _ATTEMPTS:
                raise
            await asyncio.sleep(_BUSY_SECONDS * 2 ** (failures - 1))
        else:
            if told:
                await waits("")
            return result


def is_answer(error: Exception) -> bool:
    """Whether the error is what became of a request, not a fault of ours."""
    return isinstance(error, TelestageError | RPCError | ValueError | TypeError | OSError)
