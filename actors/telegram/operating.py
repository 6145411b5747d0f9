"""The operations of a session, one at a time: each with a permit of its kind and within its timeout.

Invariants:
- The permit goes back however the operation ends.
- What Telegram answers, errors included, is the caller's. The session fails only for a connection that is lost for
  good, and it ends only when Telegram won't have it any more.

It is one coroutine, with no objects around it but the turn and its deadline. A hundred sessions that are answered at
once have all of theirs alive at the same time, and a garbage collection begins with each 700 of them: with a coroutine
a step and an object a promise that was a tenth of the CPU time of a send (benchmarks/telegram).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from telethon.errors.common import MultiError

from telestage.actors.kernel import NO_REPLY, Actor, Ref, Reply
from telestage.actors.telegram.asking import AnyOperation
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.book import Running, SessionBook
from telestage.actors.telegram.connection import Connection, ConnectionLost, Deadline, Overdue
from telestage.actors.telegram.errors import FloodParked, OperationCancelled, OperationTimeout, ReplyLost, SessionDead
from telestage.actors.telegram.failures import flood_reason, terminal_reason
from telestage.actors.telegram.floods import end_of
from telestage.actors.telegram.permission import ask_for_permit, give_back
from telestage.actors.telegram.scope import Turn
from telestage.messages import PermitRequest, PermitReturned

__all__ = ["Operating", "Work"]

_log = logging.getLogger("telestage.session")

Work = Callable[[Any, Any], Awaitable[object]]
"""What an operation does: gets its subject and the client."""


class Operating:
    """The operations of one instance of a session actor.

    Args:
        actor: In whose turns they run.
        manager: Whom a permit is asked of where none is free.
        die: Ends the session for good, for this reason; gives what whoever asked is told.
    """

    def __init__(
        self, actor: Actor, manager: Ref, board: PermitBoard, book: SessionBook, die: Callable[[str], SessionDead]
    ) -> None:
        self._actor = actor
        self._manager = manager
        self._board = board
        self._book = book
        self._die = die
        self._turn: Turn | None = None
        self._operation: AnyOperation | None = None
        self._reply: Reply | None = None
        self._deadline: Deadline | None = None

    async def run(self, operation: AnyOperation, turn: Turn, work: Work, subject: object, what: str) -> object:
        """Runs one operation and answers it: what the actor's handler is to return.

        Args:
            turn: Its own.
            work: What it does, called with `subject` and the client.
            what: What logs call it.

        Raises:
            ConnectionLost: The session is to be restarted; whoever asked has been told.
        """
        book = self._book
        kind = operation.kind._value_  # `value` is a descriptor written in Python, 0.3 us a look
        # of this attempt, for ever: who is left behind must not answer what came after it
        reply = self._actor.reply_later()
        try:
            if book.turnstile.ledger:
                flood = book.turnstile.ledger.parked(kind, time.time())
                if flood is not None:
                    raise FloodParked(book.name, kind, end_of(flood))
            held = book.permit_id(operation.correlation_id)
            if not self._board.take(book.name, held, kind):
                request = PermitRequest(operation_id=held, session=book.name, kind=kind, priority=operation.priority)
                await ask_for_permit(self._actor, self._manager, self._board.patience, request)
            try:
                connection = book.connection
                if connection is None:
                    raise ConnectionLost
                began = self._begin(operation, turn, what, reply)
                try:
                    with connection.within(operation.timeout, self) as deadline:
                        self._deadline = turn.deadline = deadline
                        turn.begin()
                        result = await work(subject, connection.client)
                    book.timeouts.note(operation.kind, asyncio.get_running_loop().time() - began)
                    return result
                except Overdue:
                    book.timeouts.note(operation.kind, operation.timeout)
                    self._log_overdue(operation, what)
                    raise OperationTimeout(book.name, kind, operation.timeout) from None
                except ConnectionLost:
                    raise
                except Exception as error:
                    if turn.delivered(error):
                        return None
                    _raise_meaning(error, turn, connection)
                finally:
                    turn.end()
                    if self._turn is turn:  # else it was left behind, and another has taken its place
                        self.forget()
                    book.operations += 1
            finally:
                give_back(self._manager, self._board, held)
        except ConnectionLost as error:
            reason = terminal_reason(error.__cause__ or error)
            if reason is None:
                reply.fail(ReplyLost(book.name, kind))
                raise  # the supervisor restarts the session
            reply.fail(self._die(reason))
        except Exception as error:
            reason = terminal_reason(error)
            reply.fail(error if reason is None else self._die(reason))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            reply.fail(OperationCancelled(book.name, kind))
        return NO_REPLY

    def gave_up(self, operation_id: str) -> None:
        """Cleans up after an operation that resisted its cancellation, so that it was left behind."""
        running = self._book.running
        if running is not None and running.operation_id == operation_id:
            self.forget()
            self._manager.signal(PermitReturned(operation_id=self._book.permit_id(operation_id)))

    def forget(self) -> None:
        """What runs has ended, or is left behind."""
        self._book.running = self._operation = self._reply = None
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.active = False
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.leave()

    def resists(self) -> None:
        """An operation that was cancelled at its timeout goes on: its session does without it."""
        operation, running, reply = self._operation, self._book.running, self._reply
        if operation is None or running is None or reply is None:
            return
        self._log_overdue(operation, f"{running.what}, which resists,")
        reply.fail(OperationTimeout(self._book.name, operation.kind, operation.timeout))
        self._actor.ref.kill(f"{running.what} resists its cancellation")

    def _begin(self, operation: AnyOperation, turn: Turn, what: str, reply: Reply) -> float:
        """Notes that it runs from now on, which it returns, on the loop's clock."""
        book = self._book
        self._turn, self._operation, self._reply = turn, operation, reply
        book.running = Running(operation.kind._value_, operation.correlation_id, what, time.time())
        turn.place = book.turnstile.placed(operation.correlation_id)
        turn.title = book.task_name
        began = asyncio.get_running_loop().time()
        turn.until = began + operation.timeout
        return began

    def _log_overdue(self, operation: AnyOperation, what: str) -> None:
        running = self._book.running
        _log.warning(
            "%s: %s (%s, operation %s) cancelled after %.1f s, its timeout; it held a permit all the while",
            self._book.name,
            what,
            operation.kind.value,
            operation.correlation_id,
            operation.timeout if running is None else time.time() - running.since,
        )


def _raise_meaning(error: Exception, turn: Turn, connection: Connection) -> None:
    """Raises what an error of Telethon's means to whoever asked for the operation."""
    if turn.flood is not None and (flood_reason(error) is not None or isinstance(error, MultiError)):
        raise turn.flood from error
    if not connection.alive and isinstance(error, ConnectionError):
        raise ConnectionLost from (connection.lost or error)
    raise error
