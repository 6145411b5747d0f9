"""The session actor: one Telethon client, one mailbox, one operation at a time.

Invariants:
- An operation runs in a turn of the mailbox, holding a permit of its kind, within its timeout; the
  permit goes back however the turn ends.
- What Telegram answers, errors included, is the caller's. The session itself fails only when its
  connection is lost for good (its supervisor then restarts it, the mailbox kept), and it ends only
  when Telegram won't have it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import msgspec
from telethon import TelegramClient
from telethon.tl.tlobject import TLRequest

from telestage.actors.kernel import (
    NO_REPLY,
    Actor,
    AskTimeout,
    Directive,
    Ref,
    Supervision,
    handles,
)
from telestage.actors.telegram.book import MonitorBook, MonitorSpec, Running, SessionBook
from telestage.actors.telegram.client import SessionClient
from telestage.actors.telegram.errors import FloodParked, OperationTimeout, PermitTimeout, SessionDead
from telestage.actors.telegram.failures import flood_seconds, terminal_reason
from telestage.actors.telegram.limits import CONNECTING, Limits
from telestage.actors.telegram.monitor import MonitorActor
from telestage.actors.telegram.requests import perform
from telestage.actors.telegram.router import Router
from telestage.actors.telegram.scope import Turn, housekeeping, in_turn
from telestage.messages import (
    FloodSeen,
    Kind,
    Operation,
    PermitGranted,
    PermitRequest,
    PermitReturned,
    SendMessage,
    SessionChanged,
    SessionState,
)

__all__ = ["CallOperation", "Credentials", "RegisterMonitor", "RemoveMonitor", "SessionActor", "Settle"]

_log = logging.getLogger("telestage.session")

_CONNECT_PRIORITY = 1000  # before any operation: without a connection there are none
_CONNECT_SECONDS = 60.0
_DISCONNECT_SECONDS = 3.0


class Credentials(msgspec.Struct, frozen=True):
    """The application as which sessions sign in."""

    api_id: int
    api_hash: str

    def __repr__(self) -> str:
        return f"Credentials(api_id={self.api_id}, api_hash=...)"


class CallOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that is any call of the client. It can't travel: it carries a function."""

    kind: Kind
    function: Callable[[TelegramClient], Awaitable[object]]
    what: str
    priority: int
    timeout: float
    queue_timeout: float
    queued_at: float
    correlation_id: str


class RegisterMonitor(msgspec.Struct, frozen=True):
    """Start a monitor, or replace the one of that name. Carried by a `CallOperation`-like turn."""

    spec: MonitorSpec
    correlation_id: str
    timeout: float


class RemoveMonitor(msgspec.Struct, frozen=True):
    """Stop a monitor within 5 s, whatever its handler is doing. Answered by whether there was one."""

    name: str


class Settle(msgspec.Struct, frozen=True):
    """Answered when the session is ready, that is, in any turn of its mailbox."""


class _Disconnected(msgspec.Struct, frozen=True):
    """The client has given up its connection."""

    client: Any
    error: BaseException | None


class _Reconnected(msgspec.Struct, frozen=True):
    """The client lost its connection and has another."""


class SessionActor(Actor):
    """Owns the client of one session."""

    ask_rank = 1
    keep_children = True  # monitors and their events outlive a reconnect of their session
    start_timeout = 2 * _CONNECT_SECONDS
    supervision = Supervision(exceeded=Directive.STOP)  # a monitor that fails for ever ends alone

    def __init__(self, book: SessionBook, manager: Ref, credentials: Credentials, limits: Limits) -> None:
        self._book = book
        self._manager = manager
        self._credentials = credentials
        self._limits = limits
        self._router = Router()
        self._client: SessionClient | None = None

    # -- life --------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Connects, checks that the session is signed in, and takes its monitors up."""
        book = self._book
        self._enter(SessionState.CONNECTING)
        operation = f"{book.name}/connect/{book.restarts}"
        try:
            async with self._permit(operation, CONNECTING, _CONNECT_PRIORITY):
                self._client = client = self._new_client()
                with housekeeping():
                    async with asyncio.timeout(_CONNECT_SECONDS):
                        await client.connect()
                        if await client.get_me() is None:
                            self._die("not signed in: its key is not registered (revoked, or never signed in)")
                            return
                client.disconnected.add_done_callback(lambda future: self._lost(client, future))
                for monitor in list(book.monitors.values()):
                    await self._attach(client, monitor)
        except Exception as error:
            reason = terminal_reason(error)
            if reason is None:
                book.reason = f"{type(error).__name__}: {error}"
                raise
            self._die(reason)
            return
        self._enter(SessionState.READY)

    async def restarting(self, error: BaseException) -> None:
        """Closes the old client, so that its update state is stored for the new one."""
        self._book.restarts += 1
        self._book.running = None
        self._enter(SessionState.RESTARTING, f"{type(error).__name__}: {error}")
        await self._disconnect()

    async def stopped(self) -> None:
        """Disconnects."""
        self._book.running = None
        await self._disconnect()
        self._book.enter(SessionState.STOPPED, self._book.reason)

    # -- operations --------------------------------------------------------------------------------

    @handles(Operation)
    async def operate(self, operation: Operation) -> object:
        """Runs a request that may have travelled."""
        request = operation.request
        turn = Turn(request.random_id if isinstance(request, SendMessage) else None)
        return await self._answer(operation, turn, lambda client: perform(request, client), type(request).__name__)

    @handles(CallOperation)
    async def call(self, operation: CallOperation) -> object:
        """Runs any call of the client."""
        return await self._answer(operation, Turn(), operation.function, operation.what)

    @handles(RegisterMonitor)
    async def register(self, message: RegisterMonitor) -> object:
        """Starts a monitor in place of any of that name."""
        spec = message.spec
        book = MonitorBook(spec, self._book.name)

        async def attach(client: TelegramClient) -> None:
            await self._drop(spec.name)
            await self._attach(client, book)
            self._book.monitors[spec.name] = book

        operation = CallOperation(
            kind=Kind.MONITORING,
            function=attach,
            what=f"monitor {spec.name}",
            priority=self._limits.priority(Kind.MONITORING),
            timeout=message.timeout,
            queue_timeout=self._limits.queue_timeout,
            queued_at=time.time(),
            correlation_id=message.correlation_id,
        )
        return await self._answer(operation, Turn(), attach, operation.what)

    @handles(RemoveMonitor)
    async def remove(self, message: RemoveMonitor) -> bool:
        """Stops a monitor; only its own handler goes."""
        known = self._book.monitors.pop(message.name, None)
        await self._drop(message.name)
        return known is not None

    @handles(Settle)
    def settle(self, message: Settle) -> None:
        """Answers: turns are taken by a ready session only."""

    @handles(_Disconnected)
    def disconnected(self, message: _Disconnected) -> None:
        """Ends the session, or fails it so that it is made anew."""
        if message.client is not self._client:
            return
        error = message.error or ConnectionError("the connection is lost and Telethon gave up reconnecting")
        reason = terminal_reason(error)
        if reason is None:
            raise error
        self._die(reason)

    @handles(_Reconnected)
    def reconnected(self, message: _Reconnected) -> None:
        """Counts it: Telethon has done the rest."""
        self._book.reconnects += 1

    # -- parts ---------------------------------------------------------------------------------------

    async def _answer(
        self,
        operation: Operation | CallOperation,
        turn: Turn,
        work: Callable[[TelegramClient], Awaitable[object]],
        what: str,
    ) -> object:
        """Runs one operation and answers it; its errors are the caller's, not the session's."""
        reply = self.reply_later()
        try:
            value = await self._turn(operation, turn, work, what)
        except Exception as error:
            reason = terminal_reason(error)
            if reason is not None:
                reply.fail(self._die(reason))
            elif isinstance(error, ConnectionError) and not self._connected():
                raise  # the caller hears of it at once, the supervisor restarts the session
            else:
                reply.fail(error)
            return NO_REPLY
        return value

    async def _turn(
        self,
        operation: Operation | CallOperation,
        turn: Turn,
        work: Callable[[TelegramClient], Awaitable[object]],
        what: str,
    ) -> object:
        book = self._book
        kind = operation.kind.value
        self._check_parked(kind)
        async with self._permit(operation.correlation_id, kind, operation.priority):
            client = self._client
            if client is None:
                raise ConnectionError("not connected")
            book.running = Running(kind, operation.correlation_id, what, time.time())
            limit = asyncio.timeout(operation.timeout)
            try:
                with in_turn(turn):
                    async with limit:
                        return await work(client)
            except TimeoutError:
                if not limit.expired():
                    raise
                held = time.time() - book.running.since
                _log.warning(
                    "%s: %s (%s, operation %s) cancelled after %.1f s, its timeout",
                    book.name,
                    what,
                    kind,
                    operation.correlation_id,
                    held,
                )
                raise OperationTimeout(book.name, kind, operation.timeout) from None
            except Exception as error:
                seconds = flood_seconds(error)
                if seconds is None:
                    raise
                raise self._park(kind, what, seconds) from error
            finally:
                book.running = None
                book.operations += 1

    @contextlib.asynccontextmanager
    async def _permit(self, operation: str, kind: str, priority: int) -> AsyncIterator[None]:
        request = PermitRequest(operation_id=operation, session=self._book.name, kind=kind, priority=priority)
        try:
            await self.ask(self._manager, request, expecting=PermitGranted, timeout=self._limits.permit_timeout)
            yield
        except AskTimeout as error:
            if error.message is not request:
                raise
            raise PermitTimeout(self._book.name, kind, self._limits.permit_timeout) from None
        finally:  # also when the wait for it was cut short: the manager then forgets the request
            self._manager.signal(PermitReturned(operation_id=operation))

    def _check_parked(self, kind: str) -> None:
        until = self._book.parked_until(kind)
        if until is not None:
            raise FloodParked(self._book.name, kind, until)

    def _park(self, kind: str, what: str, seconds: float) -> FloodParked:
        book = self._book
        until = max(time.time() + seconds, book.floods.get(kind, 0.0))
        book.floods[kind] = until
        book.flood_waits += 1
        _log.warning("%s: flood wait of %.0f s for %s (%s)", book.name, seconds, kind, what)
        self._manager.tell(FloodSeen(session=book.name, kind=kind, method=what, until=until))
        return FloodParked(book.name, kind, until)

    async def _attach(self, client: TelegramClient, monitor: MonitorBook) -> None:
        """Routes events to a monitor, which is started if no earlier instance of this session has done so."""
        spec = monitor.spec
        ref = self.children.get(spec.name)
        if ref is None or not ref.alive:
            ref = self.spawn(
                MonitorActor, monitor, name=spec.name, capacity=spec.capacity, supervision=spec.supervision
            )
            monitor.ref = ref
        with in_turn(Turn()):
            await self._router.attach(client, monitor, ref)

    async def _drop(self, name: str) -> None:
        self._router.detach(name)
        ref = self.children.get(name)
        if ref is not None:
            ref.stop(grace=0.0)
            await ref.stopped(timeout=5.0)

    def _new_client(self) -> SessionClient:
        book = self._book
        options: dict[str, Any] = {
            "flood_sleep_threshold": 0,  # flood waits are ours
            "raise_last_call_error": True,
            "request_retries": 2,
            "connection_retries": 3,
            "retry_delay": 1,
            "catch_up": True,
            **book.options,
        }
        return SessionClient(
            book.session,
            self._credentials.api_id,
            self._credentials.api_hash,
            rpc_timeout=self._limits.rpc_timeout,
            on_update=self._router.route,
            on_reconnect=lambda: self.ref.signal(_Reconnected()),
            route=self._route,
            **options,
        )

    async def _route(self, request: TLRequest) -> object:
        """Makes a call from outside a turn an operation of this session."""
        requests = request if isinstance(request, list | tuple) else (request,)
        kind = _kind_of(requests[0])

        async def call(client: TelegramClient) -> object:
            return await client(request)

        operation = CallOperation(
            kind=kind,
            function=call,
            what=type(requests[0]).__name__,
            priority=self._limits.priority(kind),
            timeout=self._limits.timeout(kind),
            queue_timeout=self._limits.queue_timeout,
            queued_at=time.time(),
            correlation_id=f"{self._book.name}/{id(request):x}/{time.monotonic_ns():x}",
        )
        limits = self._limits
        patience = limits.queue_timeout + limits.permit_timeout + operation.timeout + 5.0
        return await self.ref.ask(
            operation,
            priority=operation.priority,
            queue_timeout=operation.queue_timeout,
            timeout=patience,
            cancel=True,
        )

    def _lost(self, client: SessionClient, future: asyncio.Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        error = error or client._updates_error
        if client is self._client and self.ref.alive:
            self.ref.signal(_Disconnected(client, error))

    def _connected(self) -> bool:
        return self._client is not None and bool(self._client.is_connected())

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            async with asyncio.timeout(_DISCONNECT_SECONDS):
                with housekeeping():
                    await cast(Awaitable[None], client.disconnect())  # a coroutine while the loop runs
        except TimeoutError:
            _log.warning("%s: disconnecting took longer than %g s", self._book.name, _DISCONNECT_SECONDS)

    def _die(self, reason: str) -> SessionDead:
        """Ends the session for good (R-X4): what waits, and whatever comes, fails with `SessionDead`."""
        dead = SessionDead(self._book.name, reason)
        _log.error("%s", dead)
        self._enter(SessionState.DEAD, reason)
        self.stop(dead)
        return dead

    def _enter(self, state: SessionState, reason: str | None = None) -> None:
        self._book.enter(state, reason)
        self._manager.signal(SessionChanged(session=self._book.name, state=self._book.state, reason=self._book.reason))


def _kind_of(request: object) -> Kind:
    """The kind of operation that a bare request is."""
    name = type(request).__name__
    if hasattr(request, "random_id") or name.startswith(
        ("EditMessage", "DeleteMessages", "SaveFilePart", "SaveBigFile")
    ):
        return Kind.SENDING
    if name.startswith(("GetHistory", "GetParticipants", "Search", "GetMessages", "GetReplies", "GetDialogs")):
        return Kind.SCRAPING
    return Kind.OTHER
