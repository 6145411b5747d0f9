"""The manager actor: supervises the sessions and grants permits.

Invariants:
- No session waits for another: a permit is granted, or its request waits in the pool, never in a turn.
- What a session held comes back when the session fails or ends, whether or not it gave it back itself.
"""

from __future__ import annotations

import logging
from time import monotonic

import msgspec

from telestage.actors.kernel import (
    NO_REPLY,
    Actor,
    Backoff,
    ChildFailed,
    Directive,
    Ref,
    Reply,
    Supervision,
    Terminated,
    Timer,
    handles,
)
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.book import SessionBook
from telestage.actors.telegram.errors import PermitTimeout, SessionExists
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.permits import Grant
from telestage.actors.telegram.session import Credentials, SessionActor
from telestage.messages import (
    FloodSeen,
    PauseSession,
    PermitGranted,
    PermitRequest,
    PermitReturned,
    RemoveSession,
    ResumeSession,
    SessionChanged,
    SessionState,
)

__all__ = ["AddSession", "ManagerActor"]

_log = logging.getLogger("telestage.manager")

_PATIENCE = 5.0  # seconds in which what runs in a session ends, or is left behind, once it is cancelled (R-T3)


class AddSession(msgspec.Struct, frozen=True):
    """Start a session; answered by its ref. `SessionExists` if there is one of that name."""

    book: SessionBook


class _Waiting(msgspec.Struct, frozen=True):
    """Whom to answer when a permit is free, and the timer that ends the wait."""

    reply: Reply
    deadline: Timer


class _PermitOverdue(msgspec.Struct, frozen=True):
    """The wait for a permit has lasted long enough."""

    request: PermitRequest


class ManagerActor(Actor):
    """The top of a fleet: everything asks upwards to here, and it asks nobody."""

    ask_rank = 0
    keep_children = True
    supervision = Supervision(
        # a session retries for ever, politely: what ends it is Telegram, or who owns it
        intensity=1_000_000,
        period=60.0,
        backoff=Backoff(first=0.2, factor=2.0, maximum=30.0, jitter=0.2),
        exceeded=Directive.STOP,
    )

    def __init__(self, board: PermitBoard, credentials: Credentials, limits: Limits) -> None:
        self._board = board
        self._pool = board.pool
        self._credentials = credentials
        self._limits = limits
        self._waiting: dict[str, _Waiting] = {}
        self._books = board.sessions

    async def stopped(self) -> None:
        """Takes back what the sessions held as they ended."""
        self._board.reclaim()

    @handles(AddSession)
    def add(self, message: AddSession) -> Ref:
        """Spawns the session, which connects by itself."""
        book = message.book
        if book.name in self.children:
            raise SessionExists(book.name)
        book.begin()
        ref = self.spawn(
            SessionActor,
            book,
            self.ref,
            self._credentials,
            self._limits,
            self._board,
            name=book.name,
            capacity=self._limits.queue,
        )
        book.ref = ref
        self._books[book.name] = book
        self.watch(ref)
        return ref

    @handles(PauseSession)
    def pause(self, message: PauseSession) -> bool:
        """Halts the session's mailbox; false if there is none of that name."""
        ref = self.children.get(message.session)
        if ref is None:
            return False
        self._books[message.session].paused = True
        ref.pause()
        return True

    @handles(ResumeSession)
    def resume(self, message: ResumeSession) -> bool:
        """Lets the session go on; false if there is none of that name."""
        ref = self.children.get(message.session)
        if ref is None:
            return False
        self._books[message.session].paused = False
        ref.resume()
        return True

    @handles(RemoveSession)
    def remove(self, message: RemoveSession) -> bool:
        """Begins to stop the session; false if there is none of that name."""
        ref = self.children.get(message.session)
        if ref is None:
            return False
        ref.stop(grace=max(0.0, message.timeout - _PATIENCE))
        return True

    @handles(PermitRequest)
    def request(self, message: PermitRequest) -> object:
        """Grants a permit now, or answers when one is free; after `permit_timeout` with `PermitTimeout`."""
        operation = message.operation_id
        _log.debug("permit asked for: %s %s %s", message.session, message.kind, operation)
        try:
            grant = self._pool.request(message, monotonic())
        except ValueError as error:  # an operation with the id of another one
            self.reply_later().fail(error)
            return NO_REPLY
        if grant is not None:
            return self._granted(grant)
        deadline = self.after(self._limits.permit_timeout, _PermitOverdue(message))
        self._waiting[operation] = _Waiting(self.reply_later(), deadline)
        return NO_REPLY

    @handles(_PermitOverdue)
    def overdue(self, message: _PermitOverdue) -> None:
        """Ends the wait for a permit, and logs who has them."""
        request = message.request
        waiting = self._waiting.pop(request.operation_id, None)
        if waiting is None:
            return
        seconds = self._limits.permit_timeout
        holders = self._pool.status(monotonic()).holders
        _log.warning(
            "%s: no permit for %s (operation %s) within %g s; held by %s",
            request.session,
            request.kind,
            request.operation_id,
            seconds,
            ", ".join(f"{held.session} ({held.kind}, {held.held_for:.1f} s)" for held in holders) or "nobody",
        )
        self._pass_on(self._pool.release(request.operation_id, monotonic()))
        waiting.reply.fail(PermitTimeout(request.session, request.kind, seconds))

    @handles(PermitReturned)
    def returned(self, message: PermitReturned) -> None:
        """Takes a permit back, or forgets a request that isn't waited for any more."""
        operation = message.operation_id
        now = monotonic()
        self._board.log_return(operation)
        self._forget(operation)
        self._pass_on(self._pool.release(operation, now))

    @handles(ChildFailed)
    def child_failed(self, message: ChildFailed) -> None:
        """A session failed: what it held comes back before it is made anew."""
        book = self._books.get(message.ref.name)
        if book is not None and message.directive is Directive.RESTART:
            book.running = None
            book.enter(SessionState.RESTARTING, f"{type(message.error).__name__}: {message.error}")
        self._reclaim(message.ref.name)

    @handles(Terminated)
    def terminated(self, message: Terminated) -> None:
        """A session has ended."""
        self._reclaim(message.ref.name)
        self._books.pop(message.ref.name, None)

    @handles(SessionChanged)
    def changed(self, message: SessionChanged) -> None:
        """Logs where a session has come to."""
        _log.info("%s is %s%s", message.session, message.state, f": {message.reason}" if message.reason else "")

    @handles(FloodSeen)
    def flood(self, message: FloodSeen) -> None:
        """Logs a flood wait; after PEER_FLOOD nobody knows its end."""
        until = "a person has it resumed" if message.until is None else f"{message.until:.0f}"
        _log.info("%s waits until %s for %s (%s)", message.session, until, message.kind, message.method)

    def _reclaim(self, session: str) -> None:
        now = monotonic()
        for operation in self._pool.operations(session):
            held = self._pool.held_for(operation, now)
            if held is not None:
                _log.warning("permit reclaimed from %s: %s, held for %.3f s", session, operation, held)
            self._forget(operation)
        self._pass_on(self._pool.release_session(session, now))

    def _forget(self, operation: str) -> _Waiting | None:
        waiting = self._waiting.pop(operation, None)
        if waiting is not None:
            waiting.deadline.cancel()
        return waiting

    def _pass_on(self, grants: list[Grant]) -> None:
        while grants:
            grant = grants.pop()
            waiting = self._forget(grant.request.operation_id)
            if waiting is None or not waiting.reply.send(self._granted(grant)):
                # nobody waits for it any more
                grants.extend(self._pool.release(grant.request.operation_id, monotonic()))

    def _granted(self, grant: Grant) -> PermitGranted:
        request = grant.request
        _log.debug(
            "permit granted: %s %s %s after %.3f s", request.session, request.kind, request.operation_id, grant.waited
        )
        return PermitGranted(operation_id=request.operation_id, kind=request.kind, waited=grant.waited)
