"""How an operation is asked of a session: until it is done, or its deadline has come, or it can't be repeated.

A flood wait that ends before the deadline is waited out here, in the caller's own task, so that the session
goes on with what isn't parked. A caller that stops waiting cancels its operation, queued or running (R-Q8).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from telestage.actors.kernel import ActorKilled, ActorRestarted, ActorStopped, AskTimeout, MailboxFull, Ref
from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.calls import GaveUp
from telestage.actors.telegram.errors import FloodParked, OperationTimeout, ReplyLost
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.turnstile import HeldBack
from telestage.messages import Kind

__all__ = ["AnyOperation", "run_operation"]

R = TypeVar("R")

_ROOM_SECONDS = 0.05  # between looks whether a full mailbox has room again
_AT_LEAST = 0.001  # seconds that are left when the last were spent on waiting
_SLACK = 10.0  # seconds beyond the sum of an operation's own deadlines: they are to come first


class AnyOperation(Protocol):
    """What all operations have: those that travel, calls, and changes of monitors."""

    @property
    def kind(self) -> Kind:
        """Of which kind it is."""
        ...

    @property
    def priority(self) -> int:
        """Higher goes first."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds it may run."""
        ...

    @property
    def queue_timeout(self) -> float:
        """Seconds it may wait to be begun."""
        ...

    @property
    def correlation_id(self) -> str:
        """What it is known by."""
        ...


async def run_operation(
    book: SessionBook,
    ref: Callable[[], Awaitable[Ref]],
    operation: AnyOperation,
    limits: Limits,
    *,
    repeatable: bool,
    expecting: type[R] | None = None,
    requests: Sequence[object] = (),
    give_up: float | None = None,
    sits_out: bool = True,
) -> Any:
    """Has the session do it and returns the answer.

    It ends at the latest when the operation's time in the queue, for its permit and to run have passed.

    Args:
        ref: Gives the session's ref, waiting for it if the session is about to be started.
        requests: What it is going to make, where that is known.
        repeatable: Whether it may be asked for again when the session was restarted while it ran.
        give_up: A deadline, on the loop's clock, that comes before that.
        sits_out: Whether a flood wait that ends before the deadline is waited out. If not, it is raised at once.

    Raises:
        ReplyLost: The session was restarted while it ran, and it isn't repeatable or the deadline has come.
        PaceTimeout: It is held back until after its deadline.
        FloodParked: A flood wait ends after the deadline, or isn't to be sat out.
        OperationTimeout: The deadline has come after repetitions.
        SessionDead: The session has ended.
        Exception: Whatever the operation raised.
    """
    loop = asyncio.get_running_loop()
    left = operation.queue_timeout + operation.timeout  # a whole number of seconds at first: deadlines alike are cheap
    if give_up is not None:
        left = max(min(left, give_up - loop.time()), _AT_LEAST)
    give_up = loop.time() + left
    admitted = False
    priority = operation.priority
    turnstile = book.turnstile
    place = None if turnstile.pacer is None else turnstile.place(operation, requests)
    while True:
        if place is not None:
            await turnstile.enter(operation.correlation_id, place, give_up)
            left = max(give_up - loop.time(), _AT_LEAST)
        known = book.ref
        session = known if known is not None and known.alive else await ref()
        try:
            return await session.ask(
                operation,
                expecting=object if expecting is None else expecting,
                priority=priority,
                queue_timeout=min(operation.queue_timeout, left),
                timeout=left + limits.permit_timeout + _SLACK,
                cancel=True,
            )
        except FloodParked as parked:
            wait = max(0.0, parked.until - time.time())
            if not sits_out or loop.time() + wait >= give_up or not (parked.again or repeatable):
                raise
            admitted = True
            if place is not None:
                turnstile.leave(operation.correlation_id, place)
            await turnstile.sit_out(wait)
        except HeldBack as held:
            assert place is not None, "only what is paced is held back"
            place.needs = (*place.needs, *(key for key in held.needs if key not in place.needs))
            admitted = True
        except MailboxFull:
            # one that was taken in before isn't refused when all that a flood wait held up come back at once
            if not admitted or loop.time() + _ROOM_SECONDS >= give_up:
                raise
            await asyncio.sleep(_ROOM_SECONDS)
        except (ActorRestarted, ActorKilled, ReplyLost) as error:
            if not repeatable or loop.time() >= give_up:
                raise ReplyLost(book.name, operation.kind) from error
            admitted = True
            priority = operation.priority + 1  # it had begun: those that came after it don't go first
        except ActorStopped as error:
            raise book.ended() from error
        except asyncio.CancelledError:
            _give_up(session, operation)
            raise
        except AskTimeout as error:
            _give_up(session, operation)
            raise OperationTimeout(book.name, operation.kind, operation.timeout) from error
        finally:
            if place is not None:
                turnstile.leave(operation.correlation_id, place)
        left = give_up - loop.time()


def _give_up(session: Ref, operation: AnyOperation) -> None:
    if session.alive:  # it takes the permit back from an operation that resists its cancellation
        session.signal(GaveUp(operation.correlation_id))
