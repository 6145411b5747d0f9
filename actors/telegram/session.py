"""The session actor: one Telethon client, one mailbox, one operation at a time.

Invariants:
- An operation runs in a turn of the mailbox (see `operating`).
- The session itself fails only when its connection is lost for good (its supervisor then restarts it, the mailbox
  kept), and it ends only when Telegram won't have it any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from telethon import TelegramClient
from telethon.tl.tlobject import TLRequest

from telestage.actors.kernel import Actor, Directive, Ref, Supervision, handles
from telestage.actors.store import StoreError, StoreKeyError
from telestage.actors.telegram.asking import run_operation
from telestage.actors.telegram.board import PermitBoard
from telestage.actors.telegram.book import MonitorSpec, SessionBook
from telestage.actors.telegram.calls import CallOperation, GaveUp, RegisterMonitor, RemoveMonitor, kind_of, repeatable
from telestage.actors.telegram.client import SessionClient
from telestage.actors.telegram.connection import Connection, ConnectionLost
from telestage.actors.telegram.errors import FloodParked, SessionDead, SessionInUse, SessionNotStored
from telestage.actors.telegram.failures import flood_seconds, sign_in_reason, terminal_reason
from telestage.actors.telegram.floods import end_of
from telestage.actors.telegram.limits import CONNECTING, UPDATES, Limits
from telestage.actors.telegram.monitors import SessionMonitors, TakeUp
from telestage.actors.telegram.operating import Operating
from telestage.actors.telegram.permission import permit
from telestage.actors.telegram.requests import perform
from telestage.actors.telegram.router import Router, find_route
from telestage.actors.telegram.scope import Turn
from telestage.actors.telegram.shapes import method_of
from telestage.actors.telegram.stored import StoredSession
from telestage.messages import (
    FloodSeen,
    FloodStatus,
    Kind,
    Operation,
    SendMessage,
    SessionChanged,
    SessionState,
)

__all__ = ["Credentials", "SessionActor"]

_log = logging.getLogger("telestage.session")

_CONNECT_PRIORITY = 1000  # before any operation: without a connection there are none
_KEEP_UP_SECONDS = 2.0

Work = Callable[[TelegramClient], Awaitable[object]]


class Credentials(msgspec.Struct, frozen=True):
    """The application as which sessions sign in."""

    api_id: int
    api_hash: str

    def __repr__(self) -> str:
        return f"Credentials(api_id={self.api_id}, api_hash=...)"


class _Disconnected(msgspec.Struct, frozen=True):
    """The client has given up its connection."""

    connection: Connection
    error: BaseException


class _Reconnected(msgspec.Struct, frozen=True):
    """The client lost its connection and has another."""


class _Ready(msgspec.Struct, frozen=True):
    """The session has this connection, and has tried to take its monitors up."""

    connection: Connection


class SessionActor(Actor):
    """Owns the client of one session."""

    ask_rank = 1
    keep_children = True  # monitors and their events outlive a reconnect of their session
    start_timeout = 180.0  # connecting and its permit have deadlines of their own
    supervision = Supervision(exceeded=Directive.STOP)  # a monitor that fails for ever ends alone

    def __init__(
        self, book: SessionBook, manager: Ref, credentials: Credentials, limits: Limits, board: PermitBoard
    ) -> None:
        self._book = book
        self._manager = manager
        self._credentials = credentials
        self._limits = limits
        self._board = board
        self._router = Router(book.checkpoint, lambda: self.ref.alive)
        book.turnstile.ledger.on_flood = self._flooded
        self._monitors = SessionMonitors(self, book, manager, limits, board, self._router, self._park)
        self._operating = Operating(self, manager, board, book, self._die)

    # -- life --------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Connects, checks that the session is signed in, and has its monitors taken up, each in a turn of its own."""
        book = self._book
        self._enter(SessionState.CONNECTING, book.reason if book.restarts else None)
        await self._sit_out()
        self._monitors.expect()
        try:
            await self._own()
        except SessionInUse as error:
            if error.waits:
                raise  # it is tried again
            self._die(error.reason, error)
            return
        except SessionNotStored as error:
            self._die(error.reason)
            return
        except StoreKeyError as error:
            self._die(str(error))
            return
        await book.resume()
        operation = f"{book.name}/connect/{book.restarts}"
        connection = book.connection = Connection(self._new_client(), self._lost, book.lease)
        try:
            priority = _CONNECT_PRIORITY + self._urgency()
            async with permit(self, self._manager, self._board, book.name, operation, CONNECTING, priority):
                await connection.open()
        except Exception as error:
            seconds = flood_seconds(error)
            if seconds is not None:
                raise self._park(CONNECTING, _method(error), seconds) from error
            self._end_or_raise(error)
            return
        for monitor in book.monitors.values():
            self.ref.signal(TakeUp(monitor))
        self.ref.signal(_Ready(connection))

    @handles(TakeUp)
    async def take_up(self, message: TakeUp) -> None:
        """Has a monitor begin, or go on with this client. A flood wait is for this monitor to wait for."""
        try:
            await self._monitors.take_up(message.monitor)
        except Exception as error:
            self._end_or_raise(error)

    @handles(_Ready)
    def ready(self, message: _Ready) -> None:
        """Operations may begin."""
        if message.connection is self._book.connection and self._book.state is SessionState.CONNECTING:
            self._enter(SessionState.READY)

    async def restarting(self, error: BaseException) -> None:
        """Closes the old client, so that its update state is stored for the new one."""
        self._book.restarts += 1
        self._enter(SessionState.RESTARTING, f"{type(error).__name__}: {error}")
        await self._close()

    async def stopped(self) -> None:
        """Disconnects."""
        await self._close()
        await self._keep_up()
        lease, self._book.lease = self._book.lease, None
        if lease is not None and self._book.owning is not None:
            await self._book.owning.give_back(lease)
        self._book.enter(SessionState.STOPPED, self._book.reason)

    # -- operations --------------------------------------------------------------------------------
    # Plain functions, each giving the one coroutine that an operation is (see `operating`).

    @handles(Operation)
    def operate(self, operation: Operation) -> Awaitable[object]:
        """Runs a request that may have travelled."""
        request = operation.request
        turn = Turn(request.random_id if isinstance(request, SendMessage) else None, operation.kind._value_)
        if isinstance(request.peer, str):
            turn.name = request.peer
        return self._operating.run(operation, turn, perform, request, type(request).__name__)

    @handles(CallOperation)
    def call(self, operation: CallOperation) -> Awaitable[object]:
        """Runs any call of the client."""
        turn = Turn(kind=operation.kind._value_, again=False)
        return self._operating.run(operation, turn, _called, operation.function, operation.what)

    @handles(RegisterMonitor)
    def register(self, message: RegisterMonitor) -> Awaitable[object]:
        """Starts a monitor in place of any of that name; a filter that can't be changes nothing."""
        spec = message.spec
        turn = Turn(kind=message.kind._value_)
        return self._operating.run(message, turn, self._attach, spec, f"monitor {spec.name}")

    @handles(RemoveMonitor)
    async def remove(self, message: RemoveMonitor) -> bool:
        """Stops a monitor; only its own handler goes."""
        return await self._monitors.remove(message.name)

    @handles(GaveUp)
    def gave_up(self, message: GaveUp) -> None:
        """Cleans up after a turn that resisted its cancellation, so that it was left behind."""
        self._operating.gave_up(message.correlation_id)

    @handles(_Disconnected)
    def disconnected(self, message: _Disconnected) -> None:
        """Ends the session, or fails it so that it is made anew."""
        if message.connection is not self._book.connection:
            return
        reason = terminal_reason(message.error)
        if reason is None:
            raise ConnectionLost from message.error
        self._die(reason)

    @handles(_Reconnected)
    def reconnected(self, message: _Reconnected) -> None:
        """Counts it: Telethon has done the rest."""
        self._book.reconnects += 1

    # -- parts ---------------------------------------------------------------------------------------

    async def _attach(self, spec: MonitorSpec, client: TelegramClient) -> None:
        await self._monitors.replace(spec, await find_route(client, spec, self._book.checkpoint))

    def _park(self, kind: str, what: str, seconds: float) -> FloodParked:
        flood = self._book.turnstile.ledger.park(kind, what, seconds, "FLOOD_WAIT", time.time())
        return FloodParked(self._book.name, kind, end_of(flood))

    def _flooded(self, flood: FloodStatus) -> None:
        """Tells of a flood wait that Telegram has asked for."""
        book = self._book
        book.flood_waits += 1
        kind = flood.kind if flood.peer is None else f"{flood.kind} to {flood.peer}"
        if flood.seconds is None:
            _log.error("%s: %s: all sending is paused until a person has it resumed", book.name, flood.reason)
        else:
            _log.warning("%s: flood wait of %.0f s for %s (%s)", book.name, flood.seconds, kind, flood.method)
        self._manager.tell(FloodSeen(session=book.name, kind=kind, method=flood.method, until=flood.until))

    async def _own(self) -> None:
        """Takes the session's lease, or keeps it; without a store there is none (R-X6)."""
        book = self._book
        if book.owning is not None:
            book.lease = await book.owning.take(book.name, book.session, self._stand_by)
            if book.state is SessionState.STANDBY:
                self._enter(SessionState.CONNECTING)

    def _stand_by(self, owner: str) -> None:
        reason = f"in use by {owner}"
        if (self._book.state, self._book.reason) != (SessionState.STANDBY, reason):
            self._enter(SessionState.STANDBY, reason)

    async def _keep_up(self) -> None:
        """Has the store know where updates stand before anybody else may go on from there."""
        keeping = self._book.keeping
        if keeping is not None:
            try:
                await asyncio.wait_for(keeping.keeper.settle(), _KEEP_UP_SECONDS)
            except (StoreError, TimeoutError) as error:
                _log.warning("%s: where its updates stand is not stored yet: %r", self._book.name, error)

    async def _sit_out(self) -> None:
        """Waits for the end of the flood wait that the last attempt to begin has met: nothing is asked before."""
        until = self._book.parked_until(CONNECTING)
        if until is None:
            return
        longest = self.start_timeout / 2
        wait = until - time.time()
        await asyncio.sleep(min(wait, longest))
        if wait > longest:
            raise FloodParked(self._book.name, CONNECTING, until)

    def _new_client(self) -> SessionClient:
        book = self._book
        options: dict[str, Any] = {
            "request_retries": 2,
            "connection_retries": 3,
            "retry_delay": 1,
            **book.options,
            "flood_sleep_threshold": 0,  # flood waits are ours
            "raise_last_call_error": True,
            "catch_up": True,
        }
        return SessionClient(
            book.session,
            self._credentials.api_id,
            self._credentials.api_hash,
            label=book.name,
            rpc_timeout=self._limits.rpc_timeout,
            checkpoint=book.checkpoint,
            on_updates=self._router.route,
            on_flood=lambda seconds, what: self._park(UPDATES, what, seconds),
            turnstile=book.turnstile,
            on_reconnect=lambda: self.ref.signal(_Reconnected()),
            route=self._route,
            gate=(self._board.gate, self._urgency),
            lease=book.lease,
            **options,
        )

    def _urgency(self) -> int:
        """How urgent a connection is: the highest priority of what runs or waits; less than any if nothing does."""
        running = self._book.running
        least = -_CONNECT_PRIORITY if running is None else self._limits.priority(Kind(running.kind))
        waiting = self.ref.top_priority
        return least if waiting is None else max(least, min(waiting, _CONNECT_PRIORITY))

    async def _route(self, requests: Sequence[TLRequest], call: Work) -> object:
        """Makes a call from outside a turn an operation of this session."""
        kind = kind_of(requests)
        timeout = self._book.timeouts.of(kind)
        operation = CallOperation.of(call, kind, self._limits, what=type(requests[0]).__name__, timeout=timeout)

        async def ref() -> Ref:
            return self.ref

        return await run_operation(
            self._book, ref, operation, self._limits, repeatable=repeatable(requests), requests=requests
        )

    def _lost(self, connection: Connection, error: BaseException) -> None:
        if self.ref.alive:
            self.ref.signal(_Disconnected(connection, error))

    async def _close(self) -> None:
        self._operating.forget()
        self._monitors.close()
        connection, self._book.connection = self._book.connection, None
        if connection is not None:
            connection.client.leave()  # before anything is awaited
            await connection.close()
        session: object = self._book.session
        if isinstance(session, StoredSession):
            await session.settle()

    def _end_or_raise(self, error: Exception) -> None:
        """Ends the session if that is what the error means; else it is raised, so that the session is made anew."""
        connection = self._book.connection
        reason = sign_in_reason(error) or sign_in_reason((connection and connection.lost) or error)
        if reason is None:
            raise error
        self._die(reason)

    def _die(self, reason: str, in_use: SessionInUse | None = None) -> SessionDead:
        """Ends the session for good (R-X4): what waits, and whatever comes, fails with `SessionDead`."""
        self._book.in_use = in_use
        dead = in_use or SessionDead(self._book.name, reason)
        _log.error("%s", dead)
        self._enter(SessionState.DEAD, reason)
        self.stop(dead)
        return dead

    def _enter(self, state: SessionState, reason: str | None = None) -> None:
        self._book.enter(state, reason)
        self._manager.signal(SessionChanged(session=self._book.name, state=self._book.state, reason=self._book.reason))


def _called(function: Work, client: TelegramClient) -> Awaitable[object]:
    return function(client)


def _method(error: BaseException) -> str:
    request = getattr(error, "request", None)
    return CONNECTING if request is None else method_of(request)
