"""One session as its users see it: Telethon's method names, each call an operation of the session.

What is asked for waits in the session's mailbox, runs in its turn, and ends within its deadline. A flood
wait that ends before the deadline is waited out here, in the caller's own task, so that the session goes
on with what isn't parked. A caller that stops waiting cancels its operation, queued or running (R-Q8).
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from telethon import TelegramClient
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from telestage.actors.kernel import ActorKilled, ActorRestarted, ActorStopped, Ref
from telestage.actors.telegram.book import MonitorSpec, SessionBook
from telestage.actors.telegram.errors import FloodParked, ReplyLost, SessionDead
from telestage.actors.telegram.limits import Limits
from telestage.actors.telegram.requests import History, Members, peer_of
from telestage.actors.telegram.session import CallOperation, RegisterMonitor, RemoveMonitor, Settle
from telestage.messages import (
    HISTORY_PAGE,
    MEMBERS_PAGE,
    HistoryPage,
    Kind,
    MembersPage,
    Operation,
    Scalar,
    SendMessage,
    SessionStatus,
)

__all__ = ["SessionHandle", "new_random_id"]

R = TypeVar("R")

_FIRST = 1_000_000  # before any operation
_SETTLE_SECONDS = 3600.0  # whoever waits has a deadline of their own
_SLACK = 5.0  # seconds beyond the sum of an operation's own deadlines: they are to come first


class _AnyOperation(Protocol):
    @property
    def kind(self) -> Kind: ...
    @property
    def priority(self) -> int: ...
    @property
    def timeout(self) -> float: ...
    @property
    def queue_timeout(self) -> float: ...


def new_random_id() -> int:
    """A random_id for one message: signed 64 bit."""
    return secrets.randbits(64) - 2**63


class SessionHandle:
    """A session of a running fleet. Made by `fleet[name]`.

    Every method may raise `MailboxFull` (too many operations wait), `QueueWaitTimeout`, `PermitTimeout`,
    `OperationTimeout`, `FloodParked`, `ReplyLost`, `SessionDead`, and whatever Telegram answers
    (`telethon.errors.RPCError`). Common arguments:

        priority: Higher goes first. Default: by kind, `Limits.priorities`.
        timeout: Seconds the operation may run, per page for iterators. Default: by kind, `Limits.timeouts`.
    """

    def __init__(self, book: SessionBook, ref: Callable[[], Awaitable[Ref]], limits: Limits) -> None:
        self._book = book
        self._ref = ref
        self._limits = limits

    @property
    def name(self) -> str:
        """The session's name."""
        return self._book.name

    @property
    def status(self) -> SessionStatus:
        """How the session is doing now."""
        return self._book.status()

    async def send_message(
        self,
        entity: object,
        message: str,
        *,
        priority: int | None = None,
        timeout: float | None = None,
        random_id: int | None = None,
        **options: Scalar,
    ) -> Any:
        """Sends a text, exactly once even if the session is restarted meanwhile, and returns Telethon's Message.

        Args:
            entity: Whom to: an id, a username, a phone number, or anything Telethon takes as an entity.
            message: The text.
            random_id: What Telegram knows the message by. Default: a new one.
            options: Of Telethon's `send_message`: reply_to, silent, parse_mode, link_preview, ...
        """
        request = SendMessage(
            peer=peer_of(entity),
            text=message,
            random_id=new_random_id() if random_id is None else random_id,
            options=options,
        )
        return await self._run(self._operation(request, Kind.SENDING, priority, timeout), repeatable=True)

    async def iter_messages(
        self,
        entity: object,
        limit: int | None = None,
        *,
        offset_id: int = 0,
        min_id: int = 0,
        max_id: int = 0,
        reverse: bool = False,
        search: str | None = None,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Any]:
        """Yields the messages of a chat, newest first, or oldest first with `reverse`.

        One page of 100 a turn; between pages the session does other work (R-Q7). The ids are exclusive bounds.
        """
        peer = peer_of(entity)
        left = limit
        while left is None or left > 0:
            page = HistoryPage(
                peer=peer,
                offset_id=offset_id,
                limit=HISTORY_PAGE if left is None else min(left, HISTORY_PAGE),
                min_id=min_id,
                max_id=max_id,
                reverse=reverse,
                search=search,
            )
            operation = self._operation(page, Kind.SCRAPING, priority, timeout)
            history = await self._run(operation, repeatable=True, expecting=History)
            for message in history.messages:
                yield message
            if history.last or not history.messages:
                return
            offset_id = history.messages[-1].id
            if left is not None:
                left -= len(history.messages)

    async def get_messages(self, entity: object, limit: int = 1, **options: Any) -> list[Any]:
        """The messages `iter_messages` yields, as a list."""
        return [message async for message in self.iter_messages(entity, limit, **options)]

    async def iter_participants(
        self,
        entity: object,
        limit: int | None = None,
        *,
        search: str = "",
        priority: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Any]:
        """Yields the members of a group or channel as Telethon's users, each once.

        One page of 200 a turn. Telegram lists 10,000 members of a group at most, 200 of a broadcast channel
        to one who isn't its admin.
        """
        peer = peer_of(entity)
        seen: set[int] = set()
        offset = 0
        while limit is None or len(seen) < limit:
            page = MembersPage(peer=peer, offset=offset, limit=MEMBERS_PAGE, search=search)
            operation = self._operation(page, Kind.SCRAPING, priority, timeout)
            members = await self._run(operation, repeatable=True, expecting=Members)
            for user in members.users:
                if user.id not in seen and (limit is None or len(seen) < limit):
                    seen.add(user.id)
                    yield user
            offset += members.received
            if not members.received or offset >= members.total:
                return

    async def get_participants(self, entity: object, limit: int | None = None, **options: Any) -> list[Any]:
        """The members `iter_participants` yields, as a list."""
        return [user async for user in self.iter_participants(entity, limit, **options)]

    async def call(
        self,
        function: Callable[[TelegramClient], Awaitable[R]],
        *,
        kind: Kind | str = Kind.OTHER,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> R:
        """Runs `function` with the session's own Telethon client, as one operation, and returns its result.

        The whole function is one turn: nothing else of the session runs meanwhile. It isn't repeated if the
        session is restarted meanwhile: that raises `ReplyLost`.

        Raises:
            ValueError: `kind` isn't one.
        """
        kind = Kind(kind)
        operation = CallOperation(
            kind=kind,
            function=function,
            what=getattr(function, "__qualname__", type(function).__name__),
            priority=self._limits.priority(kind) if priority is None else priority,
            timeout=self._limits.timeout(kind) if timeout is None else timeout,
            queue_timeout=self._limits.queue_timeout,
            queued_at=time.time(),
            correlation_id=uuid.uuid4().hex,
        )
        result: R = await self._run(operation, repeatable=False)
        return result

    async def get_me(self, **options: Any) -> Any:
        """The signed-in user. Unlike Telethon's, it raises `SessionDead` if the session isn't signed in."""

        async def get_me(client: Any) -> Any:
            (me,) = await client(GetUsersRequest([InputUserSelf()]))
            return me

        return await self.call(get_me, **options)

    async def settled(self) -> None:
        """Returns when the session is ready; it may have been restarted meanwhile.

        Raises:
            SessionDead: It has ended.
        """
        ref = await self._ref()
        try:
            await ref.ask(Settle(), priority=_FIRST, timeout=_SETTLE_SECONDS)
        except ActorStopped as error:
            raise SessionDead(self.name, self._book.reason or "stopped") from error

    async def kill(self, reason: str = "killed") -> None:
        """Fails the session on purpose: its operation is interrupted, it is restarted, its queue is kept."""
        (await self._ref()).kill(reason)

    async def register_monitor(self, spec: MonitorSpec) -> None:
        """Starts a monitor, in place of the one of that name if there is one. `Fleet.on` is the usual way."""
        operation = RegisterMonitor(spec, uuid.uuid4().hex, self._limits.timeout(Kind.MONITORING))
        await self._ask(operation, Kind.MONITORING, self._limits.priority(Kind.MONITORING), operation.timeout)

    async def remove_monitor(self, name: str) -> bool:
        """Stops a monitor within 5 s, whatever its handler is doing; false if there is none of that name."""
        priority = self._limits.priority(Kind.MONITORING)
        return bool(await self._ask(RemoveMonitor(name), Kind.MONITORING, priority, 10.0))

    def _operation(
        self, request: SendMessage | HistoryPage | MembersPage, kind: Kind, priority: int | None, timeout: float | None
    ) -> Operation:
        limits = self._limits
        return Operation.of(
            request,
            kind=kind,
            priority=limits.priority(kind) if priority is None else priority,
            timeout=limits.timeout(kind) if timeout is None else timeout,
            queue_timeout=limits.queue_timeout,
        )

    async def _run(self, operation: _AnyOperation, *, repeatable: bool, expecting: type[R] | None = None) -> Any:
        """Asks until it is done, the deadline has come, or it can't be repeated."""
        give_up = time.monotonic() + operation.queue_timeout + operation.timeout
        while True:
            try:
                return await self._ask(operation, operation.kind, operation.priority, operation.timeout, expecting)
            except FloodParked as parked:
                wait = parked.until - time.time()
                if time.monotonic() + wait > give_up:
                    raise
                await asyncio.sleep(max(0.0, wait))
            except (ActorRestarted, ActorKilled, ConnectionError) as error:
                if not repeatable or time.monotonic() > give_up:
                    raise ReplyLost(self.name, operation.kind) from error

    async def _ask(
        self, message: object, kind: Kind, priority: int, timeout: float, expecting: type[R] | None = None
    ) -> Any:
        limits = self._limits
        patience = limits.queue_timeout + limits.permit_timeout + timeout + _SLACK
        try:
            ref = await self._ref()
            return await ref.ask(
                message,
                expecting=object if expecting is None else expecting,
                priority=priority,
                queue_timeout=limits.queue_timeout,
                timeout=patience,
                cancel=True,
            )
        except ActorStopped as error:
            raise SessionDead(self.name, self._book.reason or "stopped") from error
